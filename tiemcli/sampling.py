"""Which source frames a network sees."""

import math
from typing import Literal

import numpy as np

from tiemcli.errors import ClipError, UsageError
from tiemcli.kernels.arrays import Doubles


def choose(
    timestamps: Doubles,
    frames: int,
    *,
    mode: Literal["uniform", "center"] = "uniform",
    stride: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """(indices, warnings): `frames` source frames, in order, out of the span [start, end).

    timestamps: (n,) seconds, strictly increasing from 0. The span, in seconds, holds the frames
    that are on the screen at some moment of it, hence always one at least; m of them, the first
    being f. Where they suffice, index k of T = `frames` is

    - mode "uniform": f + floor((k + 1/2) m / T), the centres of T equal segments, which is how
      two-stream and TSN-style networks are tested (Wang et al., ECCV 2016, section 3.1);
    - mode "center": T consecutive frames from the middle of the span;
    - `stride` given, whatever the mode: T frames `stride` apart, centred in the span.

    Where they do not, the sampling starts at f, and the last frame repeats, with a warning.
    Raises UsageError for a count, stride or span that makes no sense, ClipError for a span that
    starts after the clip has ended.
    """
    if frames < 1:
        raise UsageError(f"{frames} frames cannot be sampled", "give --frames 1 or more")
    if stride is not None and stride < 1:
        raise UsageError(f"a stride of {stride} frames goes nowhere", "give --stride 1 or more")
    first, count, warnings = _span(timestamps, start, end)

    if stride is None and mode == "uniform" and count >= frames:
        indices = first + (2 * np.arange(frames) + 1) * count // (2 * frames)
        return tuple(indices.tolist()), warnings

    stride = stride or 1
    needed = (frames - 1) * stride + 1
    offsets = max(count - needed, 0) // 2 + np.arange(frames) * stride
    repeats = int(np.count_nonzero(offsets >= count))
    if repeats:
        where = "clip" if start is None and end is None else "chosen span"
        some = "1 frame" if count == 1 else f"{count} frames"
        places = f"its last one fills {repeats} of the {frames} places"
        warnings += (f"the {where} has {some} where {needed} are needed: {places}",)
    return tuple((first + np.minimum(offsets, count - 1)).tolist()), warnings


def _span(
    timestamps: Doubles, start: float | None, end: float | None
) -> tuple[int, int, tuple[str, ...]]:
    """(first index, number of frames, warnings) of the frames on the screen in [start, end)."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(
                f"--{name} {value:g} is no time in a clip", f"give --{name} in seconds, 0 or more"
            )
    if end is not None and end <= (start or 0):
        raise UsageError(
            f"--end {end:g} does not come after --start {start or 0:g}",
            "give an end after the start",
        )
    # The last frame is shown for as long as the others are on average; a lone one for ever.
    shown = len(timestamps)
    seconds = float(timestamps[-1]) * shown / (shown - 1) if shown > 1 else math.inf
    if start is not None and start >= seconds:
        raise ClipError(
            f"--start {start:g} lies after the end of the clip, which lasts {seconds:.2f} s",
            f"give --start below {seconds:.2f}",
        )
    warnings: tuple[str, ...] = ()
    if end is not None and end > seconds + 0.005:  # what rounding to two digits may add
        warnings = (f"--end {end:g} lies after the end of the clip, which lasts {seconds:.2f} s",)
    first = 0 if start is None else int(np.searchsorted(timestamps, start, "right")) - 1
    stop = shown if end is None else int(np.searchsorted(timestamps, end, "left"))
    return first, max(stop - first, 1), warnings
