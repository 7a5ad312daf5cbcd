"""Where a score comes from, by regression of random masks on their scores."""

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats

# The prior covariance of two cells: Gaussian in their distance, plus an independent share.
SPACE_SIGMA, TIME_SIGMA, INDEPENDENT = 1.0, 0.7, 0.2
RIDGES = np.logspace(-2, 3, 26)


def kernel_ridge(masks: Floats, scores: Doubles, frames: Doubles) -> Floats:
    """The cells' weights in a linear model of the scores, of unit deviation: (F, h, w) float32.

    masks: (N, F, h, w) float32, the cells of N masks on the F frames numbered by `frames`. scores:
    (N,). This is the posterior mean under a Gaussian prior that is smooth in space and time, its
    noise chosen by generalised cross-validation (Golub et al. 1979), solved in the dual.
    """
    rows, columns = (np.arange(size, dtype=np.float64) for size in masks.shape[2:])
    centred = masks.astype(np.float64) - masks.mean(axis=0)
    smooth = np.einsum(
        "nfhw,fg,hi,wj->ngij",
        centred,
        _covariance(frames, TIME_SIGMA),
        _covariance(rows, SPACE_SIGMA),
        _covariance(columns, SPACE_SIGMA),
        optimize=True,
    )
    spread = ((1 - INDEPENDENT) * smooth + INDEPENDENT * centred).reshape(len(masks), -1)
    gram = spread @ centred.reshape(len(masks), -1).T
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    values = np.maximum(values, 0)
    wanted = vectors.T @ ((scores - scores.mean()) / (scores.std() + 1e-12))
    ridge = min(RIDGES * values.mean(), key=lambda ridge: _cross_validation(values, wanted, ridge))
    weights = spread.T @ (vectors @ (wanted / (values + ridge)))
    weights /= weights.std() + 1e-12
    return np.asarray(weights.reshape(masks.shape[1:]), dtype=np.float32)


def _covariance(positions: Doubles, sigma: float) -> Doubles:
    return np.exp(-0.5 * ((positions[:, None] - positions) / sigma) ** 2)


def _cross_validation(values: Doubles, wanted: Doubles, ridge: float) -> float:
    """The generalised cross-validation error of the ridge, up to a constant."""
    left = ridge / (values + ridge)
    return float(np.sum((left * wanted) ** 2) / np.sum(left) ** 2)
