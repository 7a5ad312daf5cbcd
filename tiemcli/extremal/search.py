"""Masks for one area or several, and the smallest area that is enough (Eq. 6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiemcli.extremal.mask import Fit, Fitter
from tiemcli.kernels.area import frame_areas
from tiemcli.kernels.arrays import Doubles
from tiemcli.scorers import Progress, Scorer, unheard

# Tried from the largest down when a score is asked for and no areas are given.
AREA_LADDER = (0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)


@dataclass(frozen=True)
class ExtremalMask:
    """The mask of one area.

    area: the share of the clip that was asked for. frame_areas: (T,) float64, the shares of the
    frames. score: Φ under the hard mask. smallest: the smallest area whose score is enough.
    """

    area: float
    frame_areas: Doubles
    fit: Fit
    score: float
    smallest: bool

    @property
    def evaluations(self) -> int:
        """What the fit took: forwards of a search by queries, or steps along a gradient."""
        return self.fit.evaluations

    @property
    def effective_area(self) -> float:
        """The share that the mask keeps; below `area` where every frame that matters is full."""
        return float(self.fit.hard.mean())


def fit_areas(
    fitter: Fitter,
    scorer: Scorer,
    importance: Doubles,
    areas: Sequence[float],
    enough: Callable[[float], bool],
    *,
    stop_when_too_small: bool = False,
    progress: Progress = unheard,
) -> tuple[ExtremalMask, ...]:
    """A mask an area, in ascending order of area.

    They are fitted from the largest down, each starting from the one before. enough: whether a
    score keeps the prediction; the smallest area with enough is marked, and where
    `stop_when_too_small` the areas below the first that has not enough are left out.
    """
    fitted: list[tuple[float, Doubles, Fit, float]] = []
    start = None
    for area in sorted(areas, reverse=True):
        shares = frame_areas(importance, area)
        fit = fitter.fit(shares, start, progress)
        start = fit.cells
        score = float(scorer.score(fit.hard[None])[0])
        fitted.append((area, shares, fit, score))
        if stop_when_too_small and not enough(score):
            break
    smallest = min((area for area, _, _, score in fitted if enough(score)), default=None)
    return tuple(
        ExtremalMask(area, shares, fit, score, area == smallest)
        for area, shares, fit, score in reversed(fitted)
    )
