"""How fast the score comes as pixels are shown, and goes as they are hidden, the most salient first.

Petsiuk et al., RISE, BMVC 2018, over the pixels of all frames at once. What hides is the scorer's
base: black and blurred curves are two scorers.
"""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.scorers import Progress, Scorer, unheard
from tiemcli.settings import CURVE_STEPS

# The area is then within .0032 of that by 256 steps, .0009 on average, and within .0078 by 32:
# measured on 40 curves of the sample network and a CNN-LSTM.

# Of masks that are held at once.
_CHUNK_BYTES = 1 << 27


@dataclass(frozen=True, eq=False)
class Curve:
    """Φ by the share of the clip's pixels that has been shown, or hidden.

    shares: (S+1,) float64 from 0 to 1. scores: (S+1,) float64.
    """

    shares: Doubles
    scores: Doubles

    @property
    def auc(self) -> float:
        """The area under the curve, by trapezia, in units of Φ."""
        return float(np.trapezoid(self.scores, self.shares))

    def relative_to(self, clean: float) -> "Curve":
        """The curve of Φ/Φ(X): what can be compared where Φ is no probability. clean: Φ(X), not 0."""
        return Curve(self.shares, self.scores / clean)


def insertion(
    scorer: Scorer,
    saliency: Floats,
    random: np.random.Generator,
    steps: int = CURVE_STEPS,
    progress: Progress = unheard,
) -> Curve:
    """Show the base's clip pixel by pixel, the largest saliency first: the more area the better.

    saliency: (T, H, W) float32, finite. Equal values come in an order that `random` draws.
    steps: the curve has one score more. progress: told how many of those have been scored.
    """
    return _curve(scorer, _order(saliency, random), steps, progress, show=True)


def deletion(
    scorer: Scorer,
    saliency: Floats,
    random: np.random.Generator,
    steps: int = CURVE_STEPS,
    progress: Progress = unheard,
) -> Curve:
    """Hide the clip pixel by pixel, the largest saliency first: the less area the better.

    Everything else as in `insertion`.
    """
    return _curve(scorer, _order(saliency, random), steps, progress, show=False)


def _order(saliency: Floats, random: np.random.Generator) -> Ints:
    """The place of each pixel, 0 the most salient: (T, H, W) int64, a permutation."""
    shuffled = random.permutation(saliency.size)
    ranked = shuffled[np.argsort(-saliency.ravel()[shuffled], kind="stable")]
    place = np.empty(saliency.size, dtype=np.int64)
    place[ranked] = np.arange(saliency.size)
    return place.reshape(saliency.shape)


def _curve(scorer: Scorer, place: Ints, steps: int, progress: Progress, *, show: bool) -> Curve:
    counts = np.rint(np.linspace(0, place.size, steps + 1)).astype(np.int64)
    at_once = max(1, _CHUNK_BYTES // (4 * place.size))
    scores = []
    for start in range(0, len(counts), at_once):
        taken = place < counts[start : start + at_once, None, None, None]
        keep = (taken if show else ~taken).astype(np.float32)
        scores.append(scorer.score(keep, progress=progress))
    return Curve(counts / place.size, np.concatenate(scores))
