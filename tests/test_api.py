"""tiemcli as programs and notebooks use it."""

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tiemcli

QUICK = {"backend": "finite-difference", "queries": 60, "areas": (0.05, 0.2)}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, sample_in: Callable[[Path], Path]) -> Path:
    """A folder of the sample's clip and network."""
    return sample_in(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def explanation(sample: Path) -> tiemcli.Explanation:
    return tiemcli.explain(sample / "clip.mp4", sample / "net.onnx", **QUICK)


def test_an_explanation_says_which_moments_and_which_pixels(
    explanation: tiemcli.Explanation,
) -> None:
    """Its importance is highest while the robot jumps; its masks keep what was asked for."""
    assert explanation.label == "jump"
    assert explanation.score > 0.9
    assert explanation.importance.sum() == pytest.approx(1)
    assert 2.25 <= explanation.timestamps[explanation.importance.argmax()] <= 3.5
    assert explanation.areas == (0.05, 0.2)
    assert explanation.masks.shape[:2] == (2, 16)
    assert explanation.masks[0].mean() == pytest.approx(0.05, rel=0.05)
    assert explanation.result.target.index == explanation.target
    assert list(explanation.scores) == [mask.score for mask in explanation.result.masks]
    assert explanation.warnings == tuple(explanation.result.warnings)


def test_what_is_saved_is_what_the_command_line_writes(
    explanation: tiemcli.Explanation, sample: Path, tmp_path: Path
) -> None:
    """The same result, which `tiem explain` keeps as its own."""
    result = explanation.save(tmp_path / "out", formats=("mp4", "json", "npz"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "clip.masked.mp4",
        "clip.tiem.json",
        "clip.tiem.npz",
    }
    assert json.loads((tmp_path / "out/clip.tiem.json").read_text()) == json.loads(result.to_json())
    options = "--backend finite-difference --queries 60 --areas .05,.2 --format mp4,json,npz"
    command = f"{sys.executable} -m tiemcli explain clip.mp4 -m net.onnx {options} --jsonl"
    done = subprocess.run(
        [*command.split(), "-o", str(tmp_path / "out")],
        cwd=sample,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["created"] == result.created
    with np.load(tmp_path / "out/clip.tiem.npz") as arrays:
        assert np.array_equal(arrays["keep_hard"], explanation.masks)


def test_a_network_is_loaded_once_for_several_clips(sample: Path) -> None:
    """And what is said of it, at that time."""
    network = tiemcli.load(sample / "net.onnx", labels=["a", "b", "c", "d", "e"])
    found = tiemcli.explain(sample / "clip.mp4", network, **QUICK)
    assert found.label in "abcde"
    with pytest.raises(tiemcli.TiemError, match="size: the network is loaded"):
        tiemcli.explain(sample / "clip.mp4", network, size=64)
    with pytest.raises(tiemcli.TiemError, match="precision: the network is loaded"):
        tiemcli.explain(sample / "clip.mp4", network, precision="half")


def test_a_target_may_be_an_index(sample: Path) -> None:
    """As a number, which the command line has no other way to say than as a word."""
    assert tiemcli.explain(sample / "clip.mp4", sample / "net.onnx", target=1, **QUICK).target == 1


def test_a_format_that_there_is_not_is_an_error(
    explanation: tiemcli.Explanation, tmp_path: Path
) -> None:
    """And nothing is written."""
    for wrong in ({"formats": ("avi",)}, {"style": "bold"}, {"formats": "mp4"}):
        with pytest.raises(tiemcli.TiemError):
            explanation.save(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_notebook_shows_the_page(explanation: tiemcli.Explanation) -> None:
    """In a frame of its own, whose style and script touch nothing else."""
    shown = explanation._repr_html_()
    found = re.fullmatch(r'<iframe srcdoc="([^"]*)"[^>]*></iframe>', shown)
    assert found is not None
    page = html.unescape(found[1])
    assert page.startswith("<!DOCTYPE html>")
    assert "jump" in page


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"colour": "rgb"}, "no option colour"),
        ({"areas": (2,)}, "area"),
        ({"target": "fly"}, "fly"),
        ({"areas": 0.1}, r"areas=0\.1"),
        ({"method": "saliency"}, "method='saliency'"),
        ({"windows": "99"}, "--windows 99"),
        ({"layout": "NCT"}, "layout"),
    ],
)
def test_what_cannot_be_asked_is_an_error(sample: Path, wrong: dict, message: str) -> None:
    """That says what, as at the command line."""
    with pytest.raises(tiemcli.TiemError, match=message):
        tiemcli.explain(sample / "clip.mp4", sample / "net.onnx", **(QUICK | wrong))


def test_a_clip_that_is_not_there_is_an_error(sample: Path) -> None:
    with pytest.raises(tiemcli.TiemError, match=r"absent\.mp4"):
        tiemcli.explain("absent.mp4", sample / "net.onnx")


def test_the_package_has_nothing_else_by_those_names() -> None:
    """What is asked for and is not there is an AttributeError, and importing costs nothing."""
    with pytest.raises(AttributeError, match="explanation"):
        tiemcli.explanation  # noqa: B018
    code = "import sys, tiemcli; assert not {'numpy', 'onnx', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
