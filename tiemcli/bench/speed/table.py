"""The rows of `tiem bench speed` at a terminal, and as the page docs/benchmarks.md."""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tiemcli.bench.speed.row import Row
from tiemcli.bench.speed.windows import PLAIN, REUSE
from tiemcli.kernels.windows import enumerate_windows, window_sizes

COMMAND = "tiem bench speed --markdown > docs/benchmarks.md"
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "torch", "torchvision", "transformers", "numpy")
_COLUMNS = ("what", "network", "T", "times", "of", "CPU s", "forwards", "difference", "besides")
_INTRODUCTION = """\
# Benchmarks

What tiem takes beside what else there is, measured in one run on the machine below. Times are of
processors, all threads and child processes included, taken in turns, A B A B, and medians where there
are several: ratios hold within about a tenth, also on a machine that has other work; the times
themselves hold on this machine alone. Networks have seeded random weights: `r2plus1d-18` is
torchvision's at 112×112, `r50-lstm` the paper's at 112×112, `videomae-tiny` transformers' with a
ViT-Ti at 112×112, `r2plus1d-10` torchvision's with half its blocks at 56×56. All explain the clip that
ships with tiem. Threads without work sleep, as tiem always has it, and so do those of
the torch that it is compared with.

- **times**: the other's time over tiem's, above 1 where tiem is faster. **of**: the other.
- **CPU s**: tiem's. **forwards**: what tiem computed, in evaluations of the whole network.
- **difference**: the largest between both sides' probabilities.
- *all windows* is stage 1. Without reuse a sample of them is timed and scaled, for each costs the
  same; with reuse they are scored at once, unless there is nothing to reuse. `session.run` and torch
  are given clips that were masked beforehand, as many at once as tiem found best, one, or four.
- *one whole explanation* is `tiem explain` with gradients and all its defaults in a process of its
  own: start, imports, loading, decoding, both stages, writing the video. The paper's recipe is 137
  forwards and 800 iterations of a plain loop in torch on the module itself, of which five of each are
  timed and scaled, and nothing around them.
- *a folder* is explained by one process, the network loaded before; **inside** is the share of the time
  on the clock that is spent in calls that run the network.
- memory is what a process held at most: all of it for an explanation, what loading and scoring added
  for windows with reuse."""


def show(rows: Sequence[Row]) -> None:
    """The rows as a table on stdout, bold where a target is missed, and how many are met."""
    table = Table(box=None, pad_edge=False)
    for name in ("what", "network", "T", "times", "CPU s"):
        right = name in ("T", "times", "CPU s")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.add_column("of", overflow="fold")
    table.add_column("besides", overflow="fold")
    for row in rows:
        what, network, frames, times, of, cpu, _, _, besides = _cells(row)
        said = ", ".join(filter(None, (_verdict(row), besides)))
        style = "bold" if row.met is False else ""
        table.add_row(what, network, frames, times, cpu, of, said, style=style)
    console = Console(file=sys.stdout, highlight=False)
    console.print(table)
    promised = [row for row in rows if row.met is not None]
    console.print(f"{sum(row.met is True for row in promised)} of {len(promised)} targets met")
    console.print(_machine(), style="dim", soft_wrap=True)


def markdown(rows: Sequence[Row], day: date, seconds: float) -> str:
    """The whole page: how it was made, what is promised, all rows, time against T and clips."""
    promised = [row for row in rows if row.met is not None]
    against_t = [row for row in rows if row.what == REUSE and row.baseline == PLAIN]
    folders = [row for row in rows if row.share is not None]
    header = (*_COLUMNS, "target")
    return "\n".join(
        [
            _INTRODUCTION,
            "",
            f"Made on {day} in {seconds / 60:.0f} minutes, by",
            "",
            f"    {COMMAND}",
            "",
            f"on {_machine()}.",
            "",
            "## Targets",
            "",
            *_lines(header, ((*_cells(row), _verdict(row)) for row in promised)),
            "",
            "## Stage 1 against T",
            "",
            "Windows of all sizes up to T = 16, of 1, 2, 4 … above.",
            "",
            *_lines(
                ("network", "T", "windows", "CPU s", "CPU s with reuse", "times", "memory"),
                map(_against_t, against_t),
            ),
            "",
            "## A folder of clips",
            "",
            *_lines(
                ("clips", "network", "T", "CPU s a clip", "s a clip", "inside"),
                map(_folder, folders),
            ),
            "",
            "## All rows",
            "",
            *_lines(_COLUMNS, map(_cells, rows)),
            "",
        ]
    )


def _lines(header: Sequence[str], body: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for cells in body:
        yield f"| {' | '.join(cells)} |"


def _cells(row: Row) -> tuple[str, ...]:
    """One a column of `_COLUMNS`."""
    return (
        row.what,
        row.network,
        str(row.frames) if row.frames else "",
        _number(row.ratio),
        row.baseline,
        _number(row.cpu_seconds),
        "" if row.forwards is None else _number(row.forwards),
        "" if row.max_abs_diff is None else f"{row.max_abs_diff:.0e}" if row.max_abs_diff else "0",
        _besides(row),
    )


def _besides(row: Row) -> str:
    parts = []
    if row.equivalents is not None:
        parts.append(f"the time of {row.equivalents:.0f} session.run")
    if row.wall_seconds is not None:
        parts.append(f"{_number(row.wall_seconds)} s on the clock")
    if row.share is not None:
        parts.append(f"{row.share:.1%} inside")
    if row.peak_bytes is not None:
        parts.append(_memory(row.peak_bytes))
    return ", ".join(parts)


def _verdict(row: Row) -> str:
    return "" if row.met is None else f"{row.target}: {'met' if row.met else 'missed'}"


def _against_t(row: Row) -> tuple[str, ...]:
    return (
        row.network,
        str(row.frames),
        str(len(enumerate_windows(row.frames, window_sizes(row.frames)))),
        _number(row.ratio * row.cpu_seconds),
        _number(row.cpu_seconds),
        _number(row.ratio),
        "" if row.peak_bytes is None else _memory(row.peak_bytes),
    )


def _folder(row: Row) -> tuple[str, ...]:
    return (
        row.what.removeprefix("a folder of ").removesuffix(", each clip"),
        row.network,
        str(row.frames),
        _number(row.cpu_seconds),
        _number(row.wall_seconds or 0.0),
        f"{row.share or 0.0:.1%}",
    )


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def _memory(bytes_held: int) -> str:
    return f"{bytes_held / 1e6:.0f} MB"


def _machine() -> str:
    """The processors, and the versions of what computes."""
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {found}" for name in _PACKAGES if (found := _version(name))]
    return f"{os.cpu_count()} processors ({_processor()}), {', '.join(versions)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
