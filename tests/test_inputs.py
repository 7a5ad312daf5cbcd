"""Networks of several inputs, and of several rows of answers a clip: what the file's own session
says, fed by hand, is what Φ and its gradient are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiemcli.errors import ModelError
from tiemcli.exporters import metadata
from tiemcli.extremal.backend import differentiate
from tiemcli.extremal.objective import Objective
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.network import Network, load_network

FLOAT, HEIGHT, WIDTH, CLASSES = TensorProto.FLOAT, 12, 16, 3
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A function that writes a network of the given nodes, inputs, outputs and weights."""

    def write(nodes, inputs, output: tuple[str, list], weights=(), facts=None) -> Path:
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info(name, kind, dims) for name, kind, dims in inputs],
            [helper.make_tensor_value_info(output[0], FLOAT, output[1])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in weights],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        metadata.write(model, facts or {})
        onnx.checker.check_model(model)
        onnx.save(model, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    return write


@pytest.fixture
def two_pathways(save: Save) -> Callable[..., Path]:
    """A SlowFast-like network: a slow and a fast pathway, convolved, pooled and joined."""

    def build(batch: int | str = "N", slow: int | str = 2, fast: int | str = 5, **other) -> Path:
        random = np.random.default_rng(3)
        nodes = []
        for name in ("slow", "fast"):
            nodes += [
                helper.make_node("Conv", [name, f"{name}.kernel"], [f"{name}.maps"], pads=[1] * 6),
                helper.make_node("Relu", [f"{name}.maps"], [f"{name}.active"]),
                helper.make_node("GlobalAveragePool", [f"{name}.active"], [f"{name}.pooled"]),
                helper.make_node("Flatten", [f"{name}.pooled"], [f"{name}.vector"]),
            ]
        nodes += [
            helper.make_node("Concat", ["slow.vector", "fast.vector"], ["both"], axis=1),
            helper.make_node("MatMul", ["both", "dense"], ["logits"]),
        ]
        kernel = {n: random.normal(size=(4, 3, 3, 3, 3)).astype(np.float32) for n in "ab"}
        dense = (3 * random.normal(size=(8, CLASSES))).astype(np.float32)
        weights = [("slow.kernel", kernel["a"]), ("fast.kernel", kernel["b"]), ("dense", dense)]
        inputs = [
            ("slow", other.get("kind", FLOAT), [batch, 3, slow, HEIGHT, WIDTH]),
            ("fast", FLOAT, [batch, 3, fast, HEIGHT, other.get("width", WIDTH)]),
        ]
        return save(nodes, inputs, ("logits", [batch, CLASSES]), weights)

    return build


def ready(path: Path, **facts) -> Network:
    return load_network(load_model(path, Facts(**facts)), "cpu", 3)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max())
    return exponential / exponential.sum()


def clip_and_base(network: Network) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return tuple(random.random(network.model.shape, dtype=np.float32) for _ in range(2))


def check(network: Network, answer: Callable[[np.ndarray], np.ndarray]) -> None:
    """Scores under masks are `answer` of the blended clips, and gradients are to be had."""
    clip, base = clip_and_base(network)
    target = network.port.classes - 1
    scorer = network.scorer(clip, base, target)
    keep = np.random.default_rng(1).random((4, *scorer.shape), dtype=np.float32)
    expected = [answer(base + mask * (clip - base))[target] for mask in keep]
    np.testing.assert_allclose(scorer.score(keep), expected, atol=1e-5, rtol=1e-4)
    objective = Objective(float(network.outputs(clip)[target]), network.port.output_kind == "value")
    outcome = differentiate(network, clip, base, target, objective, "autograd")
    assert outcome.clip is not None, outcome.reason


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_slow_pathway_sees_frames_of_the_fast_one(
    batch: int | str, two_pathways: Callable[..., Path]
) -> None:
    """The longer input is the clip, the other takes its frames at even steps, and it is said."""
    path = two_pathways(batch)
    network = ready(path)
    session = ort.InferenceSession(path)

    def by_hand(clip: np.ndarray) -> np.ndarray:
        fed = {"slow": clip[None, :, [0, 4]], "fast": clip[None]}
        return softmax(session.run(None, fed)[0][0])

    assert network.model.input == "fast"
    assert network.model.reading()["input"] == {"slow": "clip:2"}
    assert "input slow takes 2 of the clip's frames" in network.notes
    assert network.looped is None
    check(network, by_hand)


def test_pathways_of_open_length_are_told_by_flags(two_pathways: Callable[..., Path]) -> None:
    """`clip` says which input is the clip, `clip:3` how many of its frames the other takes."""
    path = two_pathways("N", "T1", "T2")
    with pytest.raises(ModelError, match="2 inputs") as error:
        ready(path, frames=6)
    assert "--input" in error.value.hint
    network = ready(path, frames=6, input={"fast": "clip", "slow": "clip:3"})
    session = ort.InferenceSession(path)

    def by_hand(clip: np.ndarray) -> np.ndarray:
        fed = {"slow": clip[None, :, [0, 2, 5]], "fast": clip[None]}
        return softmax(session.run(None, fed)[0][0])

    check(network, by_hand)


def test_an_input_may_be_the_same_clip(two_pathways: Callable[..., Path]) -> None:
    """Two streams that both take all frames: one is the clip, and so is the other."""
    path = two_pathways("N", 4, 4)
    network = ready(path, input=["slow=clip", "fast=clip"])
    session = ort.InferenceSession(path)
    check(
        network,
        lambda clip: softmax(session.run(None, {"slow": clip[None], "fast": clip[None]})[0][0]),
    )


@pytest.mark.parametrize(
    ("other", "facts", "reason"),
    [
        ({"width": 15}, {}, "2 inputs"),
        ({"kind": TensorProto.FLOAT16}, {}, "no pathway beside"),
        ({}, {"input": {"slow": "clip:3"}}, "cannot take 3"),
        ({}, {"input": {"slow": "clip:x"}}, "cannot take x"),
        ({}, {"input": {"middle": "1"}}, "no input 'middle'"),
        ({}, {"input": {"slow": "1,2,3"}}, "takes numbers of shape"),
        ({}, {"input": {"slow": "many"}}, "slow=many"),
        ({}, {"input": {"slow": "nowhere.npy"}}, "No such file"),
        ({}, {"input": {"slow": "1", "fast": "1"}}, "none is the clip"),
        ({"slow": "T1"}, {"input": {"fast": "clip"}}, "nothing feeds .* 'slow', FLOAT of shape"),
    ],
)
def test_inputs_that_cannot_be_fed_are_told(
    other: dict, facts: dict, reason: str, two_pathways: Callable[..., Path]
) -> None:
    """One line says which input is the trouble and what may be given."""
    with pytest.raises(ModelError, match=reason):
        ready(two_pathways(**other), **facts)


def gated(save: Save, dims: list, kind: int, batch: int | str = "N", facts=None) -> Path:
    """Pooled channels times a gate, which is another input of the network."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["clip"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["channels"]),
        helper.make_node("Cast", ["gate"], ["gate.float"], to=FLOAT),
        helper.make_node("Mul", ["channels", "gate.float"], ["logits"]),
    ]
    inputs = [("clip", FLOAT, [batch, 3, 4, HEIGHT, WIDTH]), ("gate", kind, dims)]
    return save(nodes, inputs, ("logits", [batch, 3]), facts=facts)


@pytest.mark.parametrize(
    ("dims", "kind", "value", "gate"),
    [
        ([], FLOAT, "2.5", [2.5] * 3),
        (["N", 3], FLOAT, "1,-2,3", [1, -2, 3]),
        (["rows", 3], FLOAT, "1,-2,3", [1, -2, 3]),
        ([1, 3], FLOAT, "4", [4] * 3),
        ([3], TensorProto.INT64, "1,2,3", [1, 2, 3]),
        (["N", 1], TensorProto.BOOL, "1", [1] * 3),
        (["N", "channels"], FLOAT, "gate.npy", [0.5, 1, 2]),
    ],
)
@pytest.mark.parametrize("batch", ["N", 1])
def test_a_constant_input_is_the_same_for_every_clip(
    batch: int | str, dims: list, kind: int, value: str, gate: list, save: Save, tmp_path: Path
) -> None:
    """--input NAME=VALUE: a number fills the shape, an open first axis follows the batch."""
    np.save(tmp_path / "gate.npy", np.array([[0.5, 1, 2]]))
    text = str(tmp_path / value) if value.endswith(".npy") else value
    path = gated(save, [1 if d == "N" and batch == 1 else d for d in dims], kind, batch)
    network = ready(path, input={"gate": text})
    check(network, lambda clip: softmax(clip.mean(axis=(1, 2, 3)) * gate))


def test_constants_come_from_the_files_too(save: Save, tmp_path: Path) -> None:
    """A flag wins over net.toml, which wins over the metadata, input by input."""
    path = gated(save, [], FLOAT, facts={"input": {"gate": 2}})
    assert ready(path).model.fed == {"gate": "2"}
    np.save(tmp_path / "gate.npy", np.float32(7))
    (tmp_path / "net.toml").write_text('[input]\ngate = "gate.npy"\n')
    assert ready(path).model.fed == {"gate": str(tmp_path / "gate.npy")}
    assert ready(path, input={"gate": "3"}).model.fed == {"gate": "3"}


def test_a_strangers_metadata_feeds_no_file(save: Save) -> None:
    """Only the user may name a file to read."""
    with pytest.raises(ModelError, match="names a file"):
        ready(gated(save, [], FLOAT, facts={"input": {"gate": "/etc/secret.npy"}}))


def windowed(save: Save, form: str) -> Path:
    """Per-frame mean colours, as rows or columns of the answer, in the forms that exporters give."""
    nodes = [helper.make_node("ReduceMean", ["clip"], ["colors"], axes=[3, 4], keepdims=0)]
    dims: list[int | str]
    match form:
        case "classes first":
            nodes.append(helper.make_node("Identity", ["colors"], ["answer"]))
            dims = ["N", 3, 4]
        case "rows":
            nodes.append(helper.make_node("Transpose", ["colors"], ["answer"], perm=[0, 2, 1]))
            dims = ["N", 4, 3]
        case "folded rows":
            nodes.append(helper.make_node("Transpose", ["colors"], ["rows"], perm=[0, 2, 1]))
            nodes.append(helper.make_node("Reshape", ["rows", "shape"], ["answer"]))
            dims = ["NW", 3]
        case "one number a frame":
            nodes.append(
                helper.make_node("ReduceMean", ["colors"], ["answer"], axes=[1], keepdims=0)
            )
            dims = ["N", 4]
    inputs = [("clip", FLOAT, ["N", 3, 4, HEIGHT, WIDTH])]
    weights = [("shape", np.array([-1, 3]))] if form == "folded rows" else []
    return save(nodes, inputs, ("answer", dims), weights)


@pytest.mark.parametrize("aggregate", ["mean", "max", 2, -1])
@pytest.mark.parametrize("form", ["rows", "classes first", "folded rows", "one number a frame"])
def test_rows_become_one_answer(form: str, aggregate: str | int, save: Save) -> None:
    """The mean, the largest, or one row, whatever the order of the output's axes."""
    network = ready(windowed(save, form), aggregate=aggregate)
    single = form == "one number a frame"
    assert (network.port.rows, network.port.classes) == (4, 1 if single else 3)

    def by_hand(clip: np.ndarray) -> np.ndarray:
        rows = clip.mean(axis=(2, 3)).T
        rows = rows.mean(axis=1, keepdims=True) if single else rows
        reduce = {"mean": rows.mean(axis=0), "max": rows.max(axis=0)}
        row = reduce[aggregate] if aggregate in reduce else rows[aggregate]
        return row if single else softmax(row)

    check(network, by_hand)


def test_an_aggregate_that_nobody_named_is_told(save: Save) -> None:
    """The mean is assumed, and said to be; an index that there is not is an error."""
    path = windowed(save, "rows")
    assert "the answer is the mean over frames" in ready(path).notes
    with pytest.raises(ModelError, match="none of index 4") as error:
        ready(path, aggregate=4)
    assert "--aggregate" in error.value.hint


def test_labels_tell_classes_from_windows(save: Save) -> None:
    """Of two axes, the one as long as the labels are many holds the classes."""
    network = ready(windowed(save, "rows"), labels=tuple("abcd"))
    assert (network.port.rows, network.port.classes_first) == (3, True)
