"""Several methods on one clip, as a figure of a paper: frames across, methods down."""

import math
import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tiemcli import video
from tiemcli.kernels.arrays import Bools, Bytes, Doubles, Floats
from tiemcli.outputs.lettering import font, shortened
from tiemcli.outputs.painting import LINE, mix, paint_mask
from tiemcli.outputs.sheet import (
    ACCENT,
    FAINT,
    INK,
    MARGIN,
    PAPER,
    TEXT_SIZE,
    TRACK,
    WIDTH,
    save,
    write_title,
)
from tiemcli.outputs.small_frame import SmallFrame, small_frame
from tiemcli.pipeline import Explanation
from tiemcli.wording import score_text

SIGNATURE = "#c8102e"
_TINT = "#fbe9ea"  # behind the columns of signature frames
_HEADING = 150
_TIMES, _COLUMN_GAP, _ROW_GAP, _BAND_GAP = 40, 8, 16, 56
_FRAME = _COLUMN_GAP // 2  # of a signature frame, so that neighbours meet
_BARS = 24  # the length of the largest share's, which hangs from its frame
_SPECK = 5  # what is kept in fewer pixels across gets no line
_BARS_GAP = 5
_BESIDE = 26  # between the frames and what stands left and right of them
_NAME_SIZE, _NOTE_SIZE, _TIME_SIZE = 30, 25, 25
_NOTE_LINE = 31
_TALLEST_PAGE = 1.25  # height by width, as of a page's text
_WIDEST_TILE = 340
_LEAST = 1500  # of a page, for its heading


@dataclass(frozen=True)
class _Layout:
    """Where all stands. names, notes: widths of what is beside the frames. pitch: from row to row."""

    tile: SmallFrame
    columns: int
    bands: int
    names: int
    notes: int
    pitch: int
    methods: int

    @property
    def left(self) -> int:
        """Of the first column."""
        return MARGIN + self.names

    @property
    def across(self) -> int:
        return self.tile.width + _COLUMN_GAP

    @property
    def right(self) -> int:
        """Of the last column."""
        return self.left + self.columns * self.across - _COLUMN_GAP

    @property
    def band(self) -> int:
        """The height of a band: times, source and methods."""
        return _TIMES + self.tile.height + self.methods * (_ROW_GAP + self.pitch)

    @property
    def size(self) -> tuple[int, int]:
        """Of the sheet, in pixels."""
        height = self.bands * (self.band + _BAND_GAP) - _BAND_GAP
        width = max(self.right + self.notes + MARGIN, _LEAST)
        return width, 2 * MARGIN + _HEADING + height

    def place(self, index: int) -> tuple[int, int]:
        """The left upper corner of a frame of the source."""
        band, column = divmod(index, self.columns)
        top = MARGIN + _HEADING + band * (self.band + _BAND_GAP) + _TIMES
        return self.left + column * self.across, top

    def row(self, method: int) -> int:
        """How far below its source a method's frame stands."""
        return self.tile.height + _ROW_GAP + method * (self.pitch + _ROW_GAP)


def comparison_sheet(
    explanations: Mapping[str, Explanation],
    signature: Bools | None = None,
    notes: Mapping[str, str] | None = None,
) -> Image.Image:
    """The sampled frames with their times, and below them what each method keeps of them.

    What is hidden is dark and gray. Bars under a method's frames are as long as their shares of all
    pixels that it keeps, on one scale for all methods.

    explanations: of one clip and network, by the name of the row; each shows its `shown`.
    signature: (T,) the frames to mark in red. notes: what stands at a row's end, in lines, by name.
    Raises ClipError if the source cannot be read any more.
    """
    first = next(iter(explanations.values()))
    lines = {name: (notes or {}).get(name, "").splitlines() for name in explanations}
    layout = _arranged(first, lines)
    sheet = Image.new("RGB", layout.size, PAPER)
    shares = {name: _shares(found.shown.hard) for name, found in explanations.items()}
    peak = max(float(share.max()) for share in shares.values()) or 1.0
    source = first.source
    marked = np.zeros(len(source.sampled), dtype=bool) if signature is None else signature
    _heading(sheet, explanations, peak, bool(marked.any()))
    frames = video.read(source.timeline, source.sampled, layout.tile.fit)
    times = source.timeline.timestamps[list(source.sampled)]
    draw = ImageDraw.Draw(sheet)
    for index in np.flatnonzero(marked).tolist():
        _tint(draw, layout, index)
    for index, frame in enumerate(frames):
        _source(sheet, layout, index, frame, float(times[index]), bool(marked[index]))
        left, top = layout.place(index)
        for method, (name, found) in enumerate(explanations.items()):
            upper = top + layout.row(method)
            kept = layout.tile.paint(frame, _keep(found.shown.hard[index]), _paint_kept)
            sheet.paste(Image.fromarray(kept), (left, upper))
            place = (left, upper + layout.tile.height + _BARS_GAP)
            _bar(draw, place, layout.tile.width, float(shares[name][index]) / peak)
    for band in range(layout.bands):
        _write_beside(draw, layout, band, lines)
    return sheet


def write(
    path: Path,
    explanations: Mapping[str, Explanation],
    signature: Bools | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write the comparison sheet as PNG.

    Raises OutputError if it cannot be written, ClipError if the source cannot be read any more.
    """
    save(path, comparison_sheet(explanations, signature, notes))


def _arranged(explanation: Explanation, lines: Mapping[str, list[str]]) -> _Layout:
    """The layout with the widest frames whose sheet fits a page."""
    source = explanation.source
    timeline, count = source.timeline, len(source.sampled)
    names = _widest([*lines, "source"], _NAME_SIZE)
    notes = _widest([line for several in lines.values() for line in several], _NOTE_SIZE)
    room = WIDTH - 2 * MARGIN - names - notes
    view = explanation.network.model.preprocessing.view(timeline.width, timeline.height)
    longest = max(len(several) for several in lines.values()) * _NOTE_LINE
    layouts = []
    for bands in range(1, count + 1):
        columns = math.ceil(count / bands)
        width = max(min((room + _COLUMN_GAP) // columns - _COLUMN_GAP, _WIDEST_TILE), 1)
        tile = small_frame(timeline, view, width)
        pitch = max(tile.height + _BARS_GAP + _BARS, longest)
        filled = math.ceil(count / columns)
        layouts.append(_Layout(tile, columns, filled, names, notes, pitch, len(lines)))
    fitting = [layout for layout in layouts if layout.size[1] <= _TALLEST_PAGE * WIDTH]
    # Of layouts with equal frames the first has the fewest bands.
    return max(fitting or layouts[:1], key=lambda layout: layout.tile.width)


def _widest(texts: list[str], size: int) -> int:
    """The room that texts take beside the frames, 0 without any."""
    if not texts:
        return 0
    return math.ceil(max(font(text, size).getlength(text) for text in texts)) + _BESIDE


def _heading(
    sheet: Image.Image, explanations: Mapping[str, Explanation], peak: float, marked: bool
) -> None:
    """What the network answered, how much is kept of the clip, and what the marks mean."""
    first = next(iter(explanations.values()))
    draw = ImageDraw.Draw(sheet)
    right = sheet.width - MARGIN
    write_title(sheet, MARGIN, right, first)
    areas = sorted({f"{found.shown.effective_area:.0%}" for found in explanations.values()})
    left, middle = right, MARGIN + 82
    for text, colour in _legend(peak, marked):
        face = font(text, TEXT_SIZE)
        left -= math.ceil(draw.textlength(text, face))
        draw.text((left, middle), text, FAINT, face, anchor="lm")
        left -= 40
        box = (left, middle - 11, left + 24, middle + 11)
        if colour == SIGNATURE:
            draw.rectangle(box, outline=colour, width=4)
        else:
            draw.rectangle(box, fill=colour)
        left -= 44
    text = (
        f"{os.path.basename(first.network.model.name)}, {' to '.join(areas[:: max(len(areas) - 1, 1)])} of the "
        f"clip kept, {score_text(first.base_score)} with nothing kept"
    )
    text = shortened(text, TEXT_SIZE, left - MARGIN)
    draw.text((MARGIN, middle), text, FAINT, font(text, TEXT_SIZE), anchor="lm")


def _legend(peak: float, marked: bool) -> list[tuple[str, str]]:
    """Texts and their colours, from right to left."""
    bars = (f"share of the kept pixels, full length {peak:.0%}", ACCENT)
    return [bars, ("signature frames", SIGNATURE)] if marked else [bars]


def _tint(draw: ImageDraw.ImageDraw, layout: _Layout, index: int) -> None:
    """A ground behind a signature frame's column."""
    left, top = layout.place(index)
    end = top - _TIMES + layout.band + _FRAME
    draw.rectangle((left - _FRAME, top, left + layout.tile.width + _FRAME - 1, end), fill=_TINT)


def _source(
    sheet: Image.Image, layout: _Layout, index: int, frame: Bytes, time: float, marked: bool
) -> None:
    """A frame as it is, framed if it is marked, its time above it."""
    left, top = layout.place(index)
    draw = ImageDraw.Draw(sheet)
    width, height = layout.tile.width, layout.tile.height
    text, face = f"{time:.2f} s", font("0", _TIME_SIZE)
    if draw.textlength(text, face) > layout.across - 6:
        text = f"{time:.2f}"
    if draw.textlength(text, face) > layout.across - 6:
        text = f"{time:.0f}"
    colour = SIGNATURE if marked else FAINT
    draw.text((left + width / 2, top - 21), text, colour, face, anchor="mm")
    if marked:
        box = (left - _FRAME, top - _FRAME, left + width + _FRAME - 1, top + height + _FRAME - 1)
        draw.rectangle(box, fill=SIGNATURE)
    sheet.paste(Image.fromarray(frame), (left, top))


def _shares(hard: Floats) -> Doubles:
    """Of the pixels kept in a clip (T, H, W), each frame's share: (T,), zeros if there are none."""
    kept = hard.sum(axis=(1, 2), dtype=np.float64)
    return kept / max(kept.sum(), 1)  # type: ignore[no-any-return]


def _keep(hard: Floats) -> Bytes:
    """A hard mask as it is, for a smooth edge would swallow a method's single pixels."""
    return np.rint(hard * 255).astype(np.uint8)


def _paint_kept(frame: Bytes, keep: Bytes) -> Bytes:
    """What is hidden dark and gray, a thin line around what is kept."""
    region = cv2.threshold(keep, 127, 255, cv2.THRESH_BINARY)[1]
    # Lines around single pixels would be all that one sees.
    region = cv2.morphologyEx(region, cv2.MORPH_OPEN, np.ones((_SPECK, _SPECK), np.uint8))
    edge = cv2.subtract(cv2.dilate(region, np.ones((3, 3), np.uint8)), region)
    return mix(paint_mask(frame, keep), LINE, edge)


def _bar(draw: ImageDraw.ImageDraw, place: tuple[int, int], width: int, share: float) -> None:
    """A bar below a frame as long as its share, of the largest. place: left and top."""
    left, top = place
    draw.rectangle((left, top, left + width - 1, top + 1), fill=TRACK)
    length = round(share * _BARS)
    if length:
        draw.rectangle((left, top, left + width - 1, top + length - 1), fill=ACCENT)


def _write_beside(
    draw: ImageDraw.ImageDraw, layout: _Layout, band: int, lines: Mapping[str, list[str]]
) -> None:
    """The rows' names at the left of a band; their notes at the right of the first."""
    _, top = layout.place(band * layout.columns)
    middle = top + layout.tile.height // 2
    draw.text((MARGIN, middle), "source", FAINT, font("source", _NAME_SIZE), anchor="lm")
    for method, (name, several) in enumerate(lines.items()):
        middle = top + layout.row(method) + layout.tile.height // 2
        draw.text((MARGIN, middle), name, INK, font(name, _NAME_SIZE), anchor="lm")
        if band == 0:
            for place, line in enumerate(several):
                height = middle + (place - (len(several) - 1) / 2) * _NOTE_LINE
                at = (layout.right + _BESIDE, height)
                draw.text(at, line, FAINT, font(line, _NOTE_SIZE), anchor="lm")
