"""What the sheets of many frames have in common: their paper, their ink, their title."""

from pathlib import Path

from PIL import Image, ImageDraw

from tiemcli.outputs.atomic import replacing
from tiemcli.outputs.lettering import font, shortened
from tiemcli.pipeline import Explanation
from tiemcli.wording import score_text

# Lengths are in pixels, two to one of the screen's.
WIDTH = 2400
MARGIN = 48
TITLE_SIZE, TEXT_SIZE, CAPTION_SIZE = 46, 27, 22
INK, FAINT, TRACK, PAPER = "#1b1f24", "#59636e", "#e6e8eb", "#ffffff"
ACCENT = "#e08600"
# Of a sheet at twice the size it is meant to be seen at, where a screen's inch is 96 pixels.
_DOTS_PER_INCH = (192, 192)


def write_title(sheet: Image.Image, left: float, right: float, explanation: Explanation) -> None:
    """The answer and its score, in the sheet's first line between `left` and `right`."""
    draw, middle = ImageDraw.Draw(sheet), MARGIN + 20
    score = f"  {score_text(explanation.clean)}"
    name = explanation.label or f"output {explanation.target}"
    room = right - left - draw.textlength(score, font(score, TITLE_SIZE))
    name = shortened(name, TITLE_SIZE, room)
    face = font(name, TITLE_SIZE)
    draw.text((left, middle), name, INK, face, anchor="lm")
    after = left + draw.textlength(name, face)
    draw.text((after, middle), score, FAINT, font(score, TITLE_SIZE), anchor="lm")


def save(path: Path, sheet: Image.Image) -> None:
    """Write a sheet as PNG. Raises OutputError."""
    with replacing(path) as part:
        sheet.save(part, "PNG", optimize=True, dpi=_DOTS_PER_INCH)
