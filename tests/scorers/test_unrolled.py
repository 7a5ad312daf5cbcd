"""Tables of slices in time: what they save, within what memory, and where there are none."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiemcli.facts import Facts
from tiemcli.kernels.schedule import groups, schedule
from tiemcli.kernels.tables import Front, fronts
from tiemcli.kernels.unroll import find_unrolling
from tiemcli.kernels.windows import enumerate_windows, window_membership
from tiemcli.kernels.work import value_shapes
from tiemcli.model import load_model
from tiemcli.scorers.fused import FusedScorer
from tiemcli.scorers.network import Network, load_network
from tiemcli.scorers.reuse.shared import Whole
from tiemcli.scorers.reuse.unrolled import Unrolled, UnrolledScorer, unroll, unrolled_at

# A bug in the search for reuse is such a warning.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

PLENTY = 1 << 30


def network_of(path: Path, layout: str = "NCTHW") -> Network:
    return load_network(load_model(path, Facts(layout=layout, output="logits")), "cpu", reuse=False)


def whole_of(network: Network, memory: int = PLENTY) -> Whole:
    model = network.model
    return Whole(model, model.proto, network.port, "cpu", None, None, memory)


def every_front(network: Network) -> list[Front]:
    """The network cut wherever it can be."""
    model, whole = network.model, whole_of(network)
    still = model.tensor(np.zeros((1, *model.shape), np.float32))
    shapes = value_shapes(model.proto, still, whole.run)
    unrolling = find_unrolling(model.proto, network.port, shapes)
    if unrolling is None:
        return []
    return list(fronts(model.proto, model.output, unrolling, shapes))


def scorers(
    network: Network, tables: Unrolled, pays: float = np.inf
) -> tuple[FusedScorer, UnrolledScorer]:
    """Without tables, and with them wherever they take no more than that share of the time."""
    clip, base = clip_and_base(network)
    plain = network.whole(clip, base, 1)
    return plain, UnrolledScorer(tables, plain, clip, base, 1, pays=pays)


def clip_and_base(network: Network) -> np.ndarray:
    random = np.random.default_rng(1)
    return random.normal(size=(2, *network.model.shape)).astype(np.float32)


def windows(frames: int) -> np.ndarray:
    every = enumerate_windows(frames, range(1, frames + 1))
    return 1 - window_membership(frames, every)


def deep(tmp_path: Path, frames: int = 9, channels: int = 24, apart: bool = False) -> Network:
    """Three convolutions of 3 frames each, and one that strides. apart: weights in another file."""
    random = np.random.default_rng(0)
    sizes = [3, *[channels] * 4]
    nodes, weights, x = [], [], "clip"
    for index, (c, out) in enumerate(itertools.pairwise(sizes)):
        value = random.normal(size=(out, c, 3, 3, 3)).astype(np.float32) / np.float32(5 * c**0.5)
        weights.append(numpy_helper.from_array(value, f"w{index}"))
        stride = 2 if index == 2 else 1
        nodes += [
            helper.make_node(
                "Conv", [x, f"w{index}"], [f"c{index}"], pads=[1] * 6, strides=[stride, 1, 1]
            ),
            helper.make_node("Relu", [f"c{index}"], [f"r{index}"]),
        ]
        x = f"r{index}"
    dense = random.normal(size=(channels, 3)).astype(np.float32)
    weights.append(numpy_helper.from_array(dense, "dense"))
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["N", 3, frames, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "deep.onnx"
    onnx.save(model, path, save_as_external_data=apart, size_threshold=0)
    return network_of(path)


def found(network: Network, memory: int = PLENTY) -> Unrolled | None:
    return unroll(whole_of(network, memory))


@pytest.mark.parametrize("apart", [False, True])
def test_windows_cost_less_and_are_told(apart: bool, tmp_path: Path) -> None:
    """All windows of a network that convolves in time take fewer forwards than there are windows,
    and each is told once, as the work is done; wherever the weights lie."""
    network = deep(tmp_path, apart=apart)
    tables = found(network)
    assert tables is not None
    plain, scorer = scorers(network, tables, pays=0.85)
    keep, told = windows(9), list[int]()
    scores = scorer.score(keep, progress=told.append)
    np.testing.assert_allclose(scores, plain.score(keep), atol=1e-5)
    assert scorer.forwards == sum(told) == len(keep)
    assert len(told) > 3
    assert scorer.computed < 0.85 * len(keep)
    assert 0.15 < tables.saved < 1
    assert "%" in tables.description


def test_masks_that_share_nothing_are_scored_plainly(tmp_path: Path) -> None:
    """Where every frame of every clip is another, tables would only cost: none is filled, and the
    scores are the fused graph's own."""
    network = deep(tmp_path)
    tables = found(network)
    assert tables is not None
    plain, scorer = scorers(network, tables, pays=0.85)
    keep = np.random.default_rng(3).random((5, 9, 12, 12), dtype=np.float32)
    told = list[int]()
    scores = scorer.score(keep, progress=told.append)
    np.testing.assert_array_equal(scores, plain.score(keep))
    assert scorer.computed == scorer.forwards == sum(told) == 5


def test_outputs_are_those_of_the_fused_graph(tmp_path: Path) -> None:
    """Every output comes by tables even where they do not pay, for groups of clips in any order."""
    network = deep(tmp_path)
    front = every_front(network)[-1]
    random = np.random.default_rng(3)
    keep = np.concatenate([windows(9)[::-1], random.random((3, 9), dtype=np.float32)])
    needed = schedule(front, front.rows(np.arange(9)[None])).bytes
    plain, scorer = scorers(network, unrolled_at(whole_of(network, 4 * needed), front, 0.5))
    np.testing.assert_allclose(scorer.outputs(keep), plain.outputs(keep), atol=1e-5)
    assert scorer.forwards == len(keep)


def test_little_memory_splits_the_clips(tmp_path: Path) -> None:
    """Tables that do not fit are filled for groups of clips, each within the memory, and the scores
    stay the same; where no memory suffices there are no tables."""
    network = deep(tmp_path)
    plenty = found(network)
    assert plenty is not None
    front = plenty.tables.front
    ids = np.arange(9) + 9 * (1 - windows(9).astype(np.int64))
    most = np.inf
    (whole,), cheap = groups(front, ids, PLENTY, most) or ([], 0)
    needed = schedule(front, front.rows(ids[whole])).bytes
    parts, dear = groups(front, ids, needed // 2, most) or ([], 0)
    assert len(parts) > 1
    assert dear > cheap
    assert sorted(np.concatenate(parts)) == list(range(len(ids)))
    assert all(schedule(front, front.rows(ids[p])).bytes <= needed // 2 for p in parts)
    tight = unrolled_at(whole_of(network, needed // 2), front, 0.5)
    plain, scorer = scorers(network, tight)
    np.testing.assert_allclose(scorer.score(windows(9)), plain.score(windows(9)), atol=1e-5)
    assert found(network, memory=1000) is None


def test_long_clips_take_no_more_memory_than_their_fields(tmp_path: Path) -> None:
    """Rows are forgotten once nothing reads them: single frames hidden in a clip four times as long
    take far less than four times the memory."""

    def needed(frames: int) -> int:
        network = deep(tmp_path, frames)
        front = every_front(network)[-1]
        hidden = np.arange(frames) + frames * np.eye(frames, dtype=np.int64)
        return schedule(front, front.rows(hidden)).bytes

    assert needed(64) < 2.5 * needed(16)


def test_only_a_free_batch_on_the_cpu_is_unrolled(tmp_path: Path) -> None:
    """Clips that go one by one share no tables."""
    whole = whole_of(deep(tmp_path))
    assert unroll(whole) is not None
    assert unroll(replace(whole, looped=1)) is None


@pytest.mark.parametrize("body", ["conv over the whole clip", "mean over time", "frames in a row"])
def test_time_mixed_at_once_leaves_nothing_to_share(tmp_path: Path, body: str) -> None:
    """A network whose first layer sees the whole clip is not offered tables."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 6, 1, 1)).astype(np.float32)
    weights = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([2]), "time"),
        numpy_helper.from_array(np.array([0, 18, 4, 4]), "shape"),
    ]
    front = {
        "conv over the whole clip": helper.make_node("Conv", ["clip", "kernel"], ["x"]),
        "mean over time": helper.make_node("ReduceMean", ["clip"], ["x"], axes=[2]),
        "frames in a row": helper.make_node("Reshape", ["clip", "shape"], ["x"]),
    }[body]
    nodes = [
        front,
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("GlobalAveragePool", ["y"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["N", 3, 6, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", "K"])],
        [w for w in weights if w.name in front.input],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "mixed.onnx"
    onnx.save(model, path)
    network = network_of(path)
    assert every_front(network) == []
    assert found(network) is None
