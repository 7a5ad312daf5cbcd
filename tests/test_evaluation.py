"""Stored results measured again: truth files, networks that moved, and files that are broken."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiemcli.errors import UsageError
from tiemcli.evaluation import Evaluation, facts_of, read_result, result_files
from tiemcli.facts import Facts
from tiemcli.model import load_model

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def explained(tiem: Run, root: Path, tmp_path: Path) -> Path:
    """Two results in a folder, of one clip by its name and by another, and their own network."""
    shutil.copy(root / "samples/net.onnx", tmp_path / "net.onnx")
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(root / "samples/clip.mp4", tmp_path / name)
    done = tiem(
        "explain", "one.mp4", "two.mp4", "-m", "net.onnx", "--method", "center", "--format", "json,npz",
        "-o", "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / "out"


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("tiem: ")]


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(done.stdout, parse_constant=pytest.fail)["rows"]
    return told


def test_results_of_one_method_have_a_mean_row(tiem: Run, explained: Path, tmp_path: Path) -> None:
    """Over their clips, by the truth that each has in the file; who is not named there is told."""
    truth = {"one.mp4": {"signature": "0-7"}, "two": {"signature": "0-3"}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    options = ("--truth", "truth.json", "--steps", 0)
    found = [row["metrics"]["temporal_pointing"] for row in rows(tiem("evaluate", "out", *options, "--json"))]  # fmt: skip
    assert found == pytest.approx([50, 25], abs=0.5)
    done = tiem("evaluate", "out", *options)
    (mean,) = [line for line in done.stdout.splitlines() if line.startswith("mean of 2 clips")]
    assert f"{np.mean(found):.1f} ± {np.std(found, ddof=1):.1f}" in mean
    (tmp_path / "truth.json").write_text(json.dumps({"one": {"signature": "0-7"}}))
    done = tiem("evaluate", "out", *options, "--json")
    assert [row["missing"] for row in rows(done)] == ["", "truth.json does not name two.mp4"]
    assert "truth.json does not name two.mp4" in done.stderr


def test_a_network_that_moved_is_named(tiem: Run, explained: Path, tmp_path: Path, root: Path) -> None:  # fmt: skip
    """Without it curves are left out, and why is told; -m says where it is; another is not taken."""
    (tmp_path / "net.onnx").rename(tmp_path / "moved.onnx")
    options = ("evaluate", "out/one.tiem.json", "--steps", 4, "--json")
    (row,) = rows(tiem(*options))
    assert "net.onnx is not there: give -m" in row["missing"]
    assert "insertion" not in row["metrics"]
    (row,) = rows(tiem(*options, "-m", "moved.onnx"))
    assert row["missing"] == ""
    assert 0 < row["metrics"]["insertion"] < 1
    content = (tmp_path / "moved.onnx").read_bytes()
    # A field that no reader knows: the same network in another file.
    (tmp_path / "other.onnx").write_bytes(content + bytes([0xF8, 0x07, 0x01]))
    (row,) = rows(tiem(*options, "-m", "other.onnx"))
    assert "other.onnx is not the network that was explained" in row["missing"]


@pytest.mark.parametrize("harm", ["truncated", "empty", "gone", "of another explanation"])
def test_arrays_that_are_broken_are_one_line(tiem: Run, explained: Path, harm: str) -> None:
    """It names the file; the other result is measured, and the exit code is 1."""
    path = explained / "one.tiem.npz"
    if harm == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "gone":
        path.unlink()
    else:
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **arrays | {"areas": np.array([0.2])})
    done = tiem("evaluate", "out", "--steps", 0, "--json")
    assert done.returncode == 1
    (line,) = lines(done)
    assert "one.tiem.npz" in line
    (row,) = rows(done)
    assert row["clip"].endswith("two.mp4")


def test_a_folder_without_results_is_the_users_error(tmp_path: Path) -> None:
    """As is a path that is not there; a file that is named twice counts once."""
    with pytest.raises(UsageError, match=r"no \.tiem\.json in there"):
        result_files([tmp_path])
    with pytest.raises(UsageError, match="no such file"):
        result_files([tmp_path / "gone"])
    result = tmp_path / "deep" / "a.tiem.json"
    result.parent.mkdir()
    result.touch()
    assert result_files([tmp_path, result]) == (result,)


@pytest.mark.parametrize("steps", [-1, 1])
def test_a_curve_has_two_steps_or_none(steps: int) -> None:
    """One step has no curve."""
    with pytest.raises(UsageError, match=f"--steps {steps}"):
        Evaluation((Path("out"),), steps=steps)


def test_the_network_is_read_again_as_it_was(build_network: Callable[..., Path]) -> None:
    """Whatever flags said of it: the facts of its reading, through JSON, give the same reading."""
    said = Facts(
        layout="NCTHW",
        scale=1 / 127.5,
        mean=(1.0, 1.0, 0.5),
        color="bgr",
        resize="crop",
        stride=3,
        output="value",
        labels=list("abcde"),
    )
    path = build_network()
    reading = json.loads(json.dumps(load_model(path, said).reading()))
    again = load_model(path, facts_of(reading)).reading()
    assert json.loads(json.dumps(again)) == reading


def test_a_regression_is_measured_in_shares_of_its_answer(
    tiem: Run, build_network: Callable[..., Path], root: Path, tmp_path: Path
) -> None:
    """Its curves end at 1 whatever its answer is; stored and fresh agree."""
    network = build_network("value.onnx", ending="value")
    common = (root / "samples/clip.mp4", "-m", network, "--layout", "NCTHW", "--output", "value")
    done = tiem("compare", *common, "--methods", "center,random", "--steps", 4, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout, parse_constant=pytest.fail)
    assert told["target"]["index"] == 0
    tiem("explain", *common, "--method", "center", "--format", "json,npz", "-o", "out")
    assert read_result(tmp_path / "out/clip.tiem.json").model.output_kind == "value"
    (row,) = rows(tiem("evaluate", "out", "--steps", 4, "--json"))
    fresh = told["rows"][0]["metrics"]
    for name, found in row["metrics"].items():
        assert found == pytest.approx(fresh[name]["mean"], abs=1e-4), name
