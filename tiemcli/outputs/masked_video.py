"""The kept region, shown on the source video at its own size, rate and length."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from tiemcli.errors import OutputError
from tiemcli.kernels.arrays import Bytes, Doubles, Floats
from tiemcli.outputs.atomic import replacing
from tiemcli.outputs.painting import (
    LINE,
    STYLES,
    View,
    between,
    contour,
    diffuse,
    means,
    mix,
    placed,
    refined,
)
from tiemcli.settings import Style
from tiemcli.video import Timeline, iterate

_BT709 = 1  # as matrix, primaries and transfer in ITU-T H.273
_LIMITED = 1
# x264 holds frames for each of its threads and to look ahead, which gains little and at 8K takes GB.
_THREADS = 4
_LARGE = 1e7  # pixels of a frame from which on it looks at one at a time


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
    refine = diffuse if style == "heat" else contour
    masks = refined(keep, slots, refine)
    view = view or (0, 0, timeline.width, timeline.height)
    paint = STYLES[style]
    strip = None
    if importance is not None and style != "mask":
        width = timeline.width * (2 if style == "side-by-side" else 1)
        levels = means(importance, slots)
        strip = _Strip(levels, times, timeline.timestamps, (timeline.height, width))

    def painted(frame: Bytes, time: float) -> Bytes:
        keep = placed(between(masks, times, time), view, (timeline.height, timeline.width))
        image = paint(frame, keep)
        if strip is not None:
            strip.draw(image, time)
        return image

    record(path, timeline, map(painted, iterate(timeline), timeline.timestamps))


def record(path: Path, timeline: Timeline, images: Iterable[Bytes]) -> None:
    """Write images, one for each of the timeline's frames, as `write` does: (H, W, 3) uint8 RGB."""
    with replacing(path) as part, _encoding(part, timeline) as encoder:
        for image in images:
            encoder.add(image)
            del image  # before the next one is made, which at 8K takes as much again


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
        band[:] = mix(ground, LINE, bars)
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
        self._stamps = iter(np.rint(ticks).astype(np.int64).tolist())
        self._timeline = timeline
        self._scaler = VideoReformatter()
        # Left to itself, the muxer divides ticks so finely that days between frames overflow.
        scale = str(timeline.time_base.denominator)
        options = {"movflags": "+faststart", "video_track_timescale": scale}
        self._container = av.open(f"file:{path}", "w", format="mp4", options=options)
        self._stream = self._container.add_stream(
            "libx264", rate=timeline.fps, options={"preset": "veryfast", "crf": "20"}
        )
        context = self._stream.codec_context
        context.thread_count = _THREADS
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

    def add(self, image: Bytes) -> None:
        """Encode the source's next frame as `image`: (H, W, 3) uint8, RGB."""
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(  # type: ignore[assignment]
                image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
            )
        if not self._stream.codec_context.is_open:
            self._stream.height, self._stream.width = image.shape[:2]
            if image.shape[0] * image.shape[1] > _LARGE:
                self._stream.codec_context.options |= {"tune": "zerolatency"}
        frame = self._scaler.reformat(
            av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts = next(self._stamps)
        frame.time_base = self._timeline.time_base
        self._container.mux(self._stream.encode(frame))
