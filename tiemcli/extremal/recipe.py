"""How the published extremal perturbations differ, and what they have in common."""

from dataclasses import dataclass

# Fong, Patrick and Vedaldi, ICCV 2019, and Li et al., WACV 2021.
ITERATIONS = 2000
RATE, MOMENTUM, DAMPENING = 0.05, 0.9, 0.9
AREA_WEIGHT = 300.0


@dataclass(frozen=True)
class Recipe:
    """One published way to fit a mask.

    volume: the area is asked of the clip as a whole, not of each frame. reward_weight: of log Φ, or
    Φ/Φ(X), beside 300 for the squared distance of the sorted mask from its template. growth: of the
    latter's weight, an iteration of 2,000. smoothness: the weight of STEP's term; 0 leaves it out.
    """

    volume: bool
    reward_weight: float
    growth: float = 1.0
    smoothness: float = 0.0
