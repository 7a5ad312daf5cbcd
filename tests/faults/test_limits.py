"""Clips of extreme size, rate and length, and machines with little memory."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest

Record = Callable[..., Path]
Explain = Callable[..., subprocess.CompletedProcess[str]]

EXTREMES = {
    "one pixel": ("clip.mkv", {"height": 1, "width": 1}),
    "a row": ("clip.mkv", {"height": 1, "width": 640}),
    "a column": ("clip.mkv", {"height": 640, "width": 2}),
    "odd sides": ("clip.mkv", {"height": 33, "width": 47}),
    "one frame": ("clip.mp4", {"frames": 1}),
    "fewer frames than the network takes": ("clip.mp4", {"frames": 3}),
    "a frame a second": ("clip.mp4", {"rate": 1}),
    "a thousand frames a second": ("clip.mp4", {"rate": 1000, "frames": 50}),
    "a frame a day": ("clip.mkv", {"rate": 1, "seconds": range(0, 8 * 86_400, 86_400)}),
}


@pytest.mark.parametrize(("name", "form"), EXTREMES.values(), ids=EXTREMES)
def test_extreme_clips_are_explained_in_full(
    name: str, form: dict[str, object], record: Record, explain: Explain, tmp_path: Path
) -> None:
    """The masked video has every frame, at its time, and even sides."""
    clip = record(name, **form)
    done = explain(clip, "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    with av.open(tmp_path / "out/clip.masked.mp4") as masked, av.open(clip) as source:
        shown, original = (list(c.decode(video=0)) for c in (masked, source))
    assert len(shown) == len(original) == result["clip"]["frames"]
    assert shown[0].width == original[0].width + original[0].width % 2
    assert shown[0].height == original[0].height + original[0].height % 2
    lengths = [(clip[-1].pts - clip[0].pts) * clip[0].time_base for clip in (shown, original)]
    assert float(lengths[0]) == pytest.approx(float(lengths[1]), abs=2e-3)


def test_two_gigabytes_of_addresses_suffice(record: Record, explain: Explain) -> None:
    """`ulimit -v 2000000`, as clusters set it."""
    assert explain(record(), limit="-v 2000000").returncode == 0


def test_memory_that_does_not_suffice_for_a_clip_is_one_line(
    record: Record, explain: Explain
) -> None:
    """8K in 1.2 GB of addresses."""
    done = explain(record(frames=2, height=4320, width=7680), limit="-v 1200000")
    assert done.returncode in (1, 3)
