"""The masked clip as a GIF: small, in real time, in colours chosen for it."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.filter import Graph

from tiemcli.kernels.arrays import Bytes, Doubles
from tiemcli.outputs.painting import between, contour, paint_mask, refined
from tiemcli.outputs.small_frame import SmallFrame, small_frame
from tiemcli.pipeline import Explanation
from tiemcli.video import iterate

WIDTH = 480
RATE = 15
# A longer clip is shown at a lower rate, so that no GIF outgrows a slide.
FRAMES = 180
# A camera's noise, in 8-bit steps: a pixel that changes by no more stays as it is and costs nothing.
_STILL = 4
_TICK = Fraction(1, 100)  # GIF tells time in hundredths of a second
# Ordered dither stands still where the picture does, so that still parts cost no bytes.
_COLOURS = "dither=bayer:bayer_scale=4:diff_mode=rectangle"


def encode_gif(path: Path, explanation: Explanation) -> None:
    """Encode the masked clip, at most 480 pixels wide and 15 frames a second, in a loop.

    It has the clip's length, pixels that are square, and one palette of 256 colours for all of it.
    Raises ClipError if the source cannot be read any more, OSError if it cannot be written.
    """
    timeline = explanation.source.timeline
    view = explanation.network.model.preprocessing.view(timeline.width, timeline.height)
    shown = round(timeline.width * float(timeline.pixel_aspect or 1))
    frame = small_frame(timeline, view, min(shown, WIDTH))
    ticks = [round(time / _TICK) for time in timeline.timestamps.tolist()]
    chosen = thinned(timeline.timestamps)
    end = round((timeline.timestamps[-1] + 1 / timeline.fps) / _TICK)
    last = {"final_delay": str(end - ticks[chosen[-1]])}

    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=av.VideoFormat("rgb24"), time_base=_TICK
    )
    split, choose = graph.add("split"), graph.add("palettegen", "stats_mode=full")
    use, sink = graph.add("paletteuse", _COLOURS), graph.add("buffersink")
    source.link_to(split)
    split.link_to(choose, 0, 0)
    split.link_to(use, 1, 0)
    choose.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()

    for image, index in zip(_painted(explanation, frame, chosen), chosen, strict=True):
        picture = av.VideoFrame.from_ndarray(image, "rgb24")
        picture.pts, picture.time_base = ticks[index], _TICK
        graph.vpush(picture)
    graph.vpush(None)

    with av.open(f"file:{path}", "w", format="gif", options=last) as container:
        stream = container.add_stream("gif", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "pal8"
        stream.codec_context.time_base = _TICK
        for index in chosen:
            picture = graph.vpull()
            picture.pts, picture.time_base = ticks[index], _TICK
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def thinned(timestamps: Doubles) -> list[int]:
    """The frames to show, by index: evenly in time, no more than RATE a second and FRAMES in all."""
    step = max(1 / RATE, float(timestamps[-1]) / (FRAMES - 1)) - 1e-3
    chosen = [0]
    for index, time in enumerate(timestamps.tolist()):
        if time - timestamps[chosen[-1]] >= step:
            chosen.append(index)
    return chosen


def _painted(explanation: Explanation, size: SmallFrame, chosen: list[int]) -> Iterator[Bytes]:
    timeline, sampled = explanation.source.timeline, explanation.source.sampled
    seen, slots = np.unique(np.asarray(sampled), return_inverse=True)
    masks = refined(explanation.shown.hard, slots, contour)
    times, wanted = timeline.timestamps[seen], set(chosen)
    before: Bytes | None = None
    for index, frame in enumerate(iterate(timeline)):
        if index in wanted:
            keep = between(masks, times, timeline.timestamps[index])
            image = size.paint(size.fit(frame), keep, paint_mask)
            if before is not None:
                still = cv2.absdiff(image, before).max(axis=-1) <= _STILL
                image[still] = before[still]
            before = image
            yield image
