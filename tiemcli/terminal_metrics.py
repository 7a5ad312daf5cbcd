"""Metrics as tables: one row a method, or a stored mask."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tiemcli.comparison import Comparison, Entry
from tiemcli.evaluation import Evaluated
from tiemcli.metrics.summary import Spread, spread
from tiemcli.result import readable
from tiemcli.terminal import row_printer
from tiemcli.wording import count_text, score_text

# The columns by metric: heading, digits, and what one of it is worth in the column's unit. Curves
# over the black clip are in the JSON alone.
_COLUMNS = {
    "score": ("score", 3, 1),
    "temporal_pointing": ("when %", 1, 1),
    "spatial_pointing": ("where %", 1, 1),
    "iou": ("IoU", 3, 1),
    "insertion": ("insertion", 3, 1),
    "deletion": ("deletion", 3, 1),
    "sufficient_area": ("enough %", 1, 100),
}


# A row stays a line, however narrow the terminal: half a number is worse than a long line.
_WIDTH = 500


def print_comparison(
    comparison: Comparison, entries: Sequence[Entry], files: Sequence[Path]
) -> None:
    """What the clip is, a row a method, and what was written."""
    console = Console(file=sys.stdout, highlight=False, width=_WIDTH)
    row = row_printer(console)
    explanation = entries[0].explanation
    answer = explanation.label or f"output {explanation.target}"
    row("clip", readable(comparison.clip))
    row("answer", f"{answer}  {score_text(explanation.clean)}", "bold")
    row("kept", f"{_share(comparison.area)} of the clip by each method")
    spreads = {entry.name: entry.spreads() for entry in entries}
    names = [name for name in _COLUMNS if any(name in told for told in spreads.values())]
    table = Table(box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    headings = [_COLUMNS[name][0] for name in names]
    if comparison.randomise:
        headings.append("as by lot")
    for heading in (*headings, "forwards", "gradients", "seconds"):
        table.add_column(heading, justify="right")
    for entry in entries:
        found = entry.explanation
        cells = [_cell(spreads[entry.name].get(name), name) for name in names]
        if comparison.randomise:
            alike = entry.similarity
            cells.append("–" if alike is None or math.isnan(alike) else f"{alike:.2f}")
        cost = (f"{found.forwards:,}", f"{found.backwards:,}", f"{entry.seconds:.1f}")
        table.add_row(entry.name, *cells, *cost)
    console.print(table)
    for path in files:
        row("wrote", readable(path))


def print_evaluation(rows: Sequence[Evaluated]) -> None:
    """A row a mask, and under several of one method and area their mean."""
    console = Console(file=sys.stdout, highlight=False, width=_WIDTH)
    known = [row.measures.known() for row in rows]
    names = [name for name in _COLUMNS if any(name in told for told in known)]
    table = Table(box=None, pad_edge=False)
    for heading in ("clip", "method", "kept"):
        table.add_column(heading, no_wrap=heading != "clip")
    for name in names:
        table.add_column(_COLUMNS[name][0], justify="right")

    def add(clip: str, method: str, area: float, told: Mapping[str, Spread]) -> None:
        cells = [_cell(told.get(name), name) for name in names]
        table.add_row(clip, method, _share(area), *cells)

    groups: dict[tuple[str, float], list[dict[str, float]]] = {}
    for row, told in zip(rows, known, strict=True):
        groups.setdefault((row.result.method, row.mask.area), []).append(told)
        single = {metric: spread([value]) for metric, value in told.items()}
        add(row.result.clip.path, row.result.method, row.mask.area, single)
    for (method, area), group in groups.items():
        if len(group) > 1:
            shared = [name for name in names if all(name in told for told in group)]
            means = {name: spread([each[name] for each in group]) for name in shared}
            add(f"mean of {count_text(len(group), 'clips')}", method, area, means)
    console.print(table)


def row_notes(entries: Sequence[Entry]) -> dict[str, str]:
    """The figures that stand beside each method's row of the sheet."""
    notes = {}
    for entry in entries:
        told = entry.spreads()
        parts = [f"score {_cell(told['score'], 'score')}"]
        if "temporal_pointing" in told:
            parts.append(f"when {_cell(told['temporal_pointing'], 'temporal_pointing')} %")
        parts.append(f"insertion {_cell(told['insertion'], 'insertion')}")
        notes[entry.name] = "\n".join(parts)
    return notes


def _share(area: float) -> str:
    """Such as `10%`, or `0.5%`: no area is so small that it reads as none."""
    return f"{100 * area:.3g}%"


def _cell(found: Spread | None, name: str) -> str:
    if found is None:
        return "–"
    _, digits, unit = _COLUMNS[name]
    return Spread(found.mean * unit, found.std * unit, found.count).text(digits)
