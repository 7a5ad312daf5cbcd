"""The kept region, shown on the source video at its own size, rate and length."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from cv2.typing import MatLike

from tiemcli.errors import OutputError
from tiemcli.kernels.arrays import Bytes, Doubles, Floats, Ints
from tiemcli.outputs.atomic import replacing
from tiemcli.settings import Style
from tiemcli.video import Timeline, iterate

View = tuple[int, int, int, int]
Colour = tuple[int, int, int]
Values = TypeVar("Values", Floats, Doubles)

_DIM = 0.15  # of the light is left where nothing is kept
_LINE = (255, 190, 50)
_TINT = 0.18
_SHADE = 0.8  # of the light is left outside of an outline
_BT709 = 1  # as matrix, primaries and transfer in ITU-T H.273
_LIMITED = 1


def write(
    path: Path,
    timeline: Timeline,
    sampled: Sequence[int],
    keep: Floats,
    *,
    style: Style = "mask",
    importance: Doubles | None = None,
    view: View | None = None,
) -> None:
    """Write the whole source video again, with what was kept made visible, as H.264 in MP4.

    sampled: (T,) the source frames that the network saw; keep: (T, h, w) float32 in [0, 1], 1
    where the network's input was kept; view: (x, y, width, height), the part of the upright
    source frame, in pixels, that this input shows (default all of it); outside of it nothing is
    kept. Between sampled frames the mask is interpolated linearly in time, before the first and
    after the last it is held; a frame that was sampled twice shows the mean of its masks.

    style: "mask" leaves what is kept as it is and the rest dark and gray; "overlay" outlines and
    tints it; "heat" colours a gray source by `keep`; "side-by-side" is the source, then "mask".
    importance: (T,) of the sampled frames; every style but "mask" then draws it over time along
    the lower edge, relative to its largest value, negative as nothing.

    The file has the source's frames, time stamps and size (an odd side repeats its last row or
    column), is BT.709 limited-range yuv420p, and plays before all of it is loaded. It appears
    under `path` only when it is complete.
    Raises OutputError if it cannot be written, ClipError if the source cannot be read any more.
    """
    seen, slots = np.unique(np.asarray(sampled), return_inverse=True)
    times = timeline.timestamps[seen]
    refine = _diffuse if style == "heat" else _contour
    masks = _means(np.stack([refine(mask) for mask in keep]), slots)
    view = view or (0, 0, timeline.width, timeline.height)
    paint = _STYLES[style]
    strip = None
    if importance is not None and style != "mask":
        width = timeline.width * (2 if style == "side-by-side" else 1)
        levels = _means(importance, slots)
        strip = _Strip(levels, times, timeline.timestamps, (timeline.height, width))

    with replacing(path) as part, _encoding(part, timeline) as encoder:
        for index, frame in enumerate(iterate(timeline)):
            small = _between(masks, times, timeline.timestamps[index])
            image = paint(frame, _placed(small, view, (timeline.height, timeline.width)))
            if strip is not None:
                strip.draw(image, timeline.timestamps[index])
            encoder.add(image, index)


def _means(values: Values, slots: Ints) -> Values:
    """The mean of `values` (T, …) over the places that hold the same frame: (seen, …)."""
    means = [values[slots == slot].mean(axis=0) for slot in range(int(slots.max()) + 1)]
    return np.asarray(means, values.dtype)


def _contour(mask: Floats) -> Floats:
    """A mask of hard pixels at four times its size, with a smooth edge instead of a staircase."""
    smooth = cv2.GaussianBlur(mask, (0, 0), 0.7)
    large = cv2.resize(smooth, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    edged: Floats = np.clip((large - 0.5) * 2.5 + 0.5, 0, 1)
    return edged


def _diffuse(mask: Floats) -> Floats:
    """A mask that is warmest in the midst of what is kept."""
    sigma = max(min(mask.shape) / 24, 0.7)
    return cv2.GaussianBlur(mask, (0, 0), sigma)  # type: ignore[return-value]


def _between(masks: Floats, times: Doubles, time: float) -> Floats:
    """The mask at `time`: (h, w), linear between the sampled `times`, held outside of them."""
    position = float(np.interp(time, times, np.arange(len(times))))
    before = int(position)
    after = min(before + 1, len(masks) - 1)
    share = np.float32(position - before)
    mask: Floats = masks[before] * (1 - share) + masks[after] * share
    return mask


def _placed(keep: Floats, view: View, shape: tuple[int, int]) -> Bytes:
    """`keep` over its view of the source frame: (height, width) uint8, 255 where all is kept."""
    left, top, width, height = view
    # Cubic, because linear interpolation of a coarse grid shows as facets; it saturates at 0, 255.
    method = cv2.INTER_AREA if width < keep.shape[1] else cv2.INTER_CUBIC
    levels = np.rint(keep * 255).astype(np.uint8)
    patch: Bytes = cv2.resize(levels, (width, height), interpolation=method)  # type: ignore[assignment]
    if (left, top, height, width) == (0, 0, *shape):
        return patch
    full = np.zeros(shape, np.uint8)
    rows = slice(max(top, 0), min(top + height, shape[0]))
    columns = slice(max(left, 0), min(left + width, shape[1]))
    full[rows, columns] = patch[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return full


def _mix(under: MatLike, over: MatLike | Colour, share: MatLike) -> Bytes:
    """`over`, an image or a colour, on `under` (H, W, 3); `share` (H, W): 255 hides `under`."""
    left, top, width, height = cv2.boundingRect(share)
    image: Bytes = under.copy()  # type: ignore[assignment]
    if width:  # blending is the slowest step, and what is kept is mostly small
        box = slice(top, top + height), slice(left, left + width)
        weight = share[box].astype(np.float32)
        upper = np.ascontiguousarray(np.broadcast_to(np.asarray(over, np.uint8), under.shape)[box])
        image[box] = cv2.blendLinear(upper, under[box], weight, 255 - weight)
    return image


def _gray(frame: Bytes, light: float = 1.0) -> Bytes:
    gray = cv2.convertScaleAbs(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), alpha=light)
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def _mask(frame: Bytes, keep: Bytes) -> Bytes:
    return _mix(_gray(frame, _DIM), frame, keep)


def _overlay(frame: Bytes, keep: Bytes) -> Bytes:
    """A tint and a line inside of keep = 1/2, and a dark edge that sets it off bright sources."""
    thick = max(round(min(keep.shape) / 140), 1)
    region = cv2.GaussianBlur(
        cv2.threshold(keep, 127, 255, cv2.THRESH_BINARY)[1], (0, 0), 0.5 * thick
    )
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thick + 1, 2 * thick + 1))
    line = cv2.subtract(region, cv2.erode(region, disc))
    edge = cv2.subtract(cv2.dilate(region, disc), region)
    image = cv2.convertScaleAbs(frame, alpha=_SHADE)
    image = _mix(image, frame, region)
    image = _mix(image, _LINE, cv2.convertScaleAbs(region, alpha=_TINT))
    image = _mix(image, (0, 0, 0), cv2.convertScaleAbs(edge, alpha=0.5))
    return _mix(image, _LINE, line)


def _heat(frame: Bytes, keep: Bytes) -> Bytes:
    colours = cv2.cvtColor(cv2.applyColorMap(keep, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(_gray(frame), 0.45, colours, 0.55, 0)  # type: ignore[return-value]


def _side_by_side(frame: Bytes, keep: Bytes) -> Bytes:
    return np.hstack([frame, _mask(frame, keep)])


_STYLES = {"mask": _mask, "overlay": _overlay, "heat": _heat, "side-by-side": _side_by_side}


class _Strip:
    """Importance over time along the lower edge, bright as far as the clip has played."""

    def __init__(
        self, levels: Doubles, times: Doubles, timestamps: Doubles, shape: tuple[int, int]
    ) -> None:
        height = min(max(shape[0] // 16, 4), shape[0])
        peak = max(float(levels.max()), np.finfo(float).tiny)
        self._seconds = max(float(timestamps[-1]), np.finfo(float).tiny)
        across = (np.arange(shape[1]) + 0.5) / shape[1] * self._seconds
        tops = np.interp(across, times, levels.clip(min=0) / peak) * (height - 1)
        # The part of each pixel that lies below the curve, so that the curve is smooth.
        rows = np.arange(height)[::-1, None]
        self._bars: Bytes = ((tops - rows).clip(0, 1) * 255).astype(np.uint8)

    def draw(self, image: Bytes, time: float) -> None:
        """Paint the strip on `image` (H, W, 3) in place."""
        height, width = self._bars.shape
        played = round(time / self._seconds * width)
        band = image[-height:]
        ground = cv2.convertScaleAbs(band, alpha=0.35)
        bars = self._bars.copy()
        bars[:, played:] //= 3
        band[:] = _mix(ground, _LINE, bars)
        mark = max(width // 320, 1)
        left = min(max(played - mark // 2, 0), width - mark)
        band[:, left : left + mark] = 255


@contextmanager
def _encoding(part: Path, timeline: Timeline) -> Iterator["_Encoder"]:
    """An encoder whose failures are the output's; those of reading are the clip's already."""
    try:
        with _Encoder(part, timeline) as encoder:
            yield encoder
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OutputError(
            f"the masked video cannot be encoded: {error.strerror}", "leave mp4 out of --format"
        ) from error


class _Encoder:
    """An MP4 that takes RGB frames and gives them the source's time stamps."""

    def __init__(self, path: Path, timeline: Timeline) -> None:
        ticks = timeline.timestamps / float(timeline.time_base)
        self._stamps = np.rint(ticks).astype(np.int64).tolist()
        self._timeline = timeline
        self._scaler = VideoReformatter()
        options = {"movflags": "+faststart"}
        self._container = av.open(f"file:{path}", "w", format="mp4", options=options)
        self._stream = self._container.add_stream(
            "libx264", rate=timeline.fps, options={"preset": "veryfast", "crf": "20"}
        )
        context = self._stream.codec_context
        context.time_base = timeline.time_base
        context.pix_fmt = "yuv420p"
        context.color_range = _LIMITED
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        if timeline.pixel_aspect:
            context.sample_aspect_ratio = timeline.pixel_aspect

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._container:
            if error is None:
                self._container.mux(self._stream.encode(None))

    def add(self, image: Bytes, index: int) -> None:
        """Encode the source's frame `index` as `image`: (H, W, 3) uint8, RGB."""
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(  # type: ignore[assignment]
                image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
            )
        if index == 0:
            self._stream.height, self._stream.width = image.shape[:2]
        frame = self._scaler.reformat(
            av.VideoFrame.from_ndarray(image, "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts = self._stamps[index]
        frame.time_base = self._timeline.time_base
        self._container.mux(self._stream.encode(frame))
