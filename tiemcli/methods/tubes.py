"""Boxes that hide a few pixels of a few frames, and what hiding them costs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.methods.chunks import scored
from tiemcli.methods.scene import Scene

# A box is 16 pixels wide where a frame measures 112, and moves by half of that.
SIDE = 16 / 112
# Our choice: four frames, half of a very short clip, moving by half of that too.
FRAMES = 4
# By how much strides grow while there are more boxes than may be asked about.
GROWTH = 1.02


@dataclass(frozen=True)
class Tubes:
    """N boxes of `side` pixels, each of which hides L consecutive frames.

    shape: T, H and W of the clip. first: (N,) int64, the first frame of each. corners: (N, L, 2) int64,
    its top and left in each of its frames. widened: how many times as far apart they are as they
    should be, for want of queries.
    """

    shape: tuple[int, int, int]
    side: int
    first: Ints
    corners: Ints
    widened: float = 1.0

    def __len__(self) -> int:
        return len(self.first)

    def places(self, tube: int) -> Iterator[tuple[int, slice, slice]]:
        """Where a tube lies: each of its frames, with the rows and the columns there."""
        for step, (top, left) in enumerate(self.corners[tube].tolist()):
            frame = int(self.first[tube]) + step
            yield frame, slice(top, top + self.side), slice(left, left + self.side)

    def keep(self, chosen: range) -> Floats:
        """The masks (K, T, H, W) float32 that hide one tube each."""
        masks = np.ones((len(chosen), *self.shape), dtype=np.float32)
        for mask, tube in zip(masks, chosen, strict=True):
            for place in self.places(tube):
                mask[place] = 0
        return masks

    @property
    def warning(self) -> str:
        """What to tell a user of boxes too far apart."""
        if self.widened == 1:
            return ""
        return (
            f"--queries allows {len(self)} boxes: they lie {self.widened:.2g} times as far apart as "
            "they should"
        )


def standing(shape: tuple[int, int, int], most: int) -> Tubes:
    """Boxes that stand still on an even grid from edge to edge, `most` of them or fewer.

    Those at one place follow one another, so that a scorer meets their frames together.
    """
    frames, height, width = shape
    side = max(1, round(SIDE * min(height, width)))
    long = min(FRAMES, max(1, frames // 2))
    strides = max(1, long // 2), max(1, side // 2)
    widened = 1.0
    while True:
        firsts = _grid(frames, long, strides[0] * widened)
        tops, lefts = (_grid(size, side, strides[1] * widened) for size in (height, width))
        if len(firsts) * len(tops) * len(lefts) <= most:
            break
        widened *= GROWTH
    top, left, first = (axis.ravel() for axis in np.meshgrid(tops, lefts, firsts, indexing="ij"))
    corners = np.repeat(np.stack([top, left], axis=1)[:, None], long, axis=1)
    return Tubes(shape, side, first, corners, widened)


def _grid(size: int, box: int, stride: float) -> Ints:
    """Where boxes start, evenly from edge to edge and no closer than `stride`; one is in the middle."""
    room = size - box
    count = int(room / stride + 1e-9) + 1
    if count == 1:
        return np.array([room // 2])
    return np.rint(np.linspace(0, room, count)).astype(np.int64)


def drops(scene: Scene, tubes: Tubes) -> Doubles:
    """What hiding each tube costs of Φ, towards 0 for a value below it: (N,) float64."""
    parts = [scores for _, scores in scored(scene, len(tubes), tubes.keep)]
    return np.asarray((scene.clean - np.concatenate(parts)) * np.sign(scene.clean))
