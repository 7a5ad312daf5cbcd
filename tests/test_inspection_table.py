"""`tiem inspect` as it is printed: true and whole sentences for people, one document for programs."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import helper

from tiemcli import running_cost
from tiemcli.facts import Facts
from tiemcli.inspection import inspect
from tiemcli.inspection_document import CutReport, Inspection, PrefixReport
from tiemcli.inspection_table import SCHEMA, inspect_command, rows

BuildNetwork = Callable[..., Path]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds need not be exact here."""
    monkeypatch.setattr(running_cost, "SEARCH_SECONDS", 0.02)


@pytest.fixture
def inspection(build_network: BuildNetwork) -> Inspection:
    """Of a small network that is all convolution through time."""
    return inspect(build_network(), Facts(), "cpu")


def test_json_is_one_document(
    build_network: BuildNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its keys are a contract."""
    inspect_command(build_network(), Facts(), "cpu", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document.pop("schema") == SCHEMA
    assert set(document) == {
        "file",
        "elsewhere",
        "feeding",
        "outputs",
        "output",
        "labels",
        "labels_from",
        "multiply_adds",
        "prefix",
        "reuse",
        "batch",
        "cost",
        "providers",
        "assumed",
        "problems",
    }
    assert document["providers"] == ["CPUExecutionProvider"]
    assert document["feeding"]["preprocessing"]["height"] == 12
    assert set(document["cost"]) == {"speed", "gradient", "windows", "autograd", "queries"}


def test_the_table_has_a_line_for_everything(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sample network says all of itself: nothing is assumed, and nothing is a problem."""
    inspect_command(root / "samples" / "net.onnx", Facts(), "cpu", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:10].strip() for line in lines] == [
        *("network", "input", "layout", "frames", "output", "labels", "operators", "work"),
        *("by frame", "windows", "batch", "gradients", "speed", "cost", "cost"),
    ]
    assert "NCTHW (metadata): C 3, T 16, H 64, W 64; free: N" in lines[2]
    assert "5: jump, wave, spin, duck, flip (metadata)" in lines[5]
    assert (
        "18.3% of the work is on each frame alone; it ends in /features/features.2/Relu" in lines[8]
    )
    assert "at most 222 evaluations, 136 of them windows, 60 gradients" in lines[13]


def test_the_command_speaks_on_stdout(build_network: BuildNetwork, tmp_path: Path) -> None:
    """A problem is no failure; a file that cannot be read is."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tiemcli", "inspect", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run(build_network(layout="TCHW", batch=1), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (problem,) = json.loads(done.stdout)["problems"]
    assert "--frames" in problem["hint"]
    gone = run("gone.onnx")
    assert (gone.returncode, gone.stdout) == (3, "")
    assert gone.stderr.startswith("tiem: gone.onnx: no such file")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (999_499, "999 k"), (999_999, "1 M"), (3e12, "3 T")],
)
def test_large_numbers_have_three_digits(number: int, text: str, inspection: Inspection) -> None:
    """And a letter for the rest, also where they round up to the next letter."""
    told = dict(rows(replace(inspection, multiply_adds=int(number))))
    assert told["work"] == f"{text} multiply-adds a clip"


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "all"), (0.9996, "over 99.9%"), (0.183, "18.3%"), (0.0004, "under 0.1%")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(
    share: float, text: str, inspection: Inspection
) -> None:
    """What is done by frame, and what else the frame's place decides."""
    cut = (CutReport("a", 1, 1500), CutReport("b", 0, 500))
    alike = dict(rows(replace(inspection, prefix=PrefixReport(share, True, cut))))
    assert alike["by frame"] == (
        f"{text} of the work is on each frame alone; it ends in a, b, 2 kB a frame"
    )
    placed = dict(rows(replace(inspection, prefix=PrefixReport(share, False, cut))))
    assert "on each frame alone, by its place in the clip" in placed["by frame"]


def test_a_doubt_is_no_verification(inspection: Inspection) -> None:
    """A gradient is called verified where nothing speaks against it."""
    cost = inspection.cost
    assert cost is not None
    sure = replace(cost, gradient=replace(cost.gradient, warning=""))
    assert dict(rows(replace(inspection, cost=sure)))["gradients"].startswith("yes, verified; ")
    doubted = replace(cost, gradient=replace(cost.gradient, warning="its slope is odd"))
    told = dict(rows(replace(inspection, cost=doubted)))["gradients"]
    assert told.startswith("yes, but its slope is odd; ")
    assert "verified" not in told


def test_outputs_without_a_shape_show_none(build_network: BuildNetwork) -> None:
    """A sequence, and a tensor of which the file says no more than its type; neither hides the
    network's work."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node.append(helper.make_node("SequenceConstruct", ["logits"], ["several"]))
    proto.graph.output.append(helper.make_tensor_sequence_value_info("several", 1, None))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(proto, path)
    found = inspect(path, Facts(output_name="logits"), "cpu")
    assert [(value.type, value.shape) for value in found.outputs] == [
        ("FLOAT", None),
        ("SEQUENCE", None),
    ]
    assert found.problems == ()
    assert found.multiply_adds
    lines = [text for name, text in rows(found) if name == "output"]
    assert lines == ["logits  FLOAT  logits (inferred), 5 a clip  inspected", "several  SEQUENCE"]
