"""Axis orders. Inside, a batch of clips is always (N, C, T, H, W); a network may want another.

A layout is a word of one letter an axis, such as NCTHW, NTHWC or TCHW. Without N the batch is
folded into a leading T; without C the clip has one channel and no axis for it.
"""

from typing import Literal

import numpy as np

from tiemcli.kernels.arrays import Floats

CANONICAL = "NCTHW"


def check_layout(layout: str) -> None:
    """Raise ValueError, saying why, if `layout` is no word that a network can be fed by."""
    if len(set(layout)) != len(layout) or not set("THW") <= set(layout) <= set(CANONICAL):
        raise ValueError(f"layout {layout!r} is not made of T, H, W and perhaps N and C, once each")
    if "N" in layout and layout[0] != "N":
        raise ValueError(f"layout {layout!r} does not begin with its batch axis N")
    if "N" not in layout and layout[0] != "T":
        raise ValueError(
            f"layout {layout!r} has no N, so it must begin with T, which then holds N·T"
        )


def axis_order(layout: str) -> tuple[int, ...]:
    """The transpose from (N, C, T, H, W) to the layout's own order, its folded N put in front.

    A layout without C is given C as its last axis, to be dropped afterwards.
    """
    full = ("" if "N" in layout else "N") + layout + ("" if "C" in layout else "C")
    return tuple(CANONICAL.index(letter) for letter in full)


def network_shape(layout: str, sizes: dict[str, int], batch: int | Literal[-1] = -1) -> list[int]:
    """The shape a network of this layout is fed; sizes gives C, T, H and W, -1 leaves N open."""
    if "N" in layout:
        return [batch if letter == "N" else sizes[letter] for letter in layout]
    frames = -1 if batch == -1 else batch * sizes["T"]
    return [frames, *(sizes[letter] for letter in layout[1:])]


def from_layout(fed: np.ndarray, layout: str, sizes: dict[str, int]) -> np.ndarray:
    """The batch (N, C, T, H, W) that `to_layout` made this of."""
    order = axis_order(layout)
    ordered = fed.reshape([-1 if axis == 0 else sizes[CANONICAL[axis]] for axis in order])
    return ordered.transpose(np.argsort(order))


def to_layout(clips: Floats, layout: str) -> Floats:
    """A batch (N, C, T, H, W) as the network wants it."""
    sizes = dict(zip(CANONICAL, clips.shape, strict=True))
    ordered = clips.transpose(axis_order(layout))
    return np.ascontiguousarray(ordered).reshape(network_shape(layout, sizes, len(clips)))
