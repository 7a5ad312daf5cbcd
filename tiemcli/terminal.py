"""What a person at a terminal sees: progress and doubts on stderr, the outcome on stdout."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from tiemcli.errors import TiemError, shown
from tiemcli.result import Result, readable
from tiemcli.wording import FITTED_BY, HIDDEN, cost_text, count_text, score_text

if TYPE_CHECKING:
    from tiemcli.bench.networks import Row as NetworkRow
    from tiemcli.bench.whitebox import Row
    from tiemcli.doctor import Check

# Heights of a bar; the second are for code pages that have no blocks.
_BARS = ("▁▂▃▄▅▆▇█", ".:-=+*#@")


class _Rate(ProgressColumn):
    """Evaluations a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f}/s" if task.speed else "", style="dim")


class Terminal:
    """A `Progress` drawn on stderr; off where that is no terminal or where nobody wants it."""

    def __init__(self, *, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self._bars: Bars | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def stage(self, name: str, total: int) -> None:
        """What is counted from now on, and how much of it there is."""
        self.close()
        if self.console.quiet or not self.console.is_terminal:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bars = Bars(
            *columns, _Rate(), TimeRemainingColumn(), console=self.console, transient=True
        )
        self._bars.add_task(name, total=total)
        self._bars.start()

    def advance(self, done: int) -> None:
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[0], done)

    def close(self) -> None:
        """Clear the bar: what is printed next, on stdout too, begins on a line of its own."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def line(self, text: str) -> None:
        """One line of results, on stdout, above the bar if there is one."""
        if self._bars is not None and sys.stdout.isatty():
            self._bars.console.print(shown(text), soft_wrap=True, markup=False)
        else:
            print(shown(text))

    def note(self, text: str, style: str = "dim") -> None:
        """One line of talk."""
        self.console.print(Text(shown(text), style=style), soft_wrap=True)

    def trace(self, text: str) -> None:
        """Where a bug is, in many lines."""
        self.console.print(Text(text, style="red"), soft_wrap=True)


def error_line(error: TiemError) -> Text:
    """One line: what happened, and what to do about it."""
    line = Text("tiem: ", style="bold red")
    line.append(" ".join(error.message.split()), style="not bold default")
    if error.hint:
        line.append(f" — {error.hint}", style="not bold dim")
    return line


def print_error(error: TiemError) -> None:
    Console(stderr=True, highlight=False).print(error_line(error), soft_wrap=True)


def row_printer(console: Console) -> Callable[..., None]:
    """What prints a name and what there is to say of it, on one line."""

    def row(name: str, text: str, style: str = "") -> None:
        console.print(Text.assemble((f"{name:<8}", "dim"), (shown(text), style)), soft_wrap=True)

    return row


def result_line(result: Result, name: Path, *, kept: bool) -> str:
    """One clip among many, in a line. name: of its result. kept: it was explained by an earlier run."""
    target = result.target
    remarks = ["explained before"] if kept else []
    if result.warnings:
        remarks.append(count_text(len(result.warnings), "warnings"))
    mask = next((mask for mask in result.masks if mask.smallest), result.masks[-1])
    return (
        f"{readable(name).removesuffix('.tiem.json')}  "
        f"{target.label or f'output {target.index}'} {score_text(target.score)}  "
        f"peak at {peak(result):.2f} s  "
        f"{score_text(mask.score)} with {mask.effective_area:.1%} kept"
        + (f"  ({', '.join(remarks)})" if remarks else "")
    )


def peak(result: Result) -> float:
    """The time of the frame of most importance, in seconds."""
    return result.clip.timestamps[int(np.argmax(result.temporal.importance))]


def print_result(result: Result, path: Path, *, kept: bool) -> None:
    """The closing table of one clip. path: of its JSON. kept: it was explained by an earlier run."""
    target, temporal = result.target, result.temporal
    console = Console(file=sys.stdout, highlight=False)

    row = row_printer(console)
    again = " (explained before; -f does it again)" if kept else ""
    row("clip", f"{result.clip.path}{again}")
    row("answer", f"{target.label or f'output {target.index}'}  {score_text(target.score)}", "bold")
    row("hidden", f"{score_text(result.base.score)} when all is {HIDDEN[result.base.kind]}")
    row("when", f"{sparkline(temporal.importance, console.encoding)}  peak at {peak(result):.2f} s")
    for mask in result.masks:
        star = "  smallest that is enough" if mask.smallest and len(result.masks) > 1 else ""
        took = count_text(mask.evaluations, FITTED_BY[result.backend])
        found = f"{score_text(mask.score)} with {mask.effective_area:.1%} kept, after {took}"
        row("where", f"{found}{star}")
    how = result.backend if result.method == "tiem" else f"{result.method}, {result.backend}"
    row("by", f"{how}, {cost_text(result.cost)}")
    for name in (*result.files.model_dump(exclude_none=True).values(), path.name):
        row("wrote", readable(path.with_name(name)))


def print_demo(result: Result, truth: Mapping[str, Any]) -> None:
    """How well the sample's explanation finds what is known of it."""
    start, end = truth["signature"]
    signature = [start <= time < end for time in result.clip.timestamps]
    mass = sum(l for l, inside in zip(result.temporal.importance, signature, strict=True) if inside)
    uniform = sum(signature) / len(signature)
    print(
        f"\nThe clip shows {truth['label']!r} only from {start:.2f} to {end:.2f} s: {mass:.0%} of "
        f"the temporal importance falls there, where a uniform one would put {uniform:.0%}."
    )


def print_whitebox(rows: "Sequence[Row]", seeds: int) -> None:
    """The white-box table, Table 2's figures for TIEM beside it; one seed has no deviation."""
    table = Table(box=None, pad_edge=False)
    for name in ("regressor", "constraint", "backend", "grid"):
        table.add_column(name)
    for name in ("pointing game", "ceiling", "paper"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.regressor,
            row.constraint,
            row.backend,
            f"{row.cells}×{row.cells}",
            f"{row.mean:.2f} ± {row.std:.2f}" if seeds > 1 else f"{row.mean:.2f}",
            f"{row.ceiling:.2f}",
            f"{row.paper:.2f}",
        )
    Console(file=sys.stdout, highlight=False).print(table)


def print_networks(rows: "Sequence[NetworkRow]") -> None:
    """A line a file, and how many have gradients."""
    table = Table(box=None, pad_edge=False)
    for name in ("network", "converter", "derived", "batch", "gradient", "note"):
        table.add_column(name, no_wrap=name != "note")
    for row in rows:
        converter, gradient = f"{row.converter} {row.opset}", "yes" if row.autograd else "no"
        table.add_row(row.network, converter, row.derived, row.batch, gradient, row.reason)
    console = Console(file=sys.stdout, highlight=False)
    console.print(table)
    console.print(f"{sum(row.autograd for row in rows)} of {len(rows)} with gradients")


def print_doctor(checks: "Sequence[Check]", *, as_json: bool) -> None:
    """A line a check, and under one that is not well what to type, unbroken to be copied."""
    if as_json:
        print(json.dumps({"checks": [asdict(check) for check in checks]}, indent=2))
        return
    console = Console(file=sys.stdout, highlight=False)
    for check in checks:
        status = (f"{check.status:<6}", _STATUS[check.status])
        line = Text.assemble(status, (f"{check.name:<16}", "dim"), check.found)
        console.print(line, soft_wrap=True)
        if check.repair:
            console.print(Text(f"{'':22}type: {check.repair}", style="bold"), soft_wrap=True)


_STATUS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def sparkline(values: list[float], encoding: str) -> str:
    """One letter a value, the largest full, of those that an encoding has."""
    bars, instead = _BARS
    try:
        bars.encode(encoding)
    except UnicodeEncodeError:
        bars = instead
    top = max(values) or 1.0
    return "".join(bars[min(7, int(8 * value / top))] for value in values)
