"""The windows of frames that stage 1 hides (Eq. 1)."""

from collections.abc import Sequence

import numpy as np

from tiemcli.kernels.arrays import Floats, Ints

ALL_SIZES_UP_TO = 16


def window_sizes(frames: int, choice: str | Sequence[int] = "auto") -> tuple[int, ...]:
    """The window sizes to try on a clip of `frames` frames, ascending.

    `all` is every size 1..T; `dyadic` is 1, 2, 4 … below T; `auto` is `all` up to T = 16 and `dyadic`
    above, where all sizes would cost T(T+1)/2 evaluations. A sequence is taken as it is.
    Raises ValueError where a size lies outside 1..T.
    """
    if choice == "auto":
        choice = "all" if frames <= ALL_SIZES_UP_TO else "dyadic"
    if choice == "all":
        return tuple(range(1, frames + 1))
    if choice == "dyadic":
        return tuple(1 << power for power in range(max(1, (frames - 1).bit_length())))
    if isinstance(choice, str):
        raise ValueError(f"windows are 'all', 'dyadic' or a list of sizes, not {choice!r}")
    sizes = tuple(sorted(set(choice)))
    if not sizes or sizes[0] < 1 or sizes[-1] > frames:
        raise ValueError(f"a window holds 1 to {frames} frames, not {', '.join(map(str, sizes))}")
    return sizes


def enumerate_windows(frames: int, sizes: Sequence[int]) -> Ints:
    """Every window of the given sizes: (K, 2) int64, columns size and first frame.

    A window (w, t) covers the frames t ≤ t' < t + w. Sizes ascend, and starts within a size.
    """
    return np.array(
        [(size, start) for size in sizes for start in range(frames - size + 1)], dtype=np.int64
    ).reshape(-1, 2)


def window_membership(frames: int, windows: Ints) -> Floats:
    """Which frame lies in which window: (K, T) float32, 1 inside and 0 outside.

    `1 - window_membership(...)` are the keep-masks of stage 1.
    """
    frame = np.arange(frames)
    size, start = windows[:, :1], windows[:, 1:]
    return ((frame >= start) & (frame < start + size)).astype(np.float32)
