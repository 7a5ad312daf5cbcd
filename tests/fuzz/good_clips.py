"""Small good clips of several containers and codecs, to be damaged."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# The first is what most clips are, and most damaged ones are of it: see `clips.py`.
KINDS = {
    "h264.mp4": ("libx264", "yuv420p", {"bf": "2", "g": "8"}),
    "turned.mov": ("mpeg4", "yuv420p", {}),
    "pieces.mp4": ("libx264", "yuv420p", {"g": "6"}),
    "hevc.mp4": ("libx265", "yuv420p", {"x265-params": "log-level=none:pools=none"}),
    "h264.mkv": ("libx264", "yuv420p", {"bf": "2"}),
    "lossless.mkv": ("ffv1", "bgr0", {}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {}),
    "jpeg.avi": ("mjpeg", "yuvj420p", {}),
    "palette.gif": ("gif", "rgb8", {}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"cpu-used": "8", "deadline": "realtime"}),
    "vp8.webm": ("libvpx", "yuva420p", {"auto-alt-ref": "0", "cpu-used": "8"}),
    "h264.ts": ("libx264", "yuv420p", {}),
}
_FRAMES, _HEIGHT, _WIDTH = 20, 48, 64


def make(folder: Path) -> dict[str, bytes]:
    """Write one clip of each kind; the bytes of each by name, the same on every call."""
    return {name: _record(folder / name, *KINDS[name]).read_bytes() for name in KINDS}


def _record(path: Path, codec: str, form: str, options: dict[str, str]) -> Path:
    flags = "frag_keyframe+empty_moov" if path.name == "pieces.mp4" else "+faststart"
    muxing = {"movflags": flags} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options={**muxing, "fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=10, options={"threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, form
        if path.name == "turned.mov":
            stream.set_display_rotation(90, False, False)
        for index in range(_FRAMES):
            frame = av.VideoFrame.from_ndarray(_picture(index), "rgb24").reformat(format=form)
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _picture(index: int) -> np.ndarray:
    """A bright square that wanders over a slope."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    image = np.stack([x * 3, y * 4, np.full_like(x, 60 + 5 * index)], -1).astype(np.uint8)
    image[8 + index : 20 + index, 2 * index : 2 * index + 14] = 240
    return image
