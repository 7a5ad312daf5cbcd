"""A clip's frames, upright RGB in the order they are shown; only what decodes is believed."""

import errno
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from tiemcli.clip_file import (
    ALONE,
    Version,
    require_clip,
    require_unchanged,
    unreadable,
    version_of,
)
from tiemcli.errors import ClipError
from tiemcli.kernels.arrays import Bytes, Doubles, Ints
from tiemcli.result import readable

# H.264 and HEVC keep at most 16 pictures back, so a time stamp is never further out of place.
_REORDER = 16
_RATES = (Fraction(1, 1000), Fraction(1000))  # outside of it a declared rate is a broken header
_RATE = Fraction(25)  # of a lone frame that declares none
# Each of the threads that decode, of which FFmpeg starts up to 16, holds frames of its own.
_THREADS, _PIXELS = 16, 7e7
_UNSPECIFIED, _RESERVED = 2, 3  # colour matrices of ITU-T H.273
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_NOT_VIDEO = "give a whole video file, such as .mp4, .avi, .mkv, .mov or .webm"


@dataclass(frozen=True, eq=False)
class Timeline:
    """What one pass over a clip found out.

    timestamps: (frames,) float64 seconds from the first frame, strictly increasing, each a whole
    number of `time_base` units; fps: the declared average rate; width, height: of the upright
    frame in pixels, which are `pixel_aspect` times as wide as high on the screen (0: undeclared).
    A stored frame becomes upright when it is mirrored left to right, if `mirrored`, and then
    turned clockwise by `rotation` degrees (0, 90, 180 or 270).
    damaged: "" or one line saying why frames may be missing at the end. version: of the file, as
    `version_of` tells it.
    """

    path: Path
    frames: int
    timestamps: Doubles
    time_base: Fraction
    fps: Fraction
    width: int
    height: int
    pixel_aspect: Fraction
    rotation: int
    mirrored: bool
    damaged: str
    version: Version


def scan(path: Path) -> Timeline:
    """Count and time the frames of a clip by decoding all of it; no pixel is converted.

    Decoding stops at the first error, because what follows would be predicted from frames that
    are missing. Raises ClipError if there is no file, no video stream or no decodable frame, or if
    the file is written to meanwhile.
    """
    version = version_of(path)
    with _opened(path) as (container, stream):
        stamps: list[int | None] = []
        first: av.VideoFrame | None = None
        damaged = ""
        try:
            for frame in container.decode(stream):
                first = first or frame
                stamps.append(frame.pts)
        except av.FFmpegError as error:
            damaged = f"decoding stopped at frame {len(stamps)}: {error.strerror}"
        if first is None:
            raise ClipError(
                f"{readable(path)}: no frame can be decoded" + (f" ({damaged})" if damaged else ""),
                "play it in another program; it may be incomplete or not a video",
            )
        base = stream.time_base or Fraction(1, 1000)
        fps = _rate(stream, stamps, base)
        ticks = increasing(stamps, 1 / (fps * base))
        announced = _announced(container, stream)
        pixel_aspect = stream.sample_aspect_ratio or Fraction(0)
    require_unchanged(path, version)

    timestamps = ticks * base.numerator / base.denominator
    seconds = float(timestamps[-1]) + float(1 / fps)
    if not damaged and announced - seconds > max(0.5, announced / 10):
        damaged = f"its header announces {announced:.2f} s, its frames end at {seconds:.2f} s"
    rotation, mirrored = _orientation(first)
    width, height = first.width, first.height
    if rotation % 180:
        width, height = height, width
        pixel_aspect = 1 / pixel_aspect if pixel_aspect else pixel_aspect
    return Timeline(
        path=path,
        frames=len(stamps),
        timestamps=timestamps,
        time_base=base,
        fps=fps,
        width=width,
        height=height,
        pixel_aspect=pixel_aspect,
        rotation=rotation,
        mirrored=mirrored,
        damaged=damaged,
        version=version,
    )


def iterate(timeline: Timeline) -> Iterator[Bytes]:
    """Every frame that `scan` counted, one at a time: (height, width, 3) uint8, RGB.

    YUV becomes RGB by the matrix and range that the frame declares, BT.601 limited where it
    declares none, as FFmpeg does. Transparency is composited over black, except for the alpha
    that VP8 and VP9 carry in a side channel, which FFmpeg's own decoder drops. A frame of another
    size than the first is resized to it.
    Raises ClipError if the file is not the one that was scanned, before or after the frames.
    """
    # A loop's variable would hold each frame until the next one is there.
    return map(_converter(timeline), _decoded(timeline, timeline.frames))


def read(timeline: Timeline, indices: Sequence[int], fit: Callable[[Bytes], Bytes]) -> list[Bytes]:
    """The frames at `indices`, in that order, each as `fit` returns it.

    `fit` gets one upright (height, width, 3) uint8 RGB frame at a time, so that no more than one
    frame of full size is in memory; an index that repeats is fitted once. Nothing is decoded
    after the last index. Raises ClipError as `iterate` does.
    """
    convert = _converter(timeline)
    wanted = set(indices)
    fitted = {
        index: fit(convert(frame))
        for index, frame in enumerate(_decoded(timeline, max(wanted) + 1))
        if index in wanted
    }
    return [fitted[index] for index in indices]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    require_clip(path)
    try:
        # The prefix keeps FFmpeg from reading a protocol into a name such as "a:b.mp4".
        container = av.open(f"file:{path}", metadata_errors="ignore")
    except OSError as error:
        raise unreadable(path, error) from error
    except av.FFmpegError as error:
        raise ClipError(f"{readable(path)}: not a video ({error.strerror})", _NOT_VIDEO) from error
    with container:
        stream = _best(container)
        # FFmpeg plays any .txt, .nfo or .diz file as ANSI art.
        if stream is None or container.format.name == "tty":
            raise ClipError(f"{readable(path)}: holds no video stream", _NOT_VIDEO)
        if stream.codec_context is None:
            raise ClipError(
                f"{readable(path)}: its codec is unknown to FFmpeg",
                "convert it to H.264 in another program",
            )
        stream.thread_type = "AUTO"
        most = int(_PIXELS / max(stream.width * stream.height, 1))
        if most < _THREADS:
            stream.codec_context.thread_count = max(most, 1)
        yield container, stream


def _best(container: InputContainer) -> VideoStream | None:
    """FFmpeg's choice among the video streams that are not cover art."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    chosen = [stream for stream in streams if best is not None and stream.index == best.index]
    return next(iter(chosen or streams), None)


def _rate(stream: VideoStream, stamps: list[int | None], base: Fraction) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None and _RATES[0] <= rate <= _RATES[1]:
            return rate
    known = [stamp for stamp in stamps if stamp is not None]
    span = (max(known) - min(known)) * base if known else Fraction(0)
    rate = Fraction(len(known) - 1) / span if span else _RATE
    return min(max(rate.limit_denominator(1001), _RATES[0]), _RATES[1])


def _announced(container: InputContainer, stream: VideoStream) -> float:
    """Seconds that the header promises for the stream; 0 where it promises nothing."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # The file's duration is that of its longest stream, hence only the picture's if it is alone.
    alone = len(container.streams) == 1 and container.duration is not None
    return float(Fraction(container.duration or 0, av.time_base)) if alone else 0.0


def increasing(stamps: list[int | None], step: Fraction) -> Ints:
    """Time stamps in ticks, repaired: (frames,) int64 from 0, strictly increasing.

    Old AVI writers stamp the packets of B-frames in decoding order: those stamps are only out of
    place, and sorting puts them back. Any other stamp that is missing or does not increase
    (a clip joined from two, say) becomes the one before it plus `step` ticks, at least one.
    """
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) == len(stamps):
        order = np.argsort(known, kind="stable")
        if np.abs(order - np.arange(len(known))).max() <= _REORDER:
            known.sort()
            stamps = list(known)
    step = max(step, Fraction(1))
    lead = next((i for i, stamp in enumerate(stamps) if stamp is not None), 0)
    last = Fraction(stamps[lead] or 0) - lead * step
    ticks = [math.floor(last)]
    for stamp in stamps[1:]:
        last = Fraction(stamp) if stamp is not None and stamp > ticks[-1] else last + step
        ticks.append(math.floor(last))
    return np.array(ticks, np.int64) - ticks[0]


def _orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """(degrees clockwise, mirrored first) of the display matrix (ISO/IEC 14496-12, 6.2.2)."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(math.degrees(math.atan2(b, a)) / 90) * 90 % 360, bool(mirrored)


def _decoded(timeline: Timeline, count: int) -> Iterator[av.VideoFrame]:
    """The first `count` frames as they are stored."""
    require_unchanged(timeline.path, timeline.version)
    with _opened(timeline.path) as (container, stream):
        seen = 0
        try:
            for frame in islice(container.decode(stream), count):
                yield frame
                seen += 1
        except av.FFmpegError as error:
            raise ClipError(
                f"{readable(timeline.path)}: frame {seen} cannot be read any more ({error.strerror})",
                ALONE,
            ) from error
    require_unchanged(timeline.path, timeline.version)
    if seen < count:
        raise ClipError(
            f"{readable(timeline.path)}: had {timeline.frames} frames, now has {seen}", ALONE
        )


def _converter(timeline: Timeline) -> Callable[[av.VideoFrame], Bytes]:
    """A function from a stored frame to an upright RGB one of the timeline's size."""
    scaler = VideoReformatter()  # one for all frames: setting up swscale is slow
    size = timeline.width, timeline.height
    width, height = size[::-1] if timeline.rotation % 180 else size

    def convert(frame: av.VideoFrame) -> Bytes:
        shape = frame.format
        alpha = shape.has_palette or any(part.is_alpha for part in shape.components)
        if frame.colorspace == _RESERVED:  # which swscale refuses, and some encoders write
            frame.colorspace = _UNSPECIFIED
        try:
            # One thread: more would be started and stopped for every clip, and win nothing below 8K.
            colours = scaler.reformat(frame, width, height, "rgba" if alpha else "rgb24", threads=1)
        except av.FFmpegError as error:
            full = error.errno == errno.ENOMEM
            raise ClipError(
                f"{readable(timeline.path)}: its colours cannot be converted to RGB ({error.strerror})",
                "free memory" if full else "convert it to H.264 in another program",
            ) from error
        image: Bytes = colours.to_ndarray()  # type: ignore[assignment]
        if alpha:
            image = (image[..., :3] * (image[..., 3:] / np.float32(255)) + 0.5).astype(np.uint8)
        if timeline.mirrored:
            image = cv2.flip(image, 1)  # type: ignore[assignment]
        if timeline.rotation:
            image = cv2.rotate(image, _TURNS[timeline.rotation])  # type: ignore[assignment]
        return image

    return convert
