"""Separable upsampling from a grid of cells to pixels: pixels = rows @ cells @ columnsᵀ."""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Floats


@dataclass(frozen=True)
class Upsampling:
    """How (..., h, w) cells become (..., H, W) pixels.

    rows: (H, h) float32 and columns: (W, w) float32, each row summing to 1, so that cells in [0, 1]
    stay in [0, 1].
    """

    rows: Floats
    columns: Floats

    @property
    def cells(self) -> tuple[int, int]:
        return self.rows.shape[1], self.columns.shape[1]

    def __call__(self, cells: Floats) -> Floats:
        return np.asarray(self.rows @ cells @ self.columns.T, dtype=np.float32)


def gaussian_upsampling(height: int, width: int, step: float, sigma: float) -> Upsampling:
    """A smooth grid: one cell every `step` pixels, blurred by a Gaussian of `sigma` pixels."""
    return Upsampling(gaussian_matrix(height, step, sigma), gaussian_matrix(width, step, sigma))


def nearest_upsampling(height: int, width: int, cells: tuple[int, int]) -> Upsampling:
    """A grid of sharp rectangles: each pixel takes the cell that it lies in."""
    return Upsampling(_nearest_matrix(height, cells[0]), _nearest_matrix(width, cells[1]))


def gaussian_matrix(size: int, step: float, sigma: float) -> Floats:
    """(size, cells) float32, rows summing to 1: each place a mean of the cells about it, one cell
    every `step` places, by a Gaussian of `sigma` places."""
    pixels = np.arange(size) + 0.5
    centres = (np.arange(int(np.ceil(size / step - 1e-9))) + 0.5) * step
    weights = np.exp(-0.5 * ((pixels[:, None] - centres) / sigma) ** 2)
    matrix: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix


def _nearest_matrix(size: int, cells: int) -> Floats:
    matrix = np.zeros((size, cells), dtype=np.float32)
    matrix[np.arange(size), np.arange(size) * cells // size] = 1
    return matrix
