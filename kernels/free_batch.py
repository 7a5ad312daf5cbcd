"""Free a batch that a network's file fixes: follow the batch axis and mend what pins its size.

Exporters that trace one example write its batch of 1 into Reshape targets, Expand shapes, Concat
partners and the initial states of recurrent layers. The axis is followed from the input through
every node that it reaches. The result is a proposal: the caller compares it with the original.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

BATCH = "tiem.batch"  # (1,) int64, the batch at run time

# Operators of several aligned inputs: the axis is counted from the last dimension.
_BROADCASTING = frozenset(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual MatMul Max Mean Min Mod Mul Or Pow "
    "PRelu Sub Sum Where Xor".split()
)
_REDUCTIONS = frozenset(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare ArgMax ArgMin".split()
)
_RECURRENT = frozenset(["LSTM", "GRU", "RNN"])


def free_batch(model: onnx.ModelProto, input_name: str) -> onnx.ModelProto | None:
    """A copy of `model` whose batch, axis 0 of `input_name`, is free; None where it cannot be.

    The shapes of all values must be inferable with the batch at its fixed size.
    """
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except (shape_inference.InferenceError, ValueError):
        return None
    return _Surgery(inferred, input_name).run()


class _Surgery:
    """One pass over the nodes in order, with the batch axis of every value it has reached."""

    def __init__(self, model: onnx.ModelProto, input_name: str) -> None:
        self.model = model
        self.input = input_name
        graph = model.graph
        known = [*graph.value_info, *graph.input, *graph.output]
        self.shapes = {value.name: dims_of(value) for value in known}
        self.shapes.update({weight.name: list(weight.dims) for weight in graph.initializer})
        self.constants = {
            weight.name: numpy_helper.to_array(weight)
            for weight in graph.initializer
            if weight.data_location == onnx.TensorProto.DEFAULT
        }
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.shapes.update({name: [*array.shape] for name, array in self.constants.items()})
        self.axes: dict[str, int] = {input_name: 0}
        self.nodes: list[onnx.NodeProto] = []
        self.added: list[onnx.TensorProto] = []

    def run(self) -> onnx.ModelProto | None:
        graph = self.model.graph
        if None in self.shapes[self.input]:
            return None
        self.nodes = [
            helper.make_node("Shape", [self.input], ["tiem.shape"]),
            helper.make_node("Gather", ["tiem.shape", self.constant([0])], [BATCH], axis=0),
        ]
        for node in graph.node:
            if any(name in self.axes for name in node.input):
                try:
                    self.follow(node)
                except (KeyError, IndexError, TypeError, ValueError):
                    return None  # a shape that inference could not tell, or an unforeseen form
            self.nodes.append(node)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.added)
        for value in [*graph.input, *graph.output]:
            if value.name in self.axes:
                value.type.tensor_type.shape.dim[self.axes[value.name]].dim_param = "N"
        return self.model

    def constant(self, value: list[int]) -> str:
        name = f"tiem.free{len(self.added)}"
        self.added.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name

    def follow(self, node: onnx.NodeProto) -> None:
        """Note the batch axis of the node's outputs; rewrite the node where it pins the batch."""
        source = next(name for name in node.input if name in self.axes)
        rule = _RULES.get(node.op_type)
        if node.op_type in _BROADCASTING:
            rule = _aligned_from_the_end
        elif node.op_type in _REDUCTIONS:
            rule = _reduction
        elif node.op_type in _RECURRENT:
            rule = _recurrent
        if rule is not None:
            axis = rule(self, node, source, self.axes[source])
            if axis is None:
                return
        else:
            axis = self.axes[source]
        for output in node.output:
            if output:
                self.axes.setdefault(output, axis)

    def rank(self, name: str) -> int:
        return len(self.shapes[name])

    def shape(self, name: str) -> list[int]:
        sizes = [size for size in self.shapes[name] if size is not None]
        if len(sizes) < self.rank(name):
            raise ValueError(f"inference could not tell the shape of {name}")
        return sizes

    def axes_of(self, node: onnx.NodeProto) -> list[int] | None:
        """The axes that an operator names, as an attribute or, in newer opsets, as an input."""
        if len(node.input) > 1 and node.input[1]:
            return [int(axis) for axis in self.constants[node.input[1]]]
        axes: list[int] | None = _attribute(node, "axes")
        return axes


Rule = Callable[[_Surgery, onnx.NodeProto, str, int], int | None]


def _aligned_from_the_end(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    return axis + graph.rank(node.output[0]) - graph.rank(source)


def _reduction(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    if _attribute(node, "keepdims", 1):
        return axis
    rank = graph.rank(source)
    gone: list[int]
    if node.op_type.startswith("Arg"):
        gone = [_attribute(node, "axis", 0)]
    else:
        gone = graph.axes_of(node) or list(range(rank))
    return axis - sum(a % rank < axis for a in gone)


def _recurrent(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> None:
    """Outputs (T, D, N, H) and states (D, N, H); constant zero states of batch 1 are left out."""
    for name, position in zip(node.output, (2, 1, 1), strict=False):
        graph.axes[name] = position
    for slot in (5, 6):
        if len(node.input) > slot and node.input[slot] in graph.constants:
            if graph.constants[node.input[slot]].any():
                raise ValueError("a constant initial state that is not zero")
            node.input[slot] = ""


def _reshape(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    """The batch stays behind an equal product of leading sizes: a plain one keeps its size of 1,
    one that holds N·T unfolds to the first such place."""
    before, after = graph.shape(source), graph.shape(node.output[0])
    leading = math.prod(before[:axis])
    places = [k for k in range(len(after)) if math.prod(after[:k]) == leading]
    plain = [k for k in places if before[axis] == 1 and after[k] == 1]
    place = (plain or places)[0]
    target = list(after)
    target[place] = -1
    node.input[1] = graph.constant(target)
    for attribute in [a for a in node.attribute if a.name == "allowzero"]:
        node.attribute.remove(attribute)
    return place


def _transpose(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    order = _attribute(node, "perm", list(reversed(range(graph.rank(source)))))
    return list(order).index(axis)


def _flatten(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    return 0 if axis < _attribute(node, "axis", 1) else 1


def _squeeze(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    rank = graph.rank(source)
    gone = graph.axes_of(node)
    if gone is None:
        raise ValueError("a squeeze of every axis of size 1 would take the batch")
    return axis - sum(a % rank < axis for a in gone)


def _unsqueeze(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    rank = graph.rank(node.output[0])
    new = {a % rank for a in graph.axes_of(node) or []}
    return [a for a in range(rank) if a not in new][axis]


def _gather(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    gathered: int = _attribute(node, "axis", 0) % graph.rank(node.input[0])
    if source != node.input[0]:
        return axis + gathered
    if gathered == axis:
        raise ValueError("a gather along the batch")
    return axis if axis < gathered else axis + graph.rank(node.input[1]) - 1


def _concat(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    """Partners that do not come from the input, such as a class token, are repeated."""
    if _attribute(node, "axis", 0) % graph.rank(node.output[0]) == axis:
        raise ValueError("a concatenation along the batch")
    for slot, name in enumerate(node.input):
        if name not in graph.axes:
            node.input[slot] = _expanded(graph, name, axis)
    return axis


def _expanded(graph: _Surgery, name: str, axis: int) -> str:
    shape = graph.shape(name)
    target, repeated = f"{name}.tiem.target", f"{name}.tiem.expanded"
    parts = [graph.constant(shape[:axis]), BATCH, graph.constant(shape[axis + 1 :])]
    graph.nodes.append(helper.make_node("Concat", parts, [target], axis=0))
    graph.nodes.append(helper.make_node("Expand", [name, target], [repeated]))
    return repeated


def _expand(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    after = list(graph.shape(node.output[0]))
    place = axis + len(after) - graph.rank(source)
    after[place] = 1
    node.input[1] = graph.constant(after)
    return place


def _einsum(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    terms, result = _attribute(node, "equation", b"").decode().replace(" ", "").split("->")
    letter = terms.split(",")[list(node.input).index(source)][axis]
    return int(result.index(letter))


def _shape(graph: _Surgery, node: onnx.NodeProto, source: str, axis: int) -> None:
    """A shape read at run time is right already; it carries no batch axis of its own."""


_RULES: dict[str, Rule] = {
    "Concat": _concat,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": lambda graph, node, source, axis: 0,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _shape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def _attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def dims_of(value: onnx.ValueInfoProto) -> list[int | None]:
    """The declared size of each axis, None where it is open; some exporters write -1 for that."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
