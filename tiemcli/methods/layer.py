"""A value inside a network that still has a map of the clip: how it lies there."""

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tiemcli.kernels.arrays import Floats

Grid = tuple[int, int, int]

# Orders of axes in which each frame has been looked at alone.
BY_FRAME = ("TCHW", "THWC", "TLC", "NTCHW")


@dataclass(frozen=True)
class Layer:
    """A value inside the network with a map of the clip.

    name: of the tensor in the file. node: that computes it, "" where the file gives it no name.
    grid: t, h and w of its map. order: of the tensor's axes as letters, N for the clips, L for tokens;
    T in front holds N·T. tokens: the order of the map in L.
    """

    name: str
    node: str
    op_type: str
    grid: Grid
    order: str
    tokens: str = "THW"

    @property
    def has_tokens(self) -> bool:
        """Whether the map's cells are in one row, perhaps a frame."""
        return "L" in self.order

    @property
    def by_frame(self) -> bool:
        """Whether each frame has been looked at alone, as the axes tell."""
        return self.order in BY_FRAME

    def volume(self, value: Tensor) -> Tensor:
        """The first clip's map (C, t, h, w) in the tensor, or in its gradient.

        A token more than the map has cells, the class's, stands in front and is left out.
        """
        rows = value[0] if self.order[0] == "N" else value[: self.grid[0]]
        letters = self.order.removeprefix("N")
        if self.has_tokens:
            sizes = dict(zip("THW", self.grid, strict=True))
            inside = self.tokens if letters == "LC" else "HW"
            lengths = [sizes[letter] for letter in inside]
            extra = rows.shape[-2] - math.prod(lengths)
            rows = rows[..., extra:, :].reshape(*rows.shape[:-2], *lengths, -1)
            letters = letters.replace("L", inside)
        return rows.permute([letters.index(letter) for letter in "CTHW"])


def to_clip(volume: Tensor, shape: tuple[int, int, int]) -> Floats:
    """A map (t, h, w) brought to the clip's T, H and W, trilinearly: float32."""
    larger = F.interpolate(
        volume.detach()[None, None].float(), shape, mode="trilinear", align_corners=False
    )
    return np.ascontiguousarray(larger[0, 0].cpu().numpy(), dtype=np.float32)
