"""Which numbers of an output are one clip's, and which of its axes are rows and classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.model import Model, load_model
from tiemcli.scorers.answer import rows_of
from tiemcli.scorers.network import load_network

T = 4
ModelOf = Callable[..., Model]


@pytest.fixture
def model_of(build_network: Callable[..., Path]) -> ModelOf:
    """A network of T frames whose file fixes the batch, or not, with facts that a user says."""

    def build(batch: int | None = None, **facts: object) -> Model:
        return load_model(build_network(frames=T, batch=batch), Facts.model_validate(facts))

    return build


def outputs(shape: tuple[int, ...], clips: int, axis: int = 0) -> np.ndarray:
    """An output (…, clips, …) in which copies of a clip are alike."""
    one = np.random.default_rng(1).random((*shape[:axis], 1, *shape[axis + 1 :]), np.float32)
    return one.repeat(clips, axis)


@pytest.mark.parametrize(
    ("shape", "rows", "classes"),
    [
        ((5,), 1, 5),
        ((), 1, 1),
        ((1, 1), 1, 1),
        ((1, 5, 1, 1), 1, 5),
        ((1, 1, 5), 1, 5),
        ((T, 5), T, 5),
        ((1, T, 5), T, 5),
        ((1, 5, T), T, 5),
        ((1, 2, T), T, 2),
        ((1, T, 2), T, 2),
        ((1, 2, 7), 2, 7),
        ((1, 7, 2), 2, 7),
        ((1, T, T), T, T),
    ],
)
def test_rows_are_frames_or_windows_that_share_them_out(
    shape: tuple[int, ...], rows: int, classes: int, model_of: ModelOf
) -> None:
    """An axis as long as the clip holds its frames, wherever it is; the other the classes."""
    answer = np.random.default_rng(0).random(shape, np.float32)
    found = rows_of(model_of(), answer)
    assert found.values.shape == (rows, classes)
    own = np.squeeze(answer).T if found.classes_first else np.squeeze(answer)
    np.testing.assert_array_equal(np.squeeze(found.values), own)


@pytest.mark.parametrize(
    ("facts", "rows", "classes"),
    [
        ({"aggregate": "max"}, 2, 1),
        ({"aggregate": "max", "labels": ["no", "yes"]}, 1, 2),
        ({"aggregate": "max", "output": "logits"}, 1, 2),
        ({}, 1, 2),
    ],
)
def test_a_single_row_is_one_number_a_window_if_it_must_be_aggregated(
    facts: dict, rows: int, classes: int, model_of: ModelOf
) -> None:
    """Unless its numbers are classes, as labels or logits are."""
    found = rows_of(model_of(**facts), np.array([[0.3, 0.6]], np.float32))
    assert found.values.shape == (rows, classes)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 5), (2, T, 5), (2, 5, T)])
def test_of_a_full_batch_the_first_clip_counts(shape: tuple[int, ...], model_of: ModelOf) -> None:
    """Also where each clip's answer is one number without an axis of its own."""
    answer = outputs(shape, clips=2)
    rows = rows_of(model_of(batch=2), answer).values
    assert rows.size == answer.size // 2
    assert set(rows.flat) == set(answer[0].astype(float).flat)


@pytest.mark.parametrize(("shape", "axis"), [((T, T, 5), 1), ((2, T, 5), 1)])
def test_an_output_in_another_order_is_an_error(
    shape: tuple[int, ...], axis: int, model_of: ModelOf
) -> None:
    """Copies of one clip answer alike, so that time in front of the batch is seen."""
    with pytest.raises(ModelError, match=r"order of its 4 clips|not one row"):
        rows_of(model_of(batch=T), outputs(shape, T, axis))
    folded = outputs((T, 2, 5), 2, 1).reshape(2 * T, 5)
    with pytest.raises(ModelError, match="order of its 2 clips"):
        rows_of(model_of(batch=2), folded)


@pytest.mark.parametrize("shape", [(1, 0), (0, 5), (1, 0, 5), (1, 5, 0), (3, 1, 1, 5)])
def test_an_output_without_a_row_a_clip_is_an_error(
    shape: tuple[int, ...], model_of: ModelOf
) -> None:
    """Its shape is told."""
    with pytest.raises(ModelError, match="not one row of scores"):
        rows_of(model_of(), np.ones(shape, np.float32))


def test_an_output_that_is_no_tensor_is_an_error(build_network: Callable[..., Path]) -> None:
    """A sequence of tensors that could pass for one, for instance."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node.append(helper.make_node("SequenceConstruct", ["logits"], ["several"]))
    proto.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("several", TensorProto.FLOAT, None)
    )
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="'several' is no tensor"):
        load_model(path, Facts())


def test_a_network_that_always_answers_the_same_is_loaded(
    build_network: Callable[..., Path],
) -> None:
    """Its output has no range to compare with, and rounds all the same."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node.append(helper.make_node("Sub", ["logits", "logits"], ["zeros"]))
    proto.graph.output[0].name = "zeros"
    onnx.save(proto, path)
    network = load_network(load_model(path, Facts()), "cpu")
    assert (network.looped, network.port.output_kind) == (None, "logits")


def test_one_number_for_a_whole_batch_is_scored_clip_by_clip(
    build_network: Callable[..., Path],
) -> None:
    """A mean over the clips of a fixed batch cannot be freed, and is none in a batch of one."""
    path = build_network(batch=1)
    proto = onnx.load(path)
    proto.graph.node.append(helper.make_node("ReduceMean", ["logits"], ["mean"], keepdims=0))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("mean", TensorProto.FLOAT, []))
    onnx.save(proto, path)
    network = load_network(load_model(path, Facts()), "cpu")
    assert (network.looped, network.port.output_kind) == (1, "value")
