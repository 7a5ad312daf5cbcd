"""Tables of slices in time: whatever a small network convolves, scores are those of the fused graph."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tiemcli.facts import Facts
from tiemcli.kernels.schedule import groups, schedule
from tiemcli.kernels.tables import Front, fronts
from tiemcli.kernels.unroll import find_unrolling
from tiemcli.kernels.upsample import gaussian_upsampling
from tiemcli.kernels.windows import enumerate_windows, window_membership
from tiemcli.kernels.work import value_shapes
from tiemcli.model import load_model
from tiemcli.scorers.fused import FusedScorer
from tiemcli.scorers.network import Network, load_network
from tiemcli.scorers.reuse.shared import Whole
from tiemcli.scorers.reuse.unrolled import Unrolled, UnrolledScorer, unroll, unrolled_at

PLENTY = 1 << 30


class Builder:
    """A random network under construction; a tensor is its name, C, T and the side of H and W."""

    def __init__(self, seed: int, channels: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels = channels

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def weight(self, *shape: int, whole: list[int] | None = None) -> str:
        value = self.random.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))
        array = value.astype(np.float32) if whole is None else np.array(whole)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x: str, sizes: tuple, kernel: tuple, out: int, same: bool) -> tuple[str, tuple]:
        """sizes: C, T, S. kernel: of T and S. same: sizes in time and space are kept."""
        c, t, s = sizes
        kt, ks = kernel
        draw = self.random.integers
        group = c if not same and draw(4) == 0 else 1
        out = c * 2 if group > 1 else out
        dilation = int(draw(1, 3)) if kt > 1 else 1
        reach = (kt - 1) * dilation
        stride_t, stride_s = (1, 1) if same else (int(draw(1, 3)), int(draw(1, 3)))
        left, right = (reach // 2, reach - reach // 2) if same else draw(0, reach + 2, 2).tolist()
        if t + left + right <= reach:
            left, right = reach, 1
        pad = (ks - 1) // 2 if same else int(draw(0, ks))
        pad = pad if same else max(pad, ks - s)
        inputs = [x, self.weight(out, c // group, kt, ks, ks)]
        if draw(2):
            inputs.append(self.weight(out))
        made = self.add(
            "Conv",
            *inputs,
            group=group,
            strides=[stride_t, stride_s, stride_s],
            dilations=[dilation, 1, 1],
            pads=[left, pad, pad, right, pad, pad],
        )
        t = (t + left + right - reach - 1) // stride_t + 1
        return made, (out, t, (s + 2 * pad - ks) // stride_s + 1)

    def block(self, x: str, sizes: tuple, kind: int) -> tuple[str, tuple]:
        c, t, s = sizes
        draw = self.random.integers
        kt, ks = int(draw(1, 4)), int(draw(1, 3)) * 2 - 1
        match kind:
            case 0:
                return self.conv(x, sizes, (kt, ks), int(draw(1, 5)), False)
            case 1:  # branches of different fields that meet
                y, _ = self.conv(x, sizes, (kt, ks), c, True)
                y, _ = self.conv(self.add("Relu", y), sizes, (3, 1), c, True)
                z = x if draw(2) else self.conv(x, sizes, (int(draw(1, 4)), 1), c, True)[0]
                return self.add(["Add", "Sub", "Max"][draw(3)], y, z), sizes
            case 2:
                size, stride = [kt, 2, 2], [int(draw(1, 3)), int(draw(1, 3)), 1]
                pads = [min(kt // 2, 1), 1, 0, min(kt // 2, 1), 0, 1]
                if s < 2 or t + 2 * pads[0] < kt:
                    return x, sizes
                y = self.add("MaxPool", x, kernel_shape=size, strides=stride, pads=pads)
                t = (t + 2 * pads[0] - kt) // stride[0] + 1
                # Rows and columns are kept apart here alone: a column more is cut off below.
                rows = (s + 1 - 2) // stride[1] + 1
                if rows == s:
                    return y, (c, t, s)
                return self.conv_to_square(y, c, t, rows, s)
            case 3:
                y, (_, _, _) = self.conv(x, sizes, (kt, ks), 2, True)
                z, _ = self.conv(x, sizes, (2, 1), 3, True)
                return self.add("Concat", y, x, z, axis=1), (c + 5, t, s)
            case 4:
                y = self.add("Mul", x, self.add("Sigmoid", x))
                return self.add("Add", y, self.weight(c, 1, 1, 1)), sizes
            case 5:
                scale, shift, mean = (self.weight(c) for _ in range(3))
                variance = self.weight(c)
                positive = numpy_helper.to_array(self.weights[-1]) ** 2 + 0.5
                self.weights[-1].CopyFrom(numpy_helper.from_array(positive, variance))
                return self.add("BatchNormalization", x, scale, shift, mean, variance), sizes
            case 6:
                # There and back again, by axes that no convolution would take.
                y = self.add("Transpose", x, perm=[0, 2, 3, 4, 1])
                y = self.add("Mul", y, self.weight(1, 1, s, 1, c))
                return self.add("Transpose", y, perm=[0, 4, 1, 2, 3]), sizes
            case _:
                low, high = self.weight(), self.weight()
                self.weights[-2].CopyFrom(numpy_helper.from_array(np.float32(-0.7), low))
                self.weights[-1].CopyFrom(numpy_helper.from_array(np.float32(1.5), high))
                y = self.add("Clip", self.add("LeakyRelu", x, alpha=0.2), low, high)
                if s < 2:
                    return y, sizes
                y = self.add("AveragePool", y, kernel_shape=[1, 2, 2], strides=[1, 1, 1])
                return y, (c, t, s - 1)

    def conv_to_square(self, x: str, c: int, t: int, rows: int, columns: int) -> tuple[str, tuple]:
        """A kernel as wide as there are columns more than rows."""
        kernel = self.weight(c, c, 1, 1, columns - rows + 1)
        return self.add("Conv", x, kernel), (c, t, rows)


def random_network(path: Path, seed: int, layout: str, kinds: list[int], frames: int) -> Path:
    """Blocks of those kinds, then the mean over time and space, a dense layer and 3 logits."""
    side, channels = 5, 3
    builder = Builder(seed, channels)
    order = [layout.index(axis) for axis in "NCTHW"]
    x, sizes = "clip", (channels, frames, side)
    if order != sorted(order):
        x = builder.add("Transpose", x, perm=order)
    for kind in kinds:
        x, sizes = builder.block(x, sizes, kind)
    x = builder.add("Flatten", builder.add("GlobalAveragePool", x))
    logits = builder.add("Gemm", x, builder.weight(sizes[0], 3))
    known = dict(zip("NCTHW", ["N", channels, frames, side, side], strict=True))
    graph = helper.make_graph(
        builder.nodes,
        "small",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, [known[a] for a in layout])],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["N", 3])],
        builder.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    layout=st.sampled_from(["NCTHW", "NCTHW", "NTCHW", "NTHWC", "NCHWT"]),
    kinds=st.lists(st.integers(0, 7), min_size=1, max_size=5),
    frames=st.integers(2, 9),
)
def test_scores_are_those_of_the_fused_graph(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    layout: str,
    kinds: list[int],
    frames: int,
) -> None:
    """Of any front, under windows, soft masks, grids of cells and any choice of them."""
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    network = network_of(random_network(path, seed, layout, kinds, frames), layout)
    random = np.random.default_rng(seed)
    grid = gaussian_upsampling(5, 5, 2.0, 1.5)
    cells = random.random((4, frames, *grid.cells), dtype=np.float32).round()
    for front in every_front(network):
        plain, scorer = scorers(network, unrolled_at(whole_of(network), front, 0.5))
        for keep, upsampling, choice in (
            (windows(frames), None, None),
            (random.random((3, frames, 5, 5), dtype=np.float32), None, None),
            (cells, grid, random.integers(0, 4, (6, frames))),
        ):
            np.testing.assert_allclose(
                scorer.score(keep, upsampling, choice),
                plain.score(keep, upsampling, choice),
                atol=1e-5,
            )


def deep(tmp_path: Path, frames: int = 9, channels: int = 24) -> Network:
    """Three convolutions of 3 frames each, and one that strides."""
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
    onnx.save(model, path)
    return network_of(path)


def found(network: Network, memory: int = PLENTY) -> Unrolled | None:
    return unroll(whole_of(network, memory))


def test_windows_cost_less_and_are_told(tmp_path: Path) -> None:
    """All windows of a network that convolves in time take fewer forwards than there are windows,
    and each is told once, as the work is done."""
    network = deep(tmp_path)
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
