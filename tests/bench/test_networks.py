"""The bench over networks: a row a file, however it fails, and the page that it writes."""

import re
import sys
from dataclasses import asdict
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tiemcli.bench import networks
from tiemcli.bench.derive import DERIVATIONS, derive
from tiemcli.bench.network_cases import CASES, TORCHSCRIPT, Case
from tiemcli.bench.network_table import markdown
from tiemcli.bench.networks import Row, rows
from tiemcli.exporters.original import Wanted
from tiemcli.exporters.registry import load
from tiemcli.model import load_model


def test_a_network_comes_all_the_way() -> None:
    """A detector of windows through both converters: verified, its batch free, with gradients."""
    seen: list[str] = []
    table = list(rows("detector", seen.append))
    assert seen == [str(case) for case in CASES if case.network == "detector"]
    assert [(row.converter, row.batch) for row in table] == [
        ("torchscript", "free"),
        ("dynamo", "free"),
    ]
    for row in table:
        assert row.exported
        assert row.autograd, row.reason
        assert row.difference is not None
        assert row.difference < 1e-5
        assert row.gap is not None
        assert row.gap < 1e-5
        assert row.apart is None or row.apart < 1e-5
        assert row.seconds > 0


@pytest.mark.parametrize(
    ("network", "batch"),
    [
        ("cnn-bilstm", "rewritten"),
        ("loop-gru", "rewritten"),
        ("slowfast-two", "free"),
        ("timesformer", "rewritten"),
        ("tsm", "rewritten"),
        ("uint8", "rewritten"),
    ],
)
def test_families_by_torchscript(monkeypatch: pytest.MonkeyPatch, network: str, batch: str) -> None:
    """A file of one clip takes any batch, by itself or rewritten, and has gradients."""
    if network == "timesformer":
        pytest.importorskip("transformers")
    monkeypatch.setattr(networks, "CASES", (Case(network, TORCHSCRIPT),))
    (row,) = rows()
    assert (row.autograd, row.batch) == (True, batch), row.reason
    assert row.difference is not None
    assert row.difference < 1e-5


@pytest.mark.slow
def test_a_keras_network_has_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built and saved by Keras, read back, and written by way of torch."""
    if find_spec("keras") is None:
        pytest.skip("keras is not installed")
    monkeypatch.setattr(networks, "CASES", [c for c in CASES if c.network == "keras-c3d"])
    (row,) = rows()
    assert row.autograd, row.reason


def test_a_failure_is_a_row_and_the_next_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network, the converter and a bug of ours say stands in the row."""
    cases = (Case("nosuch", TORCHSCRIPT), Case("scan-cond", TORCHSCRIPT), Case("tsn", TORCHSCRIPT))
    monkeypatch.setattr(networks, "CASES", cases)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(networks, "load_network", broken)
    missing, untraced, ours = rows()
    assert "no such network" in missing.reason
    assert "cannot be traced" in untraced.reason
    assert not untraced.exported
    assert (ours.exported, ours.reason) == (True, "ZeroDivisionError: ours")
    assert ours.difference is not None
    assert not any(row.autograd for row in (missing, untraced, ours))


def test_a_missing_package_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that is not installed is named."""
    monkeypatch.setitem(sys.modules, "onnxslim", None)
    monkeypatch.setattr(networks, "CASES", (Case("detector", TORCHSCRIPT, "onnxslim"),))
    (row,) = rows()
    assert row.reason == "onnxslim: the package onnxslim is not installed"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An X3D-like network by TorchScript."""
    path = tmp_path_factory.mktemp("export") / "x3d.onnx"
    load("zoo:x3d", Wanted()).write(path, TORCHSCRIPT)
    return path


@pytest.mark.parametrize("name", DERIVATIONS)
def test_every_derivation_makes_another_file_of_the_same_answer(
    exported: Path, tmp_path: Path, name: str
) -> None:
    """ONNX Runtime runs what was made, and it answers about as the export did."""
    if name == "onnxslim":
        pytest.importorskip("onnxslim")
    original = load("zoo:x3d", Wanted())
    model = load_model(exported, original.facts)
    clips = [model.tensor(networks.smooth_clip(model, seed)[None]) for seed in range(3)]
    derive(name, exported, tmp_path / "made.onnx", {model.input: clips})
    made = onnx.load(tmp_path / "made.onnx")
    assert made != onnx.load(exported) or name == "external-data"
    session = ort.InferenceSession(tmp_path / "made.onnx", providers=["CPUExecutionProvider"])
    kind = np.float16 if "16" in session.get_inputs()[0].type else np.float32
    (found,) = session.run(None, {model.input: clips[0].astype(kind)})
    expected = original.answer(clips[0])
    assert np.abs(found - expected).max() < 0.1 * np.ptp(expected)


def test_one_machines_layout_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file saved with ORT_ENABLE_ALL has no gradients here, and the row says whose fault it is."""
    monkeypatch.setattr(networks, "CASES", (Case("tsn", TORCHSCRIPT, "ort-all"),))
    (row,) = rows()
    if row.autograd:
        pytest.skip("this machine has no layout of its own")
    assert "ORT_ENABLE_ALL" in row.reason
    assert "com.microsoft.nchwc::Conv" in row.reason


def keys(page: str) -> list[tuple[str, str, int, str]]:
    """Network, converter, opset and derivation of each line of a page's tables."""
    cells = [line.strip("| ").split("|") for line in page.splitlines() if line.startswith("| ")]
    found = [[cell.strip() for cell in row] for row in cells if len(row) > 4]
    return [(n, c, int(o), d) for n, c, o, d, *_ in found if o.isdecimal()]


def test_the_page_has_a_line_a_row() -> None:
    """Sums, numbers and reasons; a bar in a reason does not end its cell."""
    row = Row(
        network="net",
        converter="dynamo",
        opset=18,
        kind="export",
        derived="",
        exported=True,
        difference=1.26e-7,
        batch="free",
        reuse="frames",
        apart=0.0,
        autograd=True,
        gap=0.0,
        seconds=60.0,
    )
    other = Row("net", "dynamo", 18, "derived", "fp16", reason="a|b", seconds=60.0)
    page = markdown([row, other], date(2026, 11, 23))
    assert "| net | dynamo | 18 |  | 1e-07 | free | frames | 0 | yes | 0 |  |" in page
    assert "| net | dynamo | 18 | fp16 |  |  |  |  | no |  | a\\|b |" in page
    assert "| exports in float32 | 1 of 1 | 1 of 1 |" in page
    assert "| derived files | 0 of 1 | 0 of 1 |" in page
    assert "2026-11-23 in 2 minutes" in page
    assert keys(page) == [("net", "dynamo", 18, ""), ("net", "dynamo", 18, "fp16")]
    assert set(asdict(row)) >= {"network", "converter", "autograd", "difference", "reason"}


def test_the_committed_page_is_of_these_networks(root: Path) -> None:
    """docs/networks.md has the files that the code makes, enough of them with gradients, and none
    whose scores are further apart with reuse than 1e-5."""
    page = (root / "docs" / "networks.md").read_text(encoding="utf-8")
    reused = re.findall(r"\| (?:frames|stretches) \| (\S+) \|", page)
    assert len(reused) >= 20
    assert all(float(apart) <= 1e-5 for apart in reused)
    expected = [(c.network, c.form.converter, c.form.opset, c.derived) for c in CASES]
    assert sorted(keys(page)) == sorted(expected)
    for files, made, least in (("exports in float32", 48, 40), ("derived files", 35, 25)):
        found = re.search(rf"\| {files} \| (\d+) of (\d+) \| (\d+) of", page)
        assert found, files
        assert int(found[1]) >= made
        assert int(found[3]) >= least
