"""How much memory an explanation takes, of clips that are large or long."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"
    ),
]

# The peak is the program's own: that of a child that getrusage tells begins with its parent's.
MEASURED = """
import atexit, sys
from pathlib import Path
from tiemcli.cli import main

def tell():
    (line,) = [l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l]
    print("peak", line.split()[1], file=sys.stderr)

atexit.register(tell)
main()
"""
FORMATS = "mp4,json,html,npz,png,gif,svg"


def record(path: Path, frames: int, width: int, height: int) -> Path:
    """A clip in H.264 of a picture that moves sideways."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            image = np.roll(picture, 2 * index, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def peak(network: Path, *clips: Path, style: str = "mask") -> float:
    """The megabytes that explaining the clips takes, all outputs written."""
    folder = network.parent / f"out of {clips[0].stem}"
    command = [sys.executable, "-c", MEASURED, "explain", *clips, "-m", network, "-o", folder, "-f"]
    command += ["--format", FORMATS, "--style", style, "--quiet"]
    command += ["--backend", "finite-difference", "--queries", "10", "--device", "cpu"]
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=900)
    return int(done.stderr.split()[-1]) / 1024


@pytest.fixture
def network(build_network: Callable[..., Path]) -> Path:
    return build_network()


@pytest.fixture
def usual(network: Path, tmp_path: Path) -> float:
    """The megabytes that explaining a small, short clip takes."""
    return peak(network, record(tmp_path / "small.mp4", 8, 64, 64))


def test_a_long_clip_takes_little_more_than_a_short_one(
    network: Path, usual: float, tmp_path: Path
) -> None:
    """20,000 frames are never in memory together: as RGB these would be 245 MB."""
    clip = record(tmp_path / "long.mp4", 20_000, 64, 64)
    assert peak(network, clip) < usual + 120


@pytest.mark.parametrize("style", ["mask", "overlay", "heat", "side-by-side"])
def test_an_8k_clip_stays_under_two_gigabytes(
    style: str, network: Path, usual: float, tmp_path: Path
) -> None:
    """7680x4320 in every style, where a frame is 100 MB of RGB."""
    clip = record(tmp_path / "large.mp4", 8, 7680, 4320)
    assert peak(network, clip, style=style) < usual + 2000


def test_two_8k_clips_stay_under_two_gigabytes(network: Path, usual: float, tmp_path: Path) -> None:
    """Although one is read while the other is written."""
    clip = record(tmp_path / "large.mp4", 8, 7680, 4320)
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    assert peak(network, clip, other) < usual + 2000
