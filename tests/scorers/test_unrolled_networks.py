"""Tables of slices in time: whatever a random network convolves, scores are those of the fused graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tiemcli.facts import Facts
from tiemcli.kernels.tables import fronts
from tiemcli.kernels.unroll import find_unrolling
from tiemcli.kernels.upsample import gaussian_upsampling
from tiemcli.kernels.windows import enumerate_windows, window_membership
from tiemcli.kernels.work import value_shapes
from tiemcli.model import load_model
from tiemcli.scorers.network import load_network
from tiemcli.scorers.reuse.shared import Whole
from tiemcli.scorers.reuse.unrolled import UnrolledScorer, unrolled_at


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
    random_network(path, seed, layout, kinds, frames)
    model = load_model(path, Facts(layout=layout, output="logits"))
    network = load_network(model, "cpu", reuse=False)
    whole = Whole(model, model.proto, network.port, "cpu", None, None, memory=1 << 30)
    still = model.tensor(np.zeros((1, *model.shape), np.float32))
    shapes = value_shapes(model.proto, still, whole.run)
    unrolling = find_unrolling(model.proto, network.port, shapes)
    random = np.random.default_rng(seed)
    clip, base = random.normal(size=(2, *model.shape)).astype(np.float32)
    plain = network.whole(clip, base, 1)
    windows = 1 - window_membership(frames, enumerate_windows(frames, range(1, frames + 1)))
    grid = gaussian_upsampling(5, 5, 2.0, 1.5)
    cells = random.random((4, frames, *grid.cells), dtype=np.float32).round()
    for front in fronts(model.proto, model.output, unrolling, shapes) if unrolling else ():
        tables = unrolled_at(whole, front, 0.5)
        scorer = UnrolledScorer(tables, plain, clip, base, 1, pays=np.inf)
        for keep, upsampling, choice in (
            (windows, None, None),
            (random.random((3, frames, 5, 5), dtype=np.float32), None, None),
            (cells, grid, random.integers(0, 4, (6, frames))),
        ):
            np.testing.assert_allclose(
                scorer.score(keep, upsampling, choice),
                plain.score(keep, upsampling, choice),
                atol=1e-5,
            )
