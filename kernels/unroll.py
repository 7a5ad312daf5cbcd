"""A network's front with its time unrolled: every tensor a table of slices, each computed once.

A temporal convolution of k taps becomes k spatial ones over the slices that it reads, and a sum of k
gathered rows: its work goes with the slices that differ, not with the clips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from tiemcli.kernels.arrays import Ints
from tiemcli.kernels.fuse import Port
from tiemcli.kernels.slices import Builder, Mixed, Slices, Unrolling
from tiemcli.kernels.work import Shapes

# Operators whose further inputs, if any, are constants of one number.
_ELEMENTWISE = (
    "Abs Celu Clip Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Mish Neg Relu Selu "
    "Sigmoid Softplus Softsign Sqrt Tanh"
).split()
_BROADCAST = "Add Div Max Min Mul PRelu Pow Sub Sum".split()


def find_unrolling(model: onnx.ModelProto, port: Port, shapes: Shapes) -> Unrolling | None:
    """The tables that a network's front can be computed in; None where time is mixed at once.

    model: with its weights. shapes: of the network's values, fed a single clip.
    """
    if sorted(port.layout) != sorted("NCTHW") or port.element_type != TensorProto.FLOAT:
        return None
    builder, rules = Builder(model, port, shapes), _rules()
    for node in model.graph.node:
        rule = rules.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
            continue
        if builder.slices.keys().isdisjoint(node.input):
            continue
        kept = len(builder.nodes)
        try:
            rule(builder, node)
        except Mixed:
            del builder.nodes[kept:]
    if len(builder.levels) == 1:
        return None
    return Unrolling(
        port.input,
        tuple(builder.levels),
        tuple(builder.nodes),
        builder.slices,
        builder.reads,
        builder.weights,
    )


@dataclass(frozen=True)
class _Kernel:
    """The geometry of a convolution or a pooling: along time, and as attributes along H and W."""

    taps: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    spatial: dict[str, list[int]]
    order: list[int]

    @property
    def instant(self) -> bool:
        return self.taps == 1 and self.stride == 1 and self.pads == (0, 0)

    def places(self, count: int) -> list[Ints]:
        """For each tap the places that it reads for the first `count` places made, padding too."""
        steps = np.arange(count) * self.stride - self.pads[0]
        return [steps + tap * self.dilation for tap in range(self.taps)]


def _kernel(node: onnx.NodeProto, axes: str, sizes: Sequence[int]) -> _Kernel:
    """sizes: of the kernel, in the order of the network's own axes."""
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    padding = given.get("auto_pad", b"NOTSET")
    if axes[:2] != "NC" or given.get("ceil_mode") or padding not in (b"NOTSET", b"VALID"):
        raise Mixed
    order = [axes[2:].index(axis) for axis in "THW"]
    stride, dilation = given.get("strides", [1] * 3), given.get("dilations", [1] * 3)
    pads = given.get("pads", [0] * 6) if padding == b"NOTSET" else [0] * 6
    t, h, w = order
    spatial = {
        "kernel_shape": [sizes[h], sizes[w]],
        "strides": [stride[h], stride[w]],
        "pads": [pads[h], pads[w], pads[h + 3], pads[w + 3]],
    }
    if (dilation[h], dilation[w]) != (1, 1):  # not every version of a pooling knows of any
        spatial["dilations"] = [dilation[h], dilation[w]]
    return _Kernel(sizes[t], stride[t], dilation[t], (pads[t], pads[t + 3]), spatial, order)


def _convolution(builder: Builder, node: onnx.NodeProto) -> None:
    (source, *constants), output = node.input, node.output[0]
    if source not in builder.slices or not builder.constants.keys() >= set(filter(None, constants)):
        raise Mixed
    x, weight = builder.slices[source], builder.constants[constants[0]]
    kernel = _kernel(node, x.axes, weight.shape[2:])
    weight = weight.transpose(0, 1, *(2 + axis for axis in kernel.order))
    bias = [constants[1]] if len(constants) > 1 and constants[1] else []
    for name in bias:
        builder.constant(name, builder.constants[name])
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    made = dict(zip(x.axes, builder.shapes[output], strict=True))
    work = made["C"] * made["H"] * made["W"] * weight[0, :, 0].size
    shape = (made["C"], made["H"], made["W"])

    def spatial(tap: int, name: str, bias: list[str]) -> None:
        taken = builder.constant(f"tiem.{name}.weight", weight[:, :, tap])
        inputs = [source, taken, *bias]
        builder.add("Conv", inputs, name, x.level, {"group": group, **kernel.spatial}, work)

    if kernel.instant:
        spatial(0, output, bias)
        builder.know(output, x.level, x.axes)
        return
    there = len(builder.levels[x.level].reach)
    places = [np.where((at >= 0) & (at < there), at, -1) for at in kernel.places(made["T"])]
    used = [tap for tap, at in enumerate(places) if (at >= 0).any()]
    if not used:
        raise Mixed  # nothing but padding
    names = [f"{output}.tap{tap}" for tap in used]
    for tap, name in zip(used, names, strict=True):
        builder.slices[name] = Slices(x.level, x.axes, shape)
        # Where one tap always falls on the clip it carries the bias, at no cost.
        carries = tap == next((t for t in used if (places[t] >= 0).all()), None)
        spatial(tap, name, bias if carries else [])
        bias = [] if carries else bias
    level, gathered = builder.gathered(names, [places[tap] for tap in used], "tap")
    total = f"{output}.sum" if bias else output
    builder.add("Sum", gathered, total, level, {})
    if bias:  # not in the sum, which does not broadcast in the oldest version
        flat = builder.constants[bias[0]].reshape(1, -1, 1, 1)
        every = builder.constant(f"tiem.{bias[0]}.rows", flat)
        builder.add("Add", [total, every], output, level, {})
    builder.know(output, level, x.axes)


def _max_pool(builder: Builder, node: onnx.NodeProto) -> None:
    source, output = node.input[0], node.output[0]
    x = builder.slices[source]
    sizes = next(a.ints for a in node.attribute if a.name == "kernel_shape")
    kernel = _kernel(node, x.axes, sizes)
    if kernel.instant:
        builder.add("MaxPool", [source], output, x.level, kernel.spatial)
        builder.know(output, x.level, x.axes)
        return
    made = dict(zip(x.axes, builder.shapes[output], strict=True))
    pooled = f"{output}.slice"
    builder.add("MaxPool", [source], pooled, x.level, kernel.spatial)
    builder.slices[pooled] = Slices(x.level, x.axes, (made["C"], made["H"], made["W"]))
    # What falls outside counts for nothing: the nearest tap inside is taken twice instead.
    there = len(builder.levels[x.level].reach)
    places = np.stack(kernel.places(made["T"]))
    inside = (places >= 0) & (places < there)
    if not inside.any(axis=0).all():
        raise Mixed
    some = np.take_along_axis(places, inside.argmax(axis=0)[None], axis=0)
    places = np.where(inside, places, some)
    level, gathered = builder.gathered([pooled] * len(places), list(places), "tap")
    builder.add("Max", gathered, output, level, {})
    builder.know(output, level, x.axes)


def _average_pool(builder: Builder, node: onnx.NodeProto) -> None:
    x = builder.slices[node.input[0]]
    sizes = next(a.ints for a in node.attribute if a.name == "kernel_shape")
    kernel = _kernel(node, x.axes, sizes)
    if not kernel.instant:
        raise Mixed
    counted = next((a.i for a in node.attribute if a.name == "count_include_pad"), 0)
    attributes = {"count_include_pad": counted, **kernel.spatial}
    builder.add("AveragePool", node.input, node.output[0], x.level, attributes)
    builder.know(node.output[0], x.level, x.axes)


def _elementwise(builder: Builder, node: onnx.NodeProto) -> None:
    source, *constants = node.input
    if source not in builder.slices:
        raise Mixed
    for name in filter(None, constants):
        if builder.constants.get(name, np.zeros(2)).size != 1:
            raise Mixed
        builder.constant(name, builder.constants[name])
    x = builder.slices[source]
    builder.copy(node, node.input, x.level)
    builder.know(node.output[0], x.level, x.axes)


def _normalization(builder: Builder, node: onnx.NodeProto) -> None:
    """BatchNormalization of the channels by constants."""
    source, *constants = node.input
    if source not in builder.slices or not builder.constants.keys() >= set(constants):
        raise Mixed
    x = builder.slices[source]
    if x.axes[:2] != "NC":
        raise Mixed
    for name in constants:
        builder.constant(name, builder.constants[name])
    builder.copy(node, node.input, x.level)
    builder.know(node.output[0], x.level, x.axes)


def _broadcast(builder: Builder, node: onnx.NodeProto) -> None:
    """Tensors of the same axes, and constants that do not change in time."""
    rows = [name for name in node.input if name in builder.slices]
    axes = {builder.slices[name].axes for name in rows}
    if len(axes) > 1:
        raise Mixed
    (letters,) = axes
    level = builder.join(rows)
    inputs = []
    for name in node.input:
        if name in builder.slices:
            inputs.append(builder.at(name, level))
            continue
        if name not in builder.constants or builder.constants[name].ndim > len(letters):
            raise Mixed
        value = builder.constants[name]
        value = value.reshape((1,) * (len(letters) - value.ndim) + value.shape)
        value = value.transpose([letters.index(axis) for axis in "NTCHW"])
        if value.shape[:2] != (1, 1):
            raise Mixed
        inputs.append(builder.constant(f"tiem.{name}.{letters}", value[0]))
    builder.copy(node, inputs, level)
    builder.know(node.output[0], level, letters)


def _concatenation(builder: Builder, node: onnx.NodeProto) -> None:
    """Of channels."""
    if not builder.slices.keys() >= set(node.input):
        raise Mixed
    axes = {builder.slices[name].axes for name in node.input}
    (axis,) = (a.i for a in node.attribute if a.name == "axis")
    if len(axes) > 1 or (letters := axes.pop())[axis] != "C":
        raise Mixed
    level = builder.join(node.input)
    inputs = [builder.at(name, level) for name in node.input]
    builder.add("Concat", inputs, node.output[0], level, {"axis": 1})
    builder.know(node.output[0], level, letters)


def _transposition(builder: Builder, node: onnx.NodeProto) -> None:
    """Rows stay as they are: only the network's own axes change their places."""
    x = builder.slices[node.input[0]]
    order = next((a.ints for a in node.attribute if a.name == "perm"), range(5)[::-1])
    builder.add("Identity", node.input, node.output[0], x.level, {})
    builder.know(node.output[0], x.level, "".join(x.axes[axis] for axis in order))


def _rules() -> dict[str, Callable[[Builder, onnx.NodeProto], None]]:
    """How to write an operator over rows; Mixed is raised where it cannot be."""
    return {
        **dict.fromkeys(_ELEMENTWISE, _elementwise),
        **dict.fromkeys(_BROADCAST, _broadcast),
        "AveragePool": _average_pool,
        "BatchNormalization": _normalization,
        "Concat": _concatenation,
        "Conv": _convolution,
        "MaxPool": _max_pool,
        "Transpose": _transposition,
    }
