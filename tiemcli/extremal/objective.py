"""What a mask should make large."""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Doubles

# Below this a probability's logarithm says nothing any more.
SMALLEST_PROBABILITY = 1e-8


@dataclass(frozen=True)
class Objective:
    """What a mask should make large, as a function of Φ: log Φ, or Φ/Φ(X) for a regression.

    clean: Φ(X). regression: Φ is no probability; clean is then not 0.
    """

    clean: float
    regression: bool

    def __call__(self, scores: Doubles) -> Doubles:
        if self.regression:
            return scores / self.clean
        return np.log(np.maximum(scores, SMALLEST_PROBABILITY))
