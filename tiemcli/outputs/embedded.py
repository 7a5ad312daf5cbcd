"""A clip's pictures as text that a page carries inside itself: data URIs and SVG paths."""

import math
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from tiemcli.errors import OutputError
from tiemcli.kernels.arrays import Bytes, Floats
from tiemcli.outputs import masked_video
from tiemcli.outputs.painting import View
from tiemcli.video import Timeline, iterate, read

_SIDE = 640  # pixels, of a film's longer side
_PIXELS = 6e8  # in all frames of a film: some 6 MB of H.264, however long the clip
_THUMBNAIL = 240  # pixels, of the longer side
_QUALITY = 80  # of a thumbnail's JPEG, of 100
_OUTLINE = 512  # pixels, of the longer side of the mask that is outlined


def scaled(timeline: Timeline, side: int = _SIDE, pixels: float = _PIXELS) -> Timeline:
    """The same frames, smaller: square pixels, even sides, none longer than `side`, and not more
    than `pixels` in all frames together."""
    width = timeline.width * float(timeline.pixel_aspect or 1)
    height = timeline.height
    share = min(
        1.0, side / max(width, height), math.sqrt(pixels / (timeline.frames * width * height))
    )
    return replace(
        timeline,
        width=max(round(width * share / 2), 1) * 2,
        height=max(round(height * share / 2), 1) * 2,
        pixel_aspect=Fraction(1),
    )


def film(timeline: Timeline) -> str:
    """The clip at the timeline's size as H.264 in MP4, which every browser plays: a data URI."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            masked_video.record(path, timeline, iterate(timeline))
            return _uri("video/mp4", path.read_bytes())
    except OSError as error:
        raise OutputError(
            f"the report's film cannot be written: {error.strerror}", "free some space in TMPDIR"
        ) from error


def thumbnails(timeline: Timeline, sampled: Sequence[int]) -> list[str]:
    """The frames at the indices `sampled`, each as the data URI of a small JPEG."""
    small = scaled(timeline, _THUMBNAIL)
    return [jpeg(image) for image in read(small, sampled, lambda frame: frame)]


def jpeg(image: Bytes) -> str:
    """An image (H, W, 3) uint8 RGB as a data URI."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return _uri("image/jpeg", encoded.tobytes())


def outline(keep: Floats, view: View) -> str:
    """The edge of a mask as an SVG path, to be filled by the even-odd rule.

    keep: (h, w) float32 in [0, 1], 1 keeps. view: (x, y, width, height) that the mask covers, in
    the path's units. A mask that keeps nothing is the empty path.
    """
    factor = math.ceil(_OUTLINE / max(keep.shape))
    smooth = cv2.GaussianBlur(keep, (0, 0), 0.8)
    large = cv2.resize(smooth, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    region = (large > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    left, top, width, height = view
    scale = width / region.shape[1], height / region.shape[0]
    path = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 0.4, closed=True)[:, 0] + 0.5
        if len(points) > 2:
            placed = points * scale + (left, top)
            path.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed.tolist()) + "Z")
    return "".join(path)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
