"""From masks to scores: the one thing that a method may ask of a network."""

from collections.abc import Callable
from typing import Protocol

from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import Upsampling

Progress = Callable[[int], None]


def unheard(done: int) -> None:
    """A `Progress` that nobody follows."""


class Scorer(Protocol):
    """One clip, one base and one target of a network, asked about masks.

    shape: T, H and W of the clip as the network is fed. forwards: clips scored so far. computed: what
    they took, in forwards of the whole network. combining: what a clip takes whose masked frames have
    all been seen in the same call, as a share of a forward; 1 where nothing is reused.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def forwards(self) -> int: ...

    @property
    def computed(self) -> float: ...

    @property
    def combining(self) -> float: ...

    def score(
        self,
        keep: Floats,
        upsampling: Upsampling | None = None,
        choice: Ints | None = None,
        progress: Progress = unheard,
    ) -> Doubles:
        """Φ of the clip under each of N keep-masks: (N,) float64.

        keep: float32 in [0, 1], 1 shows the clip and 0 its base: whole frames (K, T), full masks
        (K, T, H, W), or cells (K, T, h, w) that `upsampling` turns into pixels. choice: (N, T) int64,
        which of the K masks frame t of clip n is under; None for N = K clips, each under its own.
        progress: told how many of the N clips have been scored since it was last told.
        """
        ...
