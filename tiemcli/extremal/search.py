"""Masks for one area or several, and the smallest area that is enough (Eq. 6)."""

from collections.abc import Callable, Sequence

from tiemcli.extremal.mask import AreaMask, Fit, Fitter
from tiemcli.kernels.area import frame_areas
from tiemcli.kernels.arrays import Doubles
from tiemcli.scorers import Progress, Scorer, unheard


def fit_areas(
    fitter: Fitter,
    scorer: Scorer,
    importance: Doubles,
    areas: Sequence[float],
    enough: Callable[[float], bool],
    *,
    stop_when_too_small: bool = False,
    progress: Progress = unheard,
) -> tuple[AreaMask, ...]:
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
        AreaMask(
            area, shares, fit.values, fit.soft, fit.hard, score, area == smallest, fit.evaluations
        )
        for area, shares, fit, score in reversed(fitted)
    )
