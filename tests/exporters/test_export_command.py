"""`tiem export` as a process: what it writes, prints and ends with."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")

Run = Callable[..., subprocess.CompletedProcess[str]]
CODE = """
import torch
from torch import nn


class Net(nn.Module):
    tiem = {"frames": 4, "size": [12, 16], "mean": 0.4, "std": 0.2, "scale": "1/255",
            "color": "rgb", "resize": "crop", "output": "logits",
            "labels": ["run", "jump", "wave"]}

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv3d(3, 8, 3), nn.Linear(8, 3)

    def forward(self, clips):
        return self.head(torch.relu(self.conv(clips)).mean((2, 3, 4)))


class Untraceable(Net):
    def forward(self, clips):
        return super().forward(torch.from_numpy(clips.numpy().copy().clip(len(str(clips)))))
"""


@pytest.fixture
def tiem(tmp_path: Path) -> Run:
    """Run the command in a folder that holds code and weights alone."""
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "w.pt").write_text("no weights")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tiemcli", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def test_what_is_exported_can_be_explained_and_nothing_is_assumed(
    tiem: Run, bikes: Path, tmp_path: Path
) -> None:
    """No flag says how the network is fed, and the answer has a name."""
    done = tiem("export", "torch:net.py:Net", "-o", "net.onnx", "--converter", "torchscript")
    assert done.returncode == 0, done.stderr
    assert "3 logits: run, jump, wave" in done.stdout
    assert "NCTHW any×3×4×12×16" in done.stdout
    assert "assumed" not in done.stderr
    done = tiem(
        "explain", bikes, "-m", "net.onnx", "--queries", 20, "--format", "json",
        "--backend", "finite-difference",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "assumed" not in done.stderr
    result = json.loads((tmp_path / "bikes.tiem.json").read_text())
    assert result["target"]["label"] in ("run", "jump", "wave")
    assert result["model"]["layout"] == "NCTHW"


def test_json_is_one_document(tiem: Run, tmp_path: Path) -> None:
    """With the facts as they are written, and how well the file agrees."""
    done = tiem(
        "export", "torch:net.py:Net", "--out", "net.onnx", "--json", "--opset", 17, "--batch", 2,
        "--precision", "fp16", "--labels", "a,b,c", "--stride", 3, "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["shape"] == [2, 3, 4, 12, 16]
    assert (document["opset"], document["converter"]) == (17, "torchscript")
    assert (document["precision"], document["tolerance"]) == ("fp16", 0.02)
    assert document["facts"]["labels"] == ["a", "b", "c"]
    assert (document["facts"]["stride"], document["facts"]["size"]) == (3, [12, 16])
    assert 0 < document["difference"]["random"] < 0.02
    assert document["bytes"] == (tmp_path / "net.onnx").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("onnx:net",), 2, "onnx:net: no source of networks"),
        (("torch:net.py:Net", "--batch", "many"), 2, "--batch many"),
        (("torch:net.py:Net", "--size", "wide"), 2, "--size wide"),
        (("torch:net.py:Net", "--seed", "-1", "--tolerance", "0"), 2, "--seed -1"),
        (("torch:net.py:Net", "--tolerance", "inf"), 2, "--tolerance inf"),
        (("torch:net.py:Net", "--weights", "w.pt"), 3, "w.pt: no file of weights"),
        (
            ("torch:net.py:Untraceable", "--converter", "torchscript"),
            3,
            "what torchscript traced does not depend on the clip",
        ),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_no_file(
    arguments: tuple[str, ...], code: int, said: str, tiem: Run, tmp_path: Path
) -> None:
    """No traceback, nothing on stdout."""
    before = sorted(os.listdir(tmp_path))
    done = tiem("export", *arguments, "-o", "net.onnx")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tiem: ")]
    assert said in line
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == before
