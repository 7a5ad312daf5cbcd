"""What `tiem inspect` finds, against counts of one's own and an explanation that is really made."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiemcli import running_cost
from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.inspection import inspect
from tiemcli.inspection_document import Inspection
from tiemcli.inspection_table import rows
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.model import load_model
from tiemcli.pipeline import explain, read_clip
from tiemcli.running_cost import Speed, measure, measure_speed
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings

BuildNetwork = Callable[..., Path]
# Of the small network: C, T, H, W, and what it makes of them.
C, T, H, W, FEATURES, CLASSES = 3, 4, 12, 16, 6, 5


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds need not be exact here."""
    monkeypatch.setattr(running_cost, "SEARCH_SECONDS", 0.02)


@pytest.fixture
def sample() -> Iterator[Path]:
    with as_file(files("tiemcli.samples")) as folder:
        yield folder


def found(path: Path, **facts: object) -> Inspection:
    return inspect(path, Facts.model_validate(facts), "cpu")


def messages(inspection: Inspection) -> str:
    return " ".join(f"{p.message} {p.hint}" for p in inspection.problems)


def test_the_file_is_counted(build_network: BuildNetwork) -> None:
    """Bytes, weights without shapes, operators and versions are the file's own."""
    path = build_network()
    inspection = found(path)
    file = inspection.file
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.bytes == path.stat().st_size
    assert file.parameters == FEATURES * C * 27 + FEATURES * CLASSES + CLASSES
    proto = onnx.load(path)
    names = [node.op_type for node in proto.graph.node]
    assert file.operators == {name: names.count(name) for name in names}
    assert file.opsets == {"ai.onnx": 17}
    assert [(v.name, v.type, v.shape) for v in file.inputs] == [
        ("clip", "FLOAT", ("N", C, T, H, W))
    ]
    assert inspection.multiply_adds == FEATURES * C * 27 * T * H * W + FEATURES * CLASSES
    assert inspection.prefix is None
    assert not inspection.problems


def test_weights_beside_the_file_count(build_network: BuildNetwork) -> None:
    """As bytes and as parameters."""
    path = build_network()
    before = found(path).file
    proto = onnx.load(path)
    onnx.save(proto, path, save_as_external_data=True, location="net.weights", size_threshold=1024)
    after = found(path).file
    assert after.parameters == before.parameters
    assert after.bytes == path.stat().st_size + path.with_name("net.weights").stat().st_size


def test_each_fact_says_who_said_it(build_network: BuildNetwork) -> None:
    """A flag, net.toml beside it, the file's metadata, the graph, or nobody."""
    path = build_network()
    proto = onnx.load(path)
    helper.set_model_props(proto, {"tiem.output": "logits", "tiem.mean": "0.4", "tiem.scale": "1"})
    onnx.save(proto, path)
    path.with_suffix(".toml").write_text('scale = "1/255"\nlabels = ["a", "b", "c", "d", "e"]\n')
    inspection = found(path, layout="NCTHW")
    feeding = inspection.feeding
    assert feeding is not None
    assert (feeding.layout, feeding.layout_from, feeding.free) == ("NCTHW", "flag", ("N",))
    assert feeding.preprocessing_from == {
        "size": "file",
        "color": "assumed",
        "resize": "assumed",
        "scale": "toml",
        "mean": "metadata",
        "std": "assumed",
    }
    assert (inspection.labels, inspection.labels_from) == (("a", "b", "c", "d", "e"), "toml")
    (output,) = inspection.outputs
    assert (output.kind, output.kind_from, output.classes) == ("logits", "metadata", CLASSES)
    bare = found(build_network("other.onnx", ending="probabilities"))
    assert bare.feeding is not None
    assert bare.feeding.layout_from == "inferred"
    assert (bare.outputs[0].kind, bare.outputs[0].kind_from) == ("probabilities", "inferred")
    assert bare.labels_from is None


@pytest.mark.parametrize("areas", [None, (0.1, 0.3)])
def test_the_cost_is_what_an_explanation_takes(
    areas: tuple[float, ...] | None, build_network: BuildNetwork, sample: Path
) -> None:
    """Evaluations and gradients are those that an explanation counts, of one area or of several."""
    network = load_network(load_model(build_network(), Facts()), "cpu")
    settings = Settings(areas=areas, iterations=6, queries=60)
    clip = read_clip(sample / "clip.mp4", network.model, settings).input
    cost = measure(network, clip, settings)
    assert cost.windows == T * (T + 1) // 2
    assert cost.gradient.works
    assert cost.autograd is not None
    source = read_clip(sample / "clip.mp4", network.model, settings)
    real = explain(source, network, replace(settings, backend="autograd"))
    assert (cost.autograd.forwards, cost.autograd.backwards) == (real.forwards, real.backwards)
    real = explain(source, network, replace(settings, backend="finite-difference"))
    # The search leaves over what does not make a generation.
    assert 0 <= cost.queries.forwards - real.forwards < 16
    assert cost.queries.backwards == 0


def test_seconds_follow_from_what_was_measured(build_network: BuildNetwork) -> None:
    """A gradient's time for each, an evaluation's for the rest."""
    cost = found(build_network()).cost
    assert cost is not None
    assert cost.autograd is not None
    assert cost.gradient.seconds is not None
    evaluations = cost.autograd.forwards - cost.autograd.backwards
    expected = evaluations / cost.speed.evaluations_per_second
    expected += cost.autograd.backwards * cost.gradient.seconds
    assert cost.autograd.seconds == pytest.approx(expected)


def test_the_speed_is_that_of_the_best_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which a run takes .1 s and a clip .01 s, more clips at once are faster."""
    now = 0.0

    class Slow:
        shape = 8, 1, 1
        forwards = 0

        def score(self, keep: Floats) -> Doubles:
            def run(part: slice) -> Doubles:
                nonlocal now
                now += 0.1 + 0.01 * (part.stop - part.start)
                return np.zeros(part.stop - part.start)

            return batching.map(len(keep), run)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(running_cost, "SEARCH_SECONDS", 2.5)
    batching = Batching()
    assert measure_speed(Slow(), batching) == Speed(32, pytest.approx(32 / (0.1 + 32 * 0.01)))


def test_a_batch_is_free_rewritten_or_looped(build_network: BuildNetwork) -> None:
    """A declared batch that the graph does not hold to is free; what cannot be freed says why."""

    def batch(path: Path) -> tuple[int | None, str]:
        report = found(path).batch
        assert report is not None
        return report.declared, report.state

    assert batch(build_network()) == (None, "free")
    assert batch(build_network(batch=1)) == (1, "free")
    assert batch(build_network(batch=1, pinned=True)) == (1, "rewritten")
    proto = onnx.load(build_network(batch=1))
    mean = helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1)
    proto.graph.node.extend([mean, helper.make_node("Add", ["logits", "mean"], ["mixed"])])
    proto.graph.output[0].name = "mixed"
    path = build_network()
    onnx.save(proto, path)
    looped = found(path)
    assert looped.batch is not None
    assert looped.batch.state == "looped"
    assert "a larger batch fails or changes the answer" in dict(rows(looped))["batch"]


def test_missing_facts_name_their_flag(build_network: BuildNetwork) -> None:
    """The file is inspected all the same."""
    stacked = found(build_network(layout="TCHW", batch=1))
    assert stacked.feeding is None
    assert "--frames" in messages(stacked)
    assert stacked.file.operators["Conv"] == 1
    told = found(build_network(layout="TCHW", batch=1), frames=T)
    assert told.feeding is not None
    assert (told.feeding.layout, told.problems) == ("TCHW", ())
    odd = found(build_network(channels=3, frames=3))
    assert "--layout" in messages(odd)
    assert odd.cost is None


def test_several_outputs_are_each_looked_at(build_network: BuildNetwork) -> None:
    """Which one is meant must be said; each has its kind, or why it cannot be explained."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node.append(helper.make_node("Softmax", ["logits"], ["shares"], axis=1))
    proto.graph.node.append(helper.make_node("ArgMax", ["logits"], ["best"], axis=1))
    proto.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, None))
    proto.graph.output.append(helper.make_tensor_value_info("shares", TensorProto.FLOAT, None))
    onnx.save(proto, path)
    inspection = found(path)
    kinds = {output.name: output.kind for output in inspection.outputs}
    assert kinds == {"logits": "logits", "best": None, "shares": "probabilities"}
    assert "int64, no scores" in str(inspection.outputs[1].problem)
    assert "give --output-name" in messages(inspection)
    assert inspection.output == "logits"
    chosen = found(path, output_name="shares")
    assert (chosen.output, chosen.problems) == ("shares", ())


def test_an_operator_without_a_gradient_is_named(build_network: BuildNetwork) -> None:
    """The cost is then that of queries alone."""
    path = build_network(opset=18)
    proto = onnx.load(path)
    whole = {"one": np.array([1]), "last": np.array([-1]), "image": np.array([1, 1])}
    for name, value in (whole | {"block": np.array([1, 1])}).items():
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    proto.graph.node[-1].output[0] = "flat_logits"
    proto.graph.node.extend(
        [
            helper.make_node("Unsqueeze", ["flat_logits", "last"], ["columns"]),
            helper.make_node("Col2Im", ["columns", "image", "block"], ["images"]),
            helper.make_node("Flatten", ["images"], ["logits"]),
        ]
    )
    onnx.save(proto, path)
    inspection = found(path)
    cost = inspection.cost
    assert cost is not None
    assert not cost.gradient.works
    assert "Col2Im" in cost.gradient.reason
    assert cost.autograd is None
    assert cost.queries.seconds > 0
    assert "Col2Im" in dict(rows(inspection))["gradients"]


def test_a_network_that_the_runtime_refuses_is_inspected_as_a_file(
    build_network: BuildNetwork,
) -> None:
    """How it would be fed is known, and the problem says what is refused."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node[-1].op_type = "Mystery"
    onnx.save(proto, path)
    inspection = found(path)
    assert "Mystery" in messages(inspection)
    assert inspection.file.operators["Mystery"] == 1
    assert inspection.feeding is not None
    assert inspection.cost is None


def test_a_network_fed_by_several_inputs(build_network: BuildNetwork) -> None:
    """The others are listed with what feeds them."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node[-1].output[0] = "cold"
    proto.graph.node.append(helper.make_node("Mul", ["cold", "heat"], ["logits"]))
    proto.graph.input.append(helper.make_tensor_value_info("heat", TensorProto.FLOAT, [1]))
    onnx.save(proto, path)
    inspection = found(path, input=["heat=2"])
    assert [value.name for value in inspection.file.inputs] == ["clip", "heat"]
    assert inspection.feeding is not None
    assert inspection.feeding.others == {"heat": "2"}
    assert inspection.cost is not None
    assert "heat" in messages(found(path))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """With exit code 3."""
    (tmp_path / "net.onnx").write_text("no network")
    for name in ("net.onnx", "absent.onnx"):
        with pytest.raises(ModelError) as caught:
            found(tmp_path / name)
        assert caught.value.exit_code == 3
