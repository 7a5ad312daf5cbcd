"""Run the command on mutated networks, each in a fork of a process that has imported everything.

`python tests/fuzz/run_models.py FIRST STOP FOLDER` prints a line of JSON for each mutation; FOLDER
keeps the mutants that ended badly.
"""

import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from forked import Ended, forked
from good_networks import networks
from model_mutations import mutate

import tiemcli.batch
import tiemcli.command_explain
import tiemcli.extremal.autograd
import tiemcli.inspection
import tiemcli.scorers.open_inference  # noqa: F401  whatever a fork would import by itself
from tiemcli.cli import main

CLIP = Path(__file__).parent.parent.parent / "samples" / "clip.mp4"
MOST_MEMORY = 12 << 30  # bytes of addresses
MOST_LINES = 40  # of an inspection; an error is one
EXPLAIN = ("explain", str(CLIP), "--no-isolate", "--queries", "4")
COMMANDS = (
    (*EXPLAIN, "--backend", "finite-difference"),
    (*EXPLAIN, "--backend", "auto", "--iterations", "2"),
    (*EXPLAIN, "--backend", "finite-difference", "--precision", "half"),
    ("inspect",),
)


def run(number: int, good: list[bytes], kept: Path) -> dict[str, Any]:
    """What became of one mutation."""
    what, content = mutate(good[number % len(good)], np.random.default_rng(number))
    command = COMMANDS[number // len(good) % len(COMMANDS)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "mutant.onnx").write_bytes(content)
        network = ("mutant.onnx",) if len(command) == 1 else ("-m", "mutant.onnx", "-o", "out")
        words = ["tiem", *command, *network, "--device", "cpu"]
        ended = forked(lambda: _command(words, folder))
        faults = list(_faults(ended, folder / "out"))
    if faults or ended.code < 0:
        kept.mkdir(parents=True, exist_ok=True)
        (kept / f"{number}.onnx").write_bytes(content)
        (kept / f"{number}.txt").write_text(ended.text, encoding="utf-8")
    return {
        "number": number,
        "what": what,
        "command": " ".join(words[1:]),
        "code": ended.code,
        "seconds": round(ended.seconds, 2),
        "megabytes": ended.peak >> 20,
        "faults": faults,
        "said": ended.text.splitlines()[-3:],
    }


def _command(words: list[str], folder: Path) -> int:
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.argv = words
    main()
    return 0


def _faults(ended: Ended, out: Path) -> Iterator[str]:
    """What must not be, whatever the network. A death by a signal is none: a worker contains it."""
    if ended.fault:
        yield ended.fault
    elif ended.code not in (0, 1, 2, 3) and ended.code >= 0:
        yield "exit code"
    if len(ended.text.splitlines()) > MOST_LINES:
        yield "many lines"
    if any((letter < " " and letter != "\n") or letter == "\x7f" for letter in ended.text):
        yield "control characters"
    for path in out.iterdir() if out.exists() and ended.code >= 0 else ():
        if path.name.startswith(".") or not path.stat().st_size:
            yield f"left {path.name}"
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    kinds = networks()
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(run(number, kinds, Path(sys.argv[3]))), flush=True)
