"""Areas: how much of each frame a mask keeps, and masks that keep exactly that (Eq. 5)."""

import numpy as np

from tiemcli.kernels.arrays import Bools, Doubles, Floats, Ints

# Halvings of the range of values: as far as float32 tells them apart.
BISECTIONS = 30


def frame_areas(importance: Doubles, area: float) -> Doubles:
    """The share of each frame to keep, a_t = a·T·l_t (Eq. 5): (T,) float64 in [0, 1].

    importance: (T,) float64 ≥ 0, summing to 1. area: the share of the whole clip, in (0, 1].
    Where a_t would pass 1 the frame is kept whole and the rest is shared among the others in
    proportion to l. Where all frames of l > 0 are full the total shrinks: the mean of the result
    is the effective area, which may be below `area`.
    """
    areas = np.zeros_like(importance)
    full = np.zeros(importance.shape, dtype=bool)
    while True:
        open_frames = ~full & (importance > 0)
        if not open_frames.any():
            return np.minimum(areas, 1)
        budget = area * len(importance) - full.sum()
        areas[open_frames] = budget * importance[open_frames] / importance[open_frames].sum()
        overflowing = open_frames & (areas > 1 + 1e-12)
        if not overflowing.any():
            return np.minimum(areas, 1)
        areas[overflowing] = 1
        full |= overflowing


def pixel_counts(areas: Doubles, height: int, width: int) -> Ints:
    """The whole number of pixels that each frame keeps: (T,) int64."""
    return np.rint(areas * height * width).astype(np.int64)


def soft_top(values: Floats, counts: Doubles | Ints, temperature: float) -> Floats:
    """The soft mask m = sigmoid((z − τ_t) / temperature) with Σm_t = counts_t: shaped as `values`.

    values: (..., T, H, W) float32. counts: (T,) pixels to keep, in [0, H·W]. τ_t is found by
    bisection, per frame; a frame of 0 or H·W pixels is hidden or kept whole.
    """
    size = values.shape[-2] * values.shape[-1]
    wanted = np.broadcast_to(np.asarray(counts), values.shape[:-2]).reshape(-1)
    mask = np.repeat(wanted >= size, size).reshape(-1, size).astype(np.float32)
    partial = (wanted > 0) & (wanted < size)
    flat = values.reshape(-1, size)[partial].astype(np.float32)
    if len(flat):
        mask[partial] = _soft(flat, wanted[partial, None], temperature)
    return mask.reshape(values.shape)


def _soft(flat: Floats, wanted: np.ndarray, temperature: float) -> Floats:
    """sigmoid((z − τ)/temperature) of rows (R, P), each τ such that a row sums to wanted (R, 1)."""
    low = flat.min(axis=1, keepdims=True) - 40 * temperature
    high = flat.max(axis=1, keepdims=True) + 40 * temperature
    mask = np.empty_like(flat)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        np.subtract(flat, middle, out=mask)
        mask *= 0.5 / temperature
        np.tanh(mask, out=mask)
        mask += 1
        mask *= 0.5
        excess = mask.sum(axis=1, dtype=np.float64, keepdims=True) > wanted
        low, high = np.where(excess, middle, low), np.where(excess, high, middle)
    return mask


def hard_top(values: Floats, counts: Ints) -> Floats:
    """The binary mask of exactly counts_t pixels of largest value a frame, shaped as `values`.

    values: (..., T, H, W) float32. counts: (T,) int64. Among equal values the first in reading
    order win, so the count is exact whatever the ties.
    """
    flat = values.reshape(*values.shape[:-2], -1)
    mask = np.zeros_like(flat)
    for frame, count in enumerate(counts.tolist()):
        rows, kept = flat[..., frame, :], mask[..., frame, :]
        if count <= 0:
            continue
        if count >= flat.shape[-1]:
            kept[...] = 1
            continue
        threshold = -np.partition(-rows, count - 1, axis=-1)[..., count - 1 : count]
        above = rows > threshold
        ties = rows == threshold
        room = count - above.sum(axis=-1, keepdims=True)
        kept[...] = above | (ties & (np.cumsum(ties, axis=-1) <= room))
    return mask.reshape(values.shape)


def sorted_template(counts: Ints, size: int) -> Bools:
    """Eq. 7's r, the sorted mask that meets the areas: (T, size) bool, counts_t ones in front."""
    return np.arange(size) < counts[:, None]
