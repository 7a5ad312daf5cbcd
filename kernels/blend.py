"""Perturbation: M⊗X = M∘X + (1−M)∘base, and the bases that stand in for what is hidden."""

import numpy as np

from tiemcli.kernels.arrays import Floats

# Extremal perturbations blur 112-pixel frames with a deviation of 20 pixels (Fong et al. 2019).
BLUR_SIGMA = 20 / 112


def blend(clip: Floats, base: Floats, keep: Floats) -> Floats:
    """The perturbed clips (N, C, T, H, W) for N keep-masks over one clip.

    clip, base: (C, T, H, W) float32, in the units that the network is fed.
    keep: (N, T, H, W) or (N, T, 1, 1) float32 in [0, 1]; 1 shows the clip, 0 shows the base.
    """
    return base + keep[:, None] * (clip - base)


def gaussian_blur(clip: Floats, sigma: float) -> Floats:
    """Blur every frame of a (..., H, W) float32 array; `sigma` in pixels, edges repeated."""
    height, width = clip.shape[-2:]
    rows, columns = _blur_matrix(height, sigma), _blur_matrix(width, sigma)
    return np.asarray(rows @ clip @ columns.T, dtype=np.float32)


def _blur_matrix(size: int, sigma: float) -> Floats:
    """(size, size) float32: Gaussian weights, the tails beyond an edge added to the edge pixel."""
    radius = int(np.ceil(3 * sigma))
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    source = np.clip(np.arange(size)[:, None] + offsets, 0, size - 1)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), weights / weights.sum())
    return matrix.astype(np.float32)
