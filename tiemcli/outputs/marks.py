"""Where the marks of the report's charts stand, in percent of the chart's width and height."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Doubles
from tiemcli.result import MaskRecord, TemporalRecord

# What is left free above the curve, beside it and below it for what is written there.
_CURVE = {"left": 9.0, "right": 97.0, "top": 8.0, "bottom": 86.0}
_AREA_TICKS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Bar:
    """The time importance of one sampled frame. time: in seconds; share: of the whole clip's."""

    left: float
    width: float
    height: float
    time: float
    share: float


@dataclass(frozen=True)
class Cell:
    """A window. strength: its drop of the score, of the largest one; negative for a rise."""

    size: int
    start: int
    left: float
    top: float
    width: float
    height: float
    strength: float


@dataclass(frozen=True)
class Row:
    """The windows of one size, drawn in one row."""

    size: int
    middle: float
    valid: bool
    labelled: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Point:
    """A score on the curve. mask: its index among the masks, None for the whole clip or none."""

    x: float
    y: float
    area: float
    score: float
    mask: int | None


@dataclass(frozen=True)
class Curve:
    """Φ over the area that is kept. enough: the height of Φ0. x ticks: (place, share); y ticks:
    (place, score)."""

    points: tuple[Point, ...]
    enough: float
    x_ticks: tuple[tuple[float, float], ...]
    y_ticks: tuple[tuple[float, float], ...]
    left: float
    right: float
    bottom: float


def edges(times: Sequence[float], seconds: float) -> Doubles:
    """Where the stretches of time that the sampled frames stand for meet: (T+1,) seconds.

    A stretch reaches half the way to its neighbours. seconds: the clip's length.
    """
    known = np.array(times)
    if len(known) == 1:
        return np.array([0.0, seconds])
    between = (known[1:] + known[:-1]) / 2
    first, last = 2 * known[0] - between[0], 2 * known[-1] - between[-1]
    return np.array([max(first, 0.0), *between, min(last, seconds)])


def bars(importance: Sequence[float], times: Sequence[float], seconds: float) -> tuple[Bar, ...]:
    """The time importance over the clip, the largest a full height."""
    ends = edges(times, seconds) / seconds * 100
    peak = max(importance)
    return tuple(
        Bar(
            left=float(ends[i]),
            width=float(ends[i + 1] - ends[i]),
            height=100 * share / peak,
            time=times[i],
            share=share,
        )
        for i, share in enumerate(importance)
    )


def heat(temporal: TemporalRecord) -> tuple[Row, ...]:
    """Every window by size, the smallest lowest, and by its first frame (the paper's Figure 7b).

    None where the method hid no windows.
    """
    if not temporal.windows:
        return ()
    frames = len(temporal.importance)
    records = sorted(temporal.windows, key=lambda record: -record.size)
    largest = max(abs(drop) for record in records for drop in record.drop) or 1.0
    height, width = 100 / len(records), 100 / frames
    step = math.ceil(len(records) / 16)
    return tuple(
        Row(
            size=record.size,
            middle=(row + 0.5) * height,
            valid=record.valid,
            labelled=(len(records) - 1 - row) % step == 0,
            cells=tuple(
                Cell(
                    size=record.size,
                    start=start,
                    left=start * width,
                    top=row * height,
                    width=width,
                    height=height,
                    strength=drop / largest,
                )
                for start, drop in enumerate(record.drop)
            ),
        )
        for row, record in enumerate(records)
    )


def curve(masks: Sequence[MaskRecord], clean: float, base: float, enough: float) -> Curve:
    """Φ from nothing kept to all kept (Eq. 6), the area by its square root, for small ones matter."""
    known = [(0.0, base, None), *((m.area, m.score, i) for i, m in enumerate(masks))]
    known.append((1.0, clean, None))
    values = [enough, *(score for _, score, _ in known)]
    low, high = min(0.0, *values), max(values)
    if 0.5 < high <= 1:
        high = 1.0  # a probability's own end
    span = (high - low) or 1.0

    def across(area: float) -> float:
        return _CURVE["left"] + math.sqrt(area) * (_CURVE["right"] - _CURVE["left"])

    def up(score: float) -> float:
        return _CURVE["bottom"] + (score - low) / span * (_CURVE["top"] - _CURVE["bottom"])

    return Curve(
        points=tuple(Point(across(a), up(s), a, s, i) for a, s, i in known),
        enough=up(enough),
        x_ticks=tuple((across(area), area) for area in _AREA_TICKS),
        y_ticks=tuple(
            (up(low + part * span), low + part * span) for part in (0, 0.25, 0.5, 0.75, 1)
        ),
        left=_CURVE["left"],
        right=_CURVE["right"],
        bottom=_CURVE["bottom"],
    )
