"""From masks to scores: the one thing that a method may ask of a network."""

from typing import Protocol

from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.kernels.upsample import Upsampling


class Scorer(Protocol):
    """One clip, one base and one target of a network, asked about masks.

    shape: T, H and W of the clip as the network is fed. forwards: clips scored so far.
    """

    shape: tuple[int, int, int]
    forwards: int

    def score(self, keep: Floats, upsampling: Upsampling | None = None) -> Doubles:
        """Φ of the clip under each of N keep-masks: (N,) float64.

        keep: float32 in [0, 1], 1 shows the clip and 0 its base: whole frames (N, T), full masks
        (N, T, H, W), or cells (N, T, h, w) that `upsampling` turns into pixels.
        """
        ...
