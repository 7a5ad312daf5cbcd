"""What several seeds, or several clips, say together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Doubles


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n − 1) of `count` values; NaN for that of one value."""

    mean: float
    std: float
    count: int

    def text(self, digits: int = 2) -> str:
        """Such as `98.73 ± 0.41`; the mean alone where there is no deviation."""
        mean = f"{self.mean:.{digits}f}"
        return mean if math.isnan(self.std) else f"{mean} ± {self.std:.{digits}f}"


def spread(values: Sequence[float] | Doubles) -> Spread:
    """The spread of (n,) values, n ≥ 1. A NaN among them is not passed over: the mean is NaN."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, len(values))
