"""Truth drawn on source frames, as the network's frames show it.

A pixel of the network is in a region if the point of the source that its centre shows is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Bools, Doubles
from tiemcli.preprocess import Preprocessing


@dataclass(frozen=True, eq=False)
class Viewing:
    """What a network was shown of a clip.

    frames: of the source. width, height: of an upright source frame, in pixels. sampled: (T,), the
    source frames that were shown, counted from 0. timestamps: (T,) float64, their seconds.
    """

    frames: int
    width: int
    height: int
    sampled: tuple[int, ...]
    timestamps: Doubles
    preprocessing: Preprocessing

    def centres(self) -> tuple[Doubles, Doubles]:
        """Where the network's pixels have their centres in a source frame, in its pixels: the
        (H,) heights of rows and the (W,) distances of columns from its upper left corner."""
        x, y, width, height = self.preprocessing.view(self.width, self.height)
        rows, columns = self.preprocessing.height, self.preprocessing.width
        return (
            y + (np.arange(rows) + 0.5) * height / rows,
            x + (np.arange(columns) + 0.5) * width / columns,
        )


def boxes_seen(boxes: Iterable[tuple[int, float, float, float, float]], viewing: Viewing) -> Bools:
    """The union of boxes as the network sees it: (T, H, W).

    boxes: (frame, x0, y0, x1, y1): the number of a source frame, and pixels from its upper left
    corner. A sampled frame has the boxes of that very frame.
    """
    rows, columns = viewing.centres()
    region = np.zeros((len(viewing.sampled), len(rows), len(columns)), dtype=bool)
    places = np.array(viewing.sampled)
    for frame, left, top, right, bottom in boxes:
        inside = ((rows >= top) & (rows < bottom))[:, None] & (columns >= left) & (columns < right)
        region[places == frame] |= inside
    return region


def masks_seen(masks: np.ndarray, viewing: Viewing) -> Bools:
    """Masks of the source as the network sees them: (T, H, W).

    masks: (frames, height, width) of the source, or (height, width) for all of its frames; not 0
    inside.
    """
    rows, columns = (np.floor(centres).astype(np.int64) for centres in viewing.centres())
    seen: Bools = masks[..., rows[:, None], columns] != 0
    if masks.ndim == 2:
        return np.repeat(seen[None], len(viewing.sampled), axis=0)
    return seen[list(viewing.sampled)]
