"""RISE: random masks, each weighted by the score of what it keeps.

Petsiuk, Das and Saenko (RISE: randomized input sampling for explanation of black-box models, BMVC
2018). Their constants: cells kept with probability ½ on a grid of 7 × 7, upsampled linearly to one
cell more than the frame and cropped at random. Time has 4 cells and a shift of its own.

Where the base alone scores high S is mostly noise: N·E[M] stands for the sum of the masks, and how far
a pixel's own sum is from that by chance weighs as much as the mean score.
"""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Bools, Floats, Ints
from tiemcli.methods.chunks import scored
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.scene import Scene

GRID = (4, 7, 7)
PROBABILITY = 0.5


def find(scene: Scene) -> Evidence:
    """Score `queries` random masks.

    From the paper's S the mean score is taken, so that a pixel which changes nothing has 0; the order
    of pixels is that of S.
    """
    count = scene.settings.queries
    masks = RandomMasks.draw(scene.shape, count, scene.random())
    weighted, total = np.zeros(scene.shape), 0.0
    with scene.stage("masks", "where", count):
        for keep, scores in scored(scene, count, masks.keep):
            weighted += np.tensordot(scores.astype(np.float32), keep, 1)
            total += float(scores.sum())
    saliency = weighted / (count * PROBABILITY) - total / count
    towards = np.sign(scene.clean)  # a value below 0 is spoken for by what lowers it
    return attributed(scene, (towards * saliency).astype(np.float32), "queries", count)


@dataclass(frozen=True)
class RandomMasks:
    """N smooth random masks of a clip. shape: its T, H and W. cells: (N, 4, 7, 7) bool, which are
    kept. shifts: (N, 3) int64, where along each axis the clip lies in its upsampled mask."""

    shape: tuple[int, int, int]
    cells: Bools
    shifts: Ints

    @classmethod
    def draw(
        cls, shape: tuple[int, int, int], count: int, random: np.random.Generator
    ) -> "RandomMasks":
        cells = random.random((count, *GRID), dtype=np.float32) < PROBABILITY
        largest = [cell_size(size, cells) for size, cells in zip(shape, GRID, strict=True)]
        return cls(shape, cells, random.integers(0, largest, (count, 3), endpoint=True))

    def keep(self, chosen: range) -> Floats:
        """The masks (K, T, H, W) float32 in [0, 1] of these numbers."""
        numbers = slice(chosen.start, chosen.stop)
        times, rows, columns = (
            interpolation(size, cells)[shift[:, None] + np.arange(size)]
            for size, cells, shift in zip(self.shape, GRID, self.shifts[numbers].T, strict=True)
        )
        cells = self.cells[numbers].astype(np.float32).reshape(len(chosen), GRID[0], -1)
        by_frame = (times @ cells).reshape(len(chosen), -1, *GRID[1:])
        masks = rows[:, None] @ by_frame @ columns[:, None].swapaxes(2, 3)
        return np.asarray(np.minimum(masks, 1, out=masks))


def cell_size(size: int, cells: int) -> int:
    """The pixels of a cell along an axis of `size` pixels, which is also the largest shift."""
    return -(-size // cells)


def interpolation(size: int, cells: int) -> Floats:
    """Linear weights of cells in pixels, one cell more than `size` takes: ((cells + 1)·pixels of a
    cell, cells) float32; beyond the outer centres the outer cells alone."""
    pixels = (cells + 1) * cell_size(size, cells)
    centre = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    weights = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(cells)))
    return np.asarray(weights, dtype=np.float32)
