"""Damaged clips, and a harness that would tell if one did harm."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SLICE, WHOLE = 60, 2000


def ran(script: str, *arguments: object) -> str:
    """What a script of this folder prints, its networks and decoders on one thread."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def explained(first: int, stop: int, folder: Path) -> list[dict[str, Any]]:
    """How the clips of these numbers ended."""
    told = [json.loads(line) for line in ran("clips.py", first, stop, folder).splitlines()]
    assert [ended["number"] for ended in told] == list(range(first, stop))
    return told


@pytest.mark.parametrize(
    ("first", "stop"),
    [(0, SLICE), pytest.param(SLICE, WHOLE, marks=pytest.mark.long)],
    ids=["some", "all the others"],
)
def test_no_damaged_clip_ends_in_a_traceback_a_hang_or_half_a_file(
    first: int, stop: int, tmp_path: Path
) -> None:
    """Each has a whole result, or one line that says why not; a process that dies is contained by a
    worker, but none does."""
    told = explained(first, stop, tmp_path)
    assert [ended for ended in told if ended["fault"] or ended["code"] not in (0, 1)] == []
    # Damage that is always or never fatal would show nothing.
    explained_all_the_same = sum(ended["code"] == 0 for ended in told)
    assert 0.3 < explained_all_the_same / len(told) < 0.7


WAYS = {
    "return 3": (3, ""),
    "raise ClipError('no', 'do')": (1, ""),
    "raise SystemExit(2)": (2, ""),
    "raise KeyError('x')": (70, "traceback"),
    "print('Traceback of a thread')": (0, "traceback"),
    "os.abort()": (-6, ""),
    "time.sleep(9)": (-14, "hang"),
    "signal.pthread_sigmask(signal.SIG_BLOCK, {2}); [0 for _ in iter(int, 1)]": (-14, "hang"),
}


def test_the_harness_tells_every_way_to_end() -> None:
    """An answer, a user's error, a bug, a crash, and a wait or a loop without end."""
    script = (
        "import os, signal, sys, time, json; sys.path.insert(0, sys.argv[1])\n"
        "from forked import forked\n"
        "from tiemcli.errors import ClipError\n"
        "def way(line):\n"
        "    def work():\n"
        "        exec(line if not line.startswith('return') else 'pass', globals())\n"
        "        return int(line.split()[1]) if line.startswith('return') else 0\n"
        "    return forked(work, 2)\n"
        "ends = [way(line) for line in json.loads(sys.argv[2])]\n"
        "print(json.dumps([(end.code, end.fault) for end in ends]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(HERE), json.dumps(list(WAYS))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [tuple(end) for end in json.loads(done.stdout)] == list(WAYS.values())
