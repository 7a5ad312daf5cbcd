"""How long it takes until the command line answers."""

import subprocess
import sys

from tiemcli.bench.speed.clock import Turn, interleave
from tiemcli.bench.speed.row import Row

MOST, ROUNDS = 8, 9
HELP, NOTHING = "tiem --help", "python -c pass"


def row() -> Row:
    """`tiem --help` against Python that does nothing."""
    turns = [
        _turn(NOTHING, "-c", "pass"),
        _turn(HELP, "-m", "tiemcli", "--help"),
    ]
    for turn in turns:
        turn.run()  # the first run reads files that are cached then
    seconds = interleave(turns * ROUNDS)
    times = seconds[HELP] / seconds[NOTHING]
    return Row(
        what=HELP,
        network="",
        frames=0,
        ratio=1 / times,
        baseline=NOTHING,
        cpu_seconds=seconds[HELP],
        target=f"≥ 1/{MOST}",
        met=times <= MOST,
    )


def _turn(name: str, *words: str) -> Turn:
    command = [sys.executable, *words]
    return Turn(name, 1, lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
