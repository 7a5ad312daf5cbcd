"""Every sampled frame on one page: source, mask, overlay, and how much its moment matters."""

import math

import numpy as np
from PIL import Image, ImageDraw

from tiemcli import video
from tiemcli.kernels.arrays import Bytes
from tiemcli.outputs.lettering import font
from tiemcli.outputs.painting import contour, paint_mask, paint_overlay, refined
from tiemcli.outputs.sheet import (
    ACCENT,
    CAPTION_SIZE,
    FAINT,
    INK,
    MARGIN,
    PAPER,
    TEXT_SIZE,
    TRACK,
    WIDTH,
    write_title,
)
from tiemcli.outputs.small_frame import SmallFrame, aspect, small_frame
from tiemcli.pipeline import Explanation
from tiemcli.wording import HIDDEN, score_text

_TILES = (150, 720)  # the narrowest and widest frame
_TALLEST = 600
_LEAST = 1400  # of a page, for its heading
_LANDSCAPE = 1.2  # width by height that a page of several bands has at least
_BAND_ROWS = 3.3  # frames' heights in a band, with its caption
_GUTTER = 44
_COLUMN_GAP, _ROW_GAP, _BAND_GAP = 14, 8, 34
_HEADING, _CAPTION = 128, 50
_BAR = 8
_NAMED = 0.005  # a smaller share would round to a row of zeros


def contact_sheet(explanation: Explanation) -> Image.Image:
    """The sampled frames as columns of source, mask and overlay, on as many bands as a page needs.

    Under each frame stand a bar, its share of the temporal importance relative to the largest, its
    time in seconds from the clip's first frame and that share. The mask is `explanation.shown`.
    Raises ClipError if the source cannot be read any more.
    """
    source = explanation.source
    timeline = source.timeline
    count = len(source.sampled)
    columns = columns_for(count, aspect(timeline))
    bands = math.ceil(count / columns)
    room = (WIDTH - 2 * MARGIN - _GUTTER + _COLUMN_GAP) // columns - _COLUMN_GAP
    view = explanation.network.model.preprocessing.view(timeline.width, timeline.height)
    widest = min(_TILES[1], round(_TALLEST * aspect(timeline)))
    tile = small_frame(timeline, view, max(min(max(room, _TILES[0]), widest), 1))
    across, down = tile.width + _COLUMN_GAP, tile.height + _ROW_GAP
    band = 3 * down + _CAPTION
    width = max(2 * MARGIN + _GUTTER + columns * across - _COLUMN_GAP, _LEAST)
    height = 2 * MARGIN + _HEADING + bands * (band + _BAND_GAP) - _BAND_GAP

    sheet = Image.new("RGB", (width, height), PAPER)
    _heading(sheet, explanation)
    frames = video.read(timeline, source.sampled, tile.fit)
    times = timeline.timestamps[list(source.sampled)]
    importance = explanation.temporal.importance
    for index, (frame, keep) in enumerate(zip(frames, explanation.shown.hard, strict=True)):
        row, column = divmod(index, columns)
        left = MARGIN + _GUTTER + column * across
        top = MARGIN + _HEADING + row * (band + _BAND_GAP)
        for place, image in enumerate(_painted(tile, frame, keep)):
            sheet.paste(Image.fromarray(image), (left, top + place * down))
        caption = (left, top + 3 * down, tile.width)
        _caption(sheet, caption, float(times[index]), importance[index], importance.max())
        if column == 0:
            for place, name in enumerate(("source", "mask", "overlay")):
                _row_name(sheet, name, top + place * down, tile.height)
    return sheet


def columns_for(count: int, aspect: float) -> int:
    """How many frames of width by height `aspect` stand side by side: the least that make a page
    which is wider than high, and bands of one length as far as they go."""
    for bands in range(count, 0, -1):
        columns = math.ceil(count / bands)
        if columns * aspect >= _LANDSCAPE * _BAND_ROWS * bands:
            return columns
    return count


def _painted(tile: SmallFrame, frame: Bytes, keep: np.ndarray) -> tuple[Bytes, Bytes, Bytes]:
    (shape,) = refined(keep[None], np.zeros(1, int), contour)
    return frame, tile.paint(frame, shape, paint_mask), tile.paint(frame, shape, paint_overlay)


def _heading(sheet: Image.Image, explanation: Explanation) -> None:
    """What the network answered, what is left of it, and what the bars mean."""
    draw = ImageDraw.Draw(sheet)
    left, right, top = MARGIN + _GUTTER, sheet.width - MARGIN, MARGIN
    legend = "temporal importance, share of the clip's"
    small = font(legend, TEXT_SIZE)
    start = right - draw.textlength(legend, small)
    middle = top + 74
    draw.text((start, middle), legend, FAINT, small, anchor="lm")
    draw.rounded_rectangle(
        (start - 70, middle - _BAR // 2, start - 16, middle + _BAR // 2), _BAR // 2, ACCENT
    )
    shown, hidden = explanation.shown, HIDDEN[explanation.settings.base]
    text = (
        f"{score_text(shown.score)} with {shown.effective_area:.1%} kept, "
        f"{score_text(explanation.base_score)} when all is {hidden}"
    )
    draw.text((left, middle), text, FAINT, font(text, TEXT_SIZE), anchor="lm")
    write_title(sheet, left, right, explanation)


def _caption(
    sheet: Image.Image, place: tuple[int, int, int], time: float, share: float, peak: float
) -> None:
    """The bar, the time and the share under one frame. place: left, top and width."""
    left, top, width = place
    draw = ImageDraw.Draw(sheet)
    filled = share / peak * width
    draw.rounded_rectangle((left, top, left + width - 1, top + _BAR - 1), _BAR // 2, TRACK)
    if filled >= 1:
        radius = min(_BAR / 2, filled / 2)
        draw.rounded_rectangle((left, top, left + filled - 1, top + _BAR - 1), radius, ACCENT)
    line = top + _BAR + 22
    face = font("0", CAPTION_SIZE)
    draw.text((left, line), f"{time:.2f} s", INK, face, anchor="lm")
    if share >= _NAMED:
        draw.text((left + width, line), f"{share:.0%}", FAINT, face, anchor="rm")


def _row_name(sheet: Image.Image, name: str, top: int, height: int) -> None:
    """A row's name beside it, read upwards."""
    label = Image.new("RGB", (height, _GUTTER), PAPER)
    face = font(name, CAPTION_SIZE)
    ImageDraw.Draw(label).text((height / 2, _GUTTER / 2), name, FAINT, face, anchor="mm")
    sheet.paste(label.rotate(90, expand=True), (MARGIN - 8, top))
