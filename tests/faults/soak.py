"""Explain one tiny clip many times over as a worker does, and print what memory that took.

`python tests/faults/soak.py CLIP NETWORK FOLDER COUNT`: bytes resident after each clip, as JSON.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tiemcli.batch import prepare, run
from tiemcli.facts import Facts
from tiemcli.memory import resident_memory
from tiemcli.progress import Silent
from tiemcli.request import Request
from tiemcli.runs.engine import Finished, Item, Outcome
from tiemcli.settings import Settings


class _Watch(Silent):
    """Memory after each clip. Raises RuntimeError if one fails."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def scored(self) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Finished):
            raise RuntimeError(outcome.error)
        self.bytes.append(resident_memory())


def soak(clip: Path, network: Path, folder: Path, count: int) -> list[int]:
    """Bytes after each of `count` clips, each a file of its own."""
    settings = Settings(queries=20, backend="finite-difference")
    request = Request(network, Facts(), settings, "cpu", None, force=False)

    def clips() -> Iterator[Item | None]:
        for index in range(count):
            copy = shutil.copy(clip, folder / f"{index}.mp4")
            yield Item(Path(copy), folder / f"{index}.tiem.json")
        yield None

    items, watch = clips(), _Watch()
    run(request, prepare(request), lambda: next(items), watch)
    return watch.bytes


if __name__ == "__main__":
    clip, network, folder = map(Path, sys.argv[1:4])
    print(json.dumps(soak(clip, network, folder, int(sys.argv[4]))))
