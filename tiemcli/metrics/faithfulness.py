"""How much of the answer a mask keeps, and how little of the clip is enough for it."""

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.metrics.insertion import Curve


def average_drop(clean: Doubles, masked: Doubles) -> float:
    """100·mean of max(0, Φ(X) − Φ(M⊗X))/Φ(X), over clips: 0 where every mask keeps its answer.

    clean, masked: (n,) float64, Φ of each clip and of what its mask keeps; clean is not 0, and where
    it is negative a drop is a rise. Chattopadhyay et al., Grad-CAM++, WACV 2018.
    """
    return float(100 * np.maximum(0, (clean - masked) / clean).mean())


def realised_areas(kept: Floats) -> Doubles:
    """The share that a mask (T, H, W) in [0, 1] keeps of each frame: (T,) float64."""
    areas: Doubles = kept.mean(axis=(1, 2), dtype=np.float64)
    return areas


def smallest_sufficient_area(areas: Doubles, scores: Doubles, enough: float) -> float:
    """The smallest of the masks' areas whose score is enough (Eq. 6); NaN where none has it.

    areas: (n,) float64, the share of the clip that each mask keeps. scores: (n,) float64, its Φ.
    enough: Φ0; where Φ is negative, give scores and Φ0 as shares of Φ(X).
    """
    sufficient = areas[scores >= enough]
    return float(sufficient.min()) if len(sufficient) else float("nan")


def sufficient_share(curve: Curve, enough: float) -> float:
    """The least share of the clip that insertion has to show for Φ ≥ enough; NaN if it never is.

    As exact as the curve's steps: the first of its points that has enough.
    """
    return smallest_sufficient_area(curve.shares, curve.scores, enough)
