"""Letters on pictures: the same on every machine, and other scripts as far as its fonts go."""

from contextlib import suppress
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# The font that Pillow carries has ASCII alone; a label in another script is written with that of
# these that the system has and that has most of its letters.
_SYSTEM = (
    "Arial.ttf",
    "LiberationSans-Regular.ttf",
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
)
_MISSING = "\uffff"


@lru_cache(maxsize=64)
def font(text: str, size: int) -> Font:
    """The font that has most letters of `text`, Pillow's own for ASCII; `size` pixels high."""
    own = ImageFont.load_default(size)
    if text.isascii():
        return own
    return max(own, *_installed(size), key=lambda face: _written(face, text))


def shortened(text: str, size: int, room: float) -> str:
    """`text`, or as much of it as fits into `room` pixels with an ellipsis."""
    face = font(text, size)
    short = text
    while text and face.getlength(short) > room:
        text = text[:-1].rstrip()
        short = f"{text}..."
    return short


def _installed(size: int) -> list[Font]:
    faces: list[Font] = []
    for name in _SYSTEM:
        with suppress(OSError):
            faces.append(ImageFont.truetype(name, size))
    return faces


def _written(face: Font, text: str) -> int:
    missing = bytes(face.getmask(_MISSING))
    return sum(bytes(face.getmask(letter)) != missing for letter in text)
