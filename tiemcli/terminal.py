"""What a person at a terminal sees: progress and doubts on stderr, the outcome on stdout."""

import sys
from collections.abc import Mapping, Sequence
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
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from tiemcli.errors import TiemError
from tiemcli.result import Result

if TYPE_CHECKING:
    from tiemcli.bench.whitebox import Row

_BARS = "▁▂▃▄▅▆▇█"


class _Rate(ProgressColumn):
    """Evaluations a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f}/s" if task.speed else "", style="dim")


class Terminal:
    """A `Progress` drawn on stderr; off where that is no terminal or where nobody wants it."""

    def __init__(self, *, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def stage(self, name: str, total: int) -> None:
        self.close()
        self._task = self._bars.add_task(name, total=total)

    def advance(self, done: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, done)

    def close(self) -> None:
        """The last stage is done."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def note(self, text: str, style: str = "dim") -> None:
        """One line of talk."""
        self.console.print(Text(text, style=style), soft_wrap=True)


def error_line(error: TiemError) -> Text:
    """One line: what happened, and what to do about it."""
    line = Text("tiem: ", style="bold red")
    line.append(" ".join(error.message.split()), style="not bold default")
    if error.hint:
        line.append(f" — {error.hint}", style="not bold dim")
    return line


def print_error(error: TiemError) -> None:
    Console(stderr=True, highlight=False).print(error_line(error), soft_wrap=True)


def print_result(result: Result, folder: Path, *, kept: bool) -> None:
    """The closing table of one clip. kept: it was explained by an earlier run."""
    target, temporal = result.target, result.temporal
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    name = target.label or f"output {target.index}"
    table.add_row(
        "clip", f"{result.clip.path}{' (explained before; -f does it again)' if kept else ''}"
    )
    table.add_row("answer", Text(f"{name}  {_score(target.score)}", style="bold"))
    table.add_row("hidden", f"{_score(result.base.score)} when all is {_HIDDEN[result.base.kind]}")
    peak = int(np.argmax(temporal.importance))
    moment = f"peak at {result.clip.timestamps[peak]:.2f} s"
    table.add_row("when", f"{sparkline(temporal.importance)}  {moment}")
    for mask in result.masks:
        star = "  smallest that is enough" if mask.smallest and len(result.masks) > 1 else ""
        table.add_row("where", f"{_score(mask.score)} with {mask.effective_area:.1%} kept{star}")
    table.add_row("by", f"{result.backend}, {result.cost.forwards} evaluations")
    names = [
        *result.files.model_dump(exclude_none=True).values(),
        f"{Path(result.clip.path).stem}.tiem.json",
    ]
    table.add_row("files", "  ".join(str(folder / name) for name in names))
    Console(file=sys.stdout, highlight=False).print(table)


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


def print_whitebox(rows: "Sequence[Row]") -> None:
    """The white-box table, Table 2's figures for TIEM beside it."""
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
            f"{row.mean:.2f} ± {row.std:.2f}",
            f"{row.ceiling:.2f}",
            f"{row.paper:.2f}",
        )
    Console(file=sys.stdout, highlight=False).print(table)


_HIDDEN = {"blur": "blurred", "black": "black", "mean": "its mean colour"}


def sparkline(values: list[float]) -> str:
    """One block a value, the largest full."""
    top = max(values) or 1.0
    return "".join(_BARS[min(7, int(8 * value / top))] for value in values)


def _score(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
