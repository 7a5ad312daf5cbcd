"""How good an explanation is, by every metric that can be said of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from tiemcli.kernels.arrays import Floats
from tiemcli.metrics.faithfulness import average_drop, sufficient_share
from tiemcli.metrics.insertion import deletion, insertion
from tiemcli.metrics.pointing import iou, spatial_pointing, temporal_pointing
from tiemcli.metrics.truth import Truth
from tiemcli.scorers import Progress, Scorer, unheard
from tiemcli.settings import CURVE_STEPS, Base

# What hides pixels in the curves: blurred, as masks are by default, and black.
CURVE_BASES: tuple[Base, ...] = ("blur", "black")


@dataclass(frozen=True)
class Measures:
    """What one explanation scores; None where nothing is known that could say so, NaN where undefined.

    score: Φ under the mask. average_drop: in %, what the mask loses of Φ(X). temporal_pointing: in %,
    of what is kept, in signature frames. spatial_pointing: in %, of frames whose most salient pixel
    is right. iou: of mask and region, in [0, 1]. insertion, deletion: areas under the curves over the
    blurred clip, and over the black one; of Φ, or for a regression of Φ/Φ(X). sufficient_area: the
    least share of the clip that insertion over the blurred clip has to show for enough.
    """

    score: float
    average_drop: float
    temporal_pointing: float | None = None
    spatial_pointing: float | None = None
    iou: float | None = None
    insertion: float | None = None
    deletion: float | None = None
    insertion_black: float | None = None
    deletion_black: float | None = None
    sufficient_area: float | None = None

    def known(self) -> dict[str, float]:
        """Those that could be said, by name: each a number."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in every.items()
            if value is not None and not math.isnan(value)
        }


def measure(
    saliency: Floats,
    hard: Floats,
    *,
    clean: float,
    score: float,
    enough: float,
    regression: bool,
    truth: Truth,
    curves: Mapping[Base, Scorer],
    random: np.random.Generator,
    steps: int = CURVE_STEPS,
    progress: Progress = unheard,
) -> Measures:
    """Measure one saliency (T, H, W) and one mask of it, hard, of zeros and ones.

    clean: Φ(X). score: Φ under the mask. enough: Φ0. curves: scorers of the same clip and target over
    each of CURVE_BASES, or none. random: breaks ties of the saliency. progress: told how many scores
    of the curves are known, 2·(steps + 1) for each base.
    """
    found: dict[str, float | None] = {}
    for base, scorer in curves.items():
        suffix = "" if base == CURVE_BASES[0] else f"_{base}"
        shown, hidden = (
            curve(scorer, saliency, random, steps, progress) for curve in (insertion, deletion)
        )
        if base == CURVE_BASES[0]:
            relative = shown.relative_to(clean)
            found["sufficient_area"] = sufficient_share(relative, enough / clean)
        unit = clean if regression else 1.0
        found[f"insertion{suffix}"] = shown.relative_to(unit).auc
        found[f"deletion{suffix}"] = hidden.relative_to(unit).auc
    if truth.signature is not None:
        found["temporal_pointing"] = temporal_pointing(hard, truth.signature)
    if truth.region is not None:
        found["spatial_pointing"] = 100 * spatial_pointing(saliency, truth.region)
        found["iou"] = iou(hard, truth.region).volume
    drop = average_drop(np.array([clean]), np.array([score]))
    return Measures(score=score, average_drop=drop, **found)
