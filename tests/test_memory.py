"""How much memory an explanation takes, of clips that are large or long."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from tiemcli import samples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"
    ),
]

EVERY_FORMAT = "mp4,json,html,npz,png,gif,svg"


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


def peaks(session: int) -> dict[int, int]:
    """The most memory so far, in kilobytes, of each process of the session that still runs."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may end while it is read, and one that has ended has no peak.
        with suppress(OSError, ValueError):
            if os.getsid(int(folder.name)) == session:
                (line,) = re.findall(r"VmHWM:\s+(\d+)", (folder / "status").read_text())
                found[int(folder.name)] = int(line)
    return found


def peak(network: Path, *clips: Path, formats: str = EVERY_FORMAT, style: str = "mask") -> float:
    """The megabytes that explaining the clips takes, the outputs written: the peaks of the command
    and of every process that it starts, added."""
    folder = network.parent / f"out of {clips[0].stem}"
    command = [sys.executable, "-m", "tiemcli", "explain", *clips, "-m", network, "-o", folder]
    command += ["-f", "--format", formats, "--style", style, "--quiet"]
    command += ["--backend", "finite-difference", "--queries", "10", "--device", "cpu"]
    found: dict[int, int] = {}
    with subprocess.Popen([str(word) for word in command], start_new_session=True) as process:
        while process.poll() is None:
            found |= peaks(process.pid)
            time.sleep(0.02)
    assert process.returncode == 0
    return sum(found.values()) / 1024


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in a folder of its own."""
    source = Path(samples.__file__).with_name("net.onnx")
    return Path(shutil.copy(source, tmp_path_factory.mktemp("memory")))


@pytest.fixture(scope="module")
def usual(network: Path) -> float:
    """The megabytes that explaining a small, short clip takes."""
    return peak(network, record(network.with_name("small.mp4"), 8, 64, 64))


@pytest.fixture(scope="module")
def large(network: Path) -> Path:
    """An 8K clip, of which a frame is 100 MB of RGB."""
    return record(network.with_name("large.mp4"), 4, 7680, 4320)


def test_a_long_clip_takes_little_more_than_a_short_one(
    network: Path, usual: float, tmp_path: Path
) -> None:
    """20,000 frames are never in memory together: as RGB these would be 245 MB."""
    clip = record(tmp_path / "long.mp4", 20_000, 64, 64)
    assert peak(network, clip) < usual + 120


@pytest.mark.parametrize("style", ["overlay", "heat", "side-by-side"])
def test_an_8k_clip_stays_under_two_gigabytes(
    style: str, network: Path, usual: float, large: Path
) -> None:
    """Whatever is painted on its frames."""
    assert peak(network, large, formats="mp4", style=style) < usual + 2000


def test_two_8k_clips_stay_under_two_gigabytes(network: Path, usual: float, large: Path) -> None:
    """In every format, although one is read while the other is written."""
    other = Path(shutil.copy(large, large.with_name("other.mp4")))
    assert peak(network, large, other) < usual + 2000
