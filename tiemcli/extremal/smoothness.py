"""STEP's term, which wants a mask made of lumps that last several frames (Li et al., WACV 2021)."""

import math

import numpy as np
import torch
from torch import Tensor

from tiemcli.kernels.arrays import Floats

# The lump: frames, and pixels across in a frame of 112.
FRAMES, ACROSS, SIDE = 7, 11, 112
# The share of the iterations before it sets in: 100 of 2,000.
BEGINS = 0.05
# What decides between shares that are as good as equal.
LOT = 1e-4


class Smoothness:
    """How far a mask is from being made of ellipsoids, 7 frames long and 11 of 112 pixels across.

    Ellipsoids slide over the clip, a frame at a time and side by side within it. Those that the mask
    fills most, as many as the area has room for, should be full, and the others empty: the term is
    the mean squared distance of the former's filled share from 1, plus that of the latter's from 0.
    A clip of fewer than 7 frames is as long as its ellipsoids.
    """

    def __init__(self, shape: tuple[int, int, int], weight: float, device: torch.device) -> None:
        """shape: T, H and W."""
        frames, height, width = shape
        self.across = max(1, round(ACROSS * min(height, width) / SIDE))
        solid = ellipsoid(min(FRAMES, frames), self.across)
        # 443 pixels at the published size.
        self.volume = max(1, int(len(solid) * self.across**2 * math.pi / 6))
        self.weight = weight
        self._solid = torch.from_numpy(solid / solid.sum()).to(device)

    def __call__(self, mask: Tensor, pixels: int, random: np.random.Generator) -> Tensor:
        """The weighted term of a mask (T, H, W) that is to keep so many pixels, as a scalar.

        random: draws which of equal ellipsoids are to be full; else it would be those of the first
        frames, and what they gain at the start they keep.
        """
        filled = self.filled(mask).flatten()
        lots = LOT * random.random(len(filled), dtype=np.float32)
        drawn = filled.detach() + torch.from_numpy(lots).to(filled.device)
        order = drawn.argsort(descending=True)
        count = min(math.ceil(pixels / self.volume), len(filled))
        full, empty = filled[order[:count]], filled[order[count:]]
        term = (full - 1).square().mean()
        return self.weight * (term + empty.square().mean() if len(empty) else term)

    def filled(self, mask: Tensor) -> Tensor:
        """The share of each ellipsoid that the mask fills: (starts, places).

        A convolution of stride (1, 11, 11), in a fourth of its time: within a frame no two overlap.
        """
        across, long = self.across, len(self._solid)
        frames, rows, columns = len(mask), *(size // across for size in mask.shape[1:])
        tiles = mask[:, : rows * across, : columns * across]
        tiles = tiles.reshape(frames, rows, across, columns, across).transpose(2, 3)
        slices = tiles.reshape(frames, rows * columns, -1) @ self._solid.flatten(1).T
        return slices.unfold(0, long, 1).diagonal(dim1=-2, dim2=-1).sum(-1)


def ellipsoid(frames: int, across: int) -> Floats:
    """1 for what is, by its centre, inside of the ellipsoid that fills a box (frames, across, across)."""
    axes = [(2 * np.arange(size) + 1 - size) / size for size in (frames, across, across)]
    squares = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    return np.asarray(squares <= 1, dtype=np.float32)
