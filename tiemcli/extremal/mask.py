"""Smooth masks of exact area, and what fits them."""

from dataclasses import dataclass
from typing import Protocol

from tiemcli.kernels.area import hard_top, pixel_counts
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import Upsampling, gaussian_upsampling
from tiemcli.scorers import Progress

# The Gaussian of a cell, in cells: σ ≈ H/20 where they measure H/16.
GAUSSIAN_CELLS = 0.8
# How hard the edge of a fitted soft mask is.
FINAL_TEMPERATURE = 0.02
# A fit that goes on from a larger area needs this share of the evaluations of a cold one.
WARM_SHARE = 1 / 3


@dataclass(frozen=True)
class MaskSpace:
    """Smooth masks of a clip: cells on a grid, upsampled to values z, of which the largest are kept.

    shape: T, H and W. upsampling: from (T, h, w) cells to (T, H, W) values. volume: the areas are
    met by the clip as a whole, not by each frame.
    """

    shape: tuple[int, int, int]
    upsampling: Upsampling
    volume: bool = False

    @classmethod
    def across(cls, shape: tuple[int, int, int], cells: int, volume: bool = False) -> "MaskSpace":
        """`cells` of them across the shorter side, their Gaussian .8 of a cell wide."""
        _, height, width = shape
        step = min(height, width) / cells
        upsampling = gaussian_upsampling(height, width, step, GAUSSIAN_CELLS * step)
        return cls(shape, upsampling, volume)

    @property
    def cells(self) -> tuple[int, int, int]:
        return self.shape[0], *self.upsampling.cells

    def counts(self, areas: Doubles) -> Ints:
        """The pixels to keep for (T,) areas in [0, 1]: (T,) a frame each, or (1,) of the volume."""
        return wanted_pixels(areas, *self.shape[1:], self.volume)

    def hard(self, cells: Floats, counts: Ints) -> Floats:
        """The binary masks (…, T, H, W) of exactly these counts for (…, T, h, w) cells."""
        return top(self.upsampling(cells), counts)


def wanted_pixels(areas: Doubles, height: int, width: int, volume: bool) -> Ints:
    """The pixels that frames of (T,) areas keep: (T,) a frame each, or (1,) of the volume."""
    return pixel_counts(areas.sum(keepdims=True) if volume else areas, height, width)


def top(values: Floats, counts: Ints) -> Floats:
    """The binary masks (…, T, H, W) of the largest values: counts a frame, or one for them all."""
    rows = values.reshape(*values.shape[:-3], len(counts), -1, values.shape[-1])
    return hard_top(rows, counts).reshape(values.shape)


@dataclass(frozen=True)
class Fit:
    """A fitted mask. cells: (T, h, w) float32, from which a smaller area can start.

    values: (T, H, W) float32, the cells in pixels, of which the largest are kept. soft: the same
    shape in [0, 1]. hard: the same, of zeros and ones, meeting the area exactly.
    evaluations: what it took, in forwards for a search by queries, in steps for a gradient's.
    """

    cells: Floats
    values: Floats
    soft: Floats
    hard: Floats
    evaluations: int


@dataclass(frozen=True)
class AreaMask:
    """The mask of one area.

    area: the share of the clip that was asked for. frame_areas: (T,) float64, the shares of the
    frames. values: (T, H, W) float32, of which the largest are kept. soft: the same shape in [0, 1].
    hard: the same, of zeros and ones. score: Φ under the hard mask. smallest: the smallest area whose
    score is enough. evaluations: what it took, forwards of a search by queries or steps along a
    gradient.
    """

    area: float
    frame_areas: Doubles
    values: Floats
    soft: Floats
    hard: Floats
    score: float
    smallest: bool
    evaluations: int

    @property
    def effective_area(self) -> float:
        """The share that the mask keeps; below `area` where every frame that matters is full."""
        return float(self.hard.mean())


class Fitter(Protocol):
    """One backend under one constraint, for one clip, base and target."""

    def fit(self, areas: Doubles, start: Floats | None, progress: Progress) -> Fit:
        """The mask that keeps most of Φ when frame t keeps the share areas[t] of its pixels.

        areas: (T,) float64 in [0, 1]. start: cells of an earlier fit to go on from. progress: told
        of the evaluations done since it was last told, and at the end of those not needed.
        """
        ...

    def budget(self, warm: bool) -> int:
        """The most evaluations that a fit will take, cold or from a start."""
        ...
