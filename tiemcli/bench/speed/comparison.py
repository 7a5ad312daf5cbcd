"""What tiem costs, measured in one interleaved run on the machine at hand, against named rivals."""

import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from tiemcli.bench.speed import explanation, folder, start, windows
from tiemcli.bench.speed.networks import CASES, prepare
from tiemcli.bench.speed.row import Row
from tiemcli.errors import UsageError


def rows(only: str = "", progress: Callable[[str], None] = lambda what: None) -> Iterator[Row]:
    """A row for each comparison with the networks whose name has `only` in it.

    The start of the command line is measured where all is. Raises UsageError where there is no such
    network or no way to time a child, ModelError where a package is missing.
    """
    chosen = [case for case in CASES if only in case.network]
    if not chosen:
        names = ", ".join(dict.fromkeys(case.network for case in CASES))
        raise UsageError(f"--network {only}: no network of the bench is named so", f"give {names}")
    if find_spec("resource") is None:
        raise UsageError(
            "this system does not tell what a child process took", "use Linux or macOS"
        )
    if not only:
        progress("the start of the command line")
        yield start.row()
    for case in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            what = f"{case.network}, {case.frames} frames"
            progress(f"{what}: export")
            subject = prepare(case, Path(scratch))
            progress(f"{what}: windows")
            yield from windows.rows(subject)
            if case.explained:
                progress(f"{what}: one whole explanation")
                yield explanation.row(subject)
            if case.folder:
                progress(f"{what}: folders of clips")
                yield from folder.rows(subject)
