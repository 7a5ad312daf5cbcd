"""Steps uphill from noisy slopes."""

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats


class Adam:
    """Adam's steps uphill (Kingma and Ba 2015)."""

    def __init__(self, rate: float, moments: tuple[float, float] = (0.9, 0.99)) -> None:
        self.rate, self.moments, self.steps = rate, moments, 0
        self.mean = self.square = np.zeros(())

    def step(self, gradient: Doubles) -> Floats:
        first, second = self.moments
        self.steps += 1
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        mean = self.mean / (1 - first**self.steps)
        square = self.square / (1 - second**self.steps)
        return (self.rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32)
