"""Signature frames: those that show what the answer must be read from, said as text."""

import math
import re

import numpy as np

from tiemcli.errors import UsageError
from tiemcli.kernels.arrays import Bools, Doubles

_FRAMES = re.compile(r"(\d+)(?:-(\d+))?")
_SECONDS = re.compile(r"(\d*\.?\d+)s-(\d*\.?\d+)s")


def signature_frames(text: str, timestamps: Doubles) -> Bools:
    """Which sampled frames a text such as `7-15`, `3,5,8-10` or `2.25s-3.5s` names: (T,).

    Numbers are sampled frames, counted from 0, a range with both its ends; seconds are a span
    [start, end) of the source. timestamps: (T,) float64 seconds, of the sampled frames.
    Raises UsageError for a text that is none of this, or names no sampled frame.
    """
    signature = np.zeros(len(timestamps), dtype=bool)
    for part in text.replace(" ", "").split(","):
        if frames := _FRAMES.fullmatch(part):
            first, last = int(frames[1]), int(frames[2] or frames[1])
            if first > last:
                raise UsageError(f"signature {text}: {part} ends before it starts", _HINT)
            if last >= len(timestamps):
                raise UsageError(
                    f"signature {text}: there is no sampled frame {last}",
                    f"they are 0 to {len(timestamps) - 1}; seconds of the clip are said as 2.25s-3.5s",
                )
            signature[first : last + 1] = True
        elif seconds := _SECONDS.fullmatch(part):
            signature |= frames_within(float(seconds[1]), float(seconds[2]), timestamps)
        else:
            raise UsageError(f"signature {text}: {part!r} names no frames", _HINT)
    return signature


def frames_within(start: float, end: float, timestamps: Doubles) -> Bools:
    """Which sampled frames lie in [start, end) seconds: (T,). Raises UsageError where none does."""
    if not (math.isfinite(start) and start < end):
        raise UsageError(f"signature {start:g}s-{end:g}s ends before it starts", _HINT)
    within: Bools = (timestamps >= start) & (timestamps < end)
    if not within.any():
        shown = ", ".join(f"{time:.2f}" for time in timestamps)
        raise UsageError(
            f"signature {start:g}s-{end:g}s: no sampled frame lies in it",
            f"they are at {shown} s",
        )
    return within


_HINT = "say frames as 7-15 or 3,5,8-10, counted from 0, or seconds as 2.25s-3.5s"
