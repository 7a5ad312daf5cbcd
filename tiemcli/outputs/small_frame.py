"""A source frame as pictures show it: smaller, its pixels square, what was kept painted on it."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2

from tiemcli.kernels.arrays import Bytes
from tiemcli.outputs.painting import View, placed
from tiemcli.video import Timeline

Paint = Callable[[Bytes, Bytes], Bytes]


@dataclass(frozen=True)
class SmallFrame:
    """The size of a picture's frames in pixels, and where in them the network's input lies.

    view: x, y, width and height, as `Preprocessing.view` gives them for the source's own size.
    """

    width: int
    height: int
    view: View

    def fit(self, frame: Bytes) -> Bytes:
        """A source frame (H, W, 3) uint8 RGB at this size."""
        shrinking = frame.shape[0] >= self.height and frame.shape[1] >= self.width
        method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
        return cv2.resize(frame, (self.width, self.height), interpolation=method)  # type: ignore[return-value]

    def paint(self, frame: Bytes, keep: Bytes, paint: Paint) -> Bytes:
        """A fitted frame with a mask painted on it by a style's function.

        keep: (h, w) uint8, refined; 255 where it keeps.
        """
        return paint(frame, placed(keep, self.view, (self.height, self.width)))


def aspect(timeline: Timeline) -> float:
    """Width by height of the clip as it is shown on a screen."""
    return float(timeline.width * (timeline.pixel_aspect or 1) / timeline.height)


def small_frame(timeline: Timeline, view: View, width: int) -> SmallFrame:
    """A frame `width` pixels wide in the clip's aspect. view: in the source's pixels."""
    height = max(round(width / aspect(timeline)), 1)
    across, down = width / timeline.width, height / timeline.height
    left, top = round(view[0] * across), round(view[1] * down)
    right, bottom = round((view[0] + view[2]) * across), round((view[1] + view[3]) * down)
    return SmallFrame(width, height, (left, top, max(right - left, 1), max(bottom - top, 1)))
