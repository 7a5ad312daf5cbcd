"""Painting what was kept over a frame: masks made fit to be seen, and the styles."""

from collections.abc import Callable

import cv2
import numpy as np
from cv2.typing import MatLike

from tiemcli.kernels.arrays import Bytes, Doubles, Floats, Ints

View = tuple[int, int, int, int]
Colour = tuple[int, int, int]

LINE = (255, 190, 50)
_DIM = 0.15  # of the light is left where nothing is kept
_TINT = 0.18
_BAND = 2**20  # pixels that are blended at once
_SHADE = 0.8  # of the light is left outside of an outline


def means(values: Doubles, slots: Ints) -> Doubles:
    """The mean of `values` (T,) over the places that hold the same frame: (seen,)."""
    return np.array([values[slots == slot].mean() for slot in range(int(slots.max()) + 1)])


def refined(keep: Floats, slots: Ints, refine: Callable[[Floats], Floats]) -> Bytes:
    """Masks (T, h, w) as they are shown, one for each frame: (seen, H, W) uint8, 255 keeps.

    refine: `contour` or `diffuse`. slots: (T,) the frame that each is of; several share their mean.
    """
    shown = []
    for slot in range(int(slots.max()) + 1):
        mean = np.mean([refine(mask) for mask in keep[slots == slot]], axis=0)
        shown.append(np.rint(mean * 255).astype(np.uint8))
    return np.stack(shown)


def contour(mask: Floats) -> Floats:
    """A mask of hard pixels at four times its size, with a smooth edge instead of a staircase."""
    smooth = cv2.GaussianBlur(mask, (0, 0), 0.7)
    large = cv2.resize(smooth, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    edged: Floats = np.clip((large - 0.5) * 2.5 + 0.5, 0, 1)
    return edged


def diffuse(mask: Floats) -> Floats:
    """A mask that is warmest in the midst of what is kept."""
    sigma = max(min(mask.shape) / 24, 0.7)
    return cv2.GaussianBlur(mask, (0, 0), sigma)  # type: ignore[return-value]


def between(masks: Bytes, times: Doubles, time: float) -> Bytes:
    """The mask at `time`: (H, W), linear between the sampled `times`, held outside of them."""
    position = float(np.interp(time, times, np.arange(len(times))))
    before = int(position)
    after = min(before + 1, len(masks) - 1)
    share = position - before
    mask: Bytes = cv2.addWeighted(masks[before], 1 - share, masks[after], share, 0)
    return mask


def placed(keep: Bytes, view: View, shape: tuple[int, int]) -> Bytes:
    """`keep` (H, W) over its view of the source frame: (height, width), 255 where all is kept."""
    left, top, width, height = view
    # Cubic, because linear interpolation of a coarse grid shows as facets; it saturates at 0, 255.
    method = cv2.INTER_AREA if width < keep.shape[1] else cv2.INTER_CUBIC
    patch: Bytes = cv2.resize(keep, (width, height), interpolation=method)  # type: ignore[assignment]
    if (left, top, height, width) == (0, 0, *shape):
        return patch
    full = np.zeros(shape, np.uint8)
    rows = slice(max(top, 0), min(top + height, shape[0]))
    columns = slice(max(left, 0), min(left + width, shape[1]))
    full[rows, columns] = patch[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return full


def mix(under: MatLike, over: MatLike | Colour, share: MatLike) -> Bytes:
    """Paint `over`, an image or a colour, on `under` (H, W, 3) in place, and return it.

    share: (H, W) uint8; 255 hides `under`.
    """
    image: Bytes = under  # type: ignore[assignment]
    left, top, width, height = cv2.boundingRect(share)
    upper = np.broadcast_to(np.asarray(over, np.uint8), image.shape)
    columns = slice(left, left + width)
    # Of what is kept alone, which is mostly small, and in bands, for weights take more than pixels.
    step = max(_BAND // max(width, 1), 1)
    for first in range(top, top + height, step):
        band = slice(first, min(first + step, top + height)), columns
        weight = share[band].astype(np.float32)
        image[band] = cv2.blendLinear(
            np.ascontiguousarray(upper[band]), image[band], weight, 255 - weight
        )
    return image


def _gray(frame: Bytes, light: float = 1.0) -> Bytes:
    gray = cv2.convertScaleAbs(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), alpha=light)
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def paint_mask(frame: Bytes, keep: Bytes) -> Bytes:
    return mix(_gray(frame, _DIM), frame, keep)


def paint_overlay(frame: Bytes, keep: Bytes) -> Bytes:
    """A tint and a line inside of keep = 1/2, and a dark edge that sets it off bright sources."""
    thick = max(round(min(keep.shape) / 140), 1)
    region = cv2.GaussianBlur(
        cv2.threshold(keep, 127, 255, cv2.THRESH_BINARY)[1], (0, 0), 0.5 * thick
    )
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thick + 1, 2 * thick + 1))
    line = cv2.subtract(region, cv2.erode(region, disc))
    edge = cv2.subtract(cv2.dilate(region, disc), region)
    image = cv2.convertScaleAbs(frame, alpha=_SHADE)
    image = mix(image, frame, region)
    image = mix(image, LINE, cv2.convertScaleAbs(region, alpha=_TINT))
    image = mix(image, (0, 0, 0), cv2.convertScaleAbs(edge, alpha=0.5))
    return mix(image, LINE, line)


def paint_heat(frame: Bytes, keep: Bytes) -> Bytes:
    colours = cv2.cvtColor(cv2.applyColorMap(keep, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(_gray(frame), 0.45, colours, 0.55, 0, colours)  # type: ignore[return-value]


def paint_side_by_side(frame: Bytes, keep: Bytes) -> Bytes:
    return np.hstack([frame, paint_mask(frame, keep)])


STYLES = {
    "mask": paint_mask,
    "overlay": paint_overlay,
    "heat": paint_heat,
    "side-by-side": paint_side_by_side,
}
