"""How each operator carries the batch axis, and what in it pins the batch's size.

A rule gets the node, the input through which the axis comes and its position there; it mends the
node where it must, and returns the axis of the outputs, None where they have none or it has noted
them itself. It raises ValueError where the batch cannot be free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

if TYPE_CHECKING:
    from tiemcli.kernels.free_batch import Surgery

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

Rule = Callable[["Surgery", onnx.NodeProto, str, int], "int | None"]


def _aligned_from_the_end(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    return axis + graph.rank(node.output[0]) - graph.rank(source)


def _reduction(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    if attribute(node, "keepdims", 1):
        return axis
    rank = graph.rank(source)
    gone: list[int]
    if node.op_type.startswith("Arg"):
        gone = [attribute(node, "axis", 0)]
    else:
        gone = graph.axes_of(node) or list(range(rank))
    if axis in [a % rank for a in gone]:
        raise ValueError("a reduction along the batch")
    return axis - sum(a % rank < axis for a in gone)


def _recurrent(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> None:
    """Outputs (T, D, N, H) and states (D, N, H); constant zero states of batch 1 are left out."""
    for name, position in zip(node.output, (2, 1, 1), strict=False):
        graph.axes[name] = position
    for slot in (5, 6):
        if len(node.input) > slot and node.input[slot] in graph.constants:
            if graph.constants[node.input[slot]].any():
                raise ValueError("a constant initial state that is not zero")
            node.input[slot] = ""


def _reshape(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
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


def _transpose(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    order = attribute(node, "perm", list(reversed(range(graph.rank(source)))))
    return list(order).index(axis)


def _flatten(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    return 0 if axis < attribute(node, "axis", 1) else 1


def _squeeze(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    rank = graph.rank(source)
    gone = graph.axes_of(node)
    if gone is None:
        raise ValueError("a squeeze of every axis of size 1 would take the batch")
    return axis - sum(a % rank < axis for a in gone)


def _unsqueeze(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    rank = graph.rank(node.output[0])
    new = {a % rank for a in graph.axes_of(node) or []}
    return [a for a in range(rank) if a not in new][axis]


def _gather(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    gathered: int = attribute(node, "axis", 0) % graph.rank(node.input[0])
    if source != node.input[0]:
        return axis + gathered
    if gathered == axis:
        raise ValueError("a gather along the batch")
    return axis if axis < gathered else axis + graph.rank(node.input[1]) - 1


def _concat(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    """Partners that do not come from the input, such as a class token, are repeated."""
    if attribute(node, "axis", 0) % graph.rank(node.output[0]) == axis:
        raise ValueError("a concatenation along the batch")
    for slot, name in enumerate(node.input):
        if name not in graph.axes:
            node.input[slot] = _tiled(graph, name, axis)
    return axis


def _tiled(graph: Surgery, name: str, axis: int) -> str:
    """The value repeated along an axis for each clip: of size 1, or T where that axis holds N·T."""
    rank = graph.rank(name)
    place = len(graph.nodes)
    times, tiled = f"{name}.tiem.times{place}", f"{name}.tiem.tiled{place}"
    ones = [graph.constant([1] * count) for count in (axis, rank - axis - 1)]
    graph.nodes.append(helper.make_node("Concat", [ones[0], BATCH, ones[1]], [times], axis=0))
    graph.nodes.append(helper.make_node("Tile", [name, times], [tiled]))
    return tiled


def _scatter_nd(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    """Assignments to slices, as in TSM's shift, write to the clip that constant indices number 0:
    they are repeated for each clip, with its own number."""
    written, indices, updates = node.input
    places = graph.constants[indices]
    if axis != 0 or graph.axes.get(updates, 0) != 0 or len(places) != 1 or places[..., 0].any():
        raise ValueError("a scatter that is not into one clip")
    if written not in graph.axes:
        node.input[0] = _tiled(graph, written, 0)
    if updates not in graph.axes:
        node.input[2] = _tiled(graph, updates, 0)
    first = np.zeros(places.shape[-1], dtype=np.int64)
    first[0] = 1
    start, step = graph.scalar(0), graph.scalar(1)
    name = f"{indices}.tiem.clips{len(graph.nodes)}"
    count, numbers, columns, offsets = (f"{name}.{k}" for k in range(4))
    shape = graph.constant([-1] + [1] * (places.ndim - 1))
    graph.nodes.extend(
        [
            helper.make_node("Squeeze", [BATCH], [count]),
            helper.make_node("Range", [start, count, step], [numbers]),
            helper.make_node("Reshape", [numbers, shape], [columns]),
            helper.make_node("Mul", [columns, graph.constant(first.tolist())], [offsets]),
            helper.make_node("Add", [indices, offsets], [name]),
        ]
    )
    node.input[1] = name
    return 0


def _expand(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    after = list(graph.shape(node.output[0]))
    place = axis + len(after) - graph.rank(source)
    after[place] = 1
    node.input[1] = graph.constant(after)
    return place


def _slice(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    """A part of one clip's frames, where their axis holds N·T, is that of each clip: the axis is
    split, cut and joined. A part of an axis of one clip is the clip."""
    if len(node.input) < 4 or source != node.input[0]:
        return axis
    shape = graph.shape(source)
    cut = [int(a) % len(shape) for a in graph.constants[node.input[3]]]
    if axis not in cut:
        return axis
    if shape[axis] == 1 and len(cut) == 1:
        node.op_type, node.domain = "Identity", ""
        del node.input[1:]
        return axis
    after = graph.shape(node.output[0])
    split, part = f"{node.output[0]}.tiem.split", f"{node.output[0]}.tiem.part"
    apart = graph.constant([*shape[:axis], -1, *shape[axis:]])
    joined = graph.constant([*after[:axis], -1, *after[axis + 1 :]])
    graph.nodes.append(helper.make_node("Reshape", [source, apart], [split]))
    axes = graph.constant([a + 1 if a >= axis else a for a in cut])
    graph.nodes.append(
        helper.make_node("Slice", [split, *node.input[1:3], axes, *node.input[4:]], [part])
    )
    node.op_type = "Reshape"
    del node.input[:]
    node.input.extend([part, joined])
    return axis


def _einsum(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> int:
    terms, result = attribute(node, "equation", b"").decode().replace(" ", "").split("->")
    letter = terms.split(",")[list(node.input).index(source)][axis]
    return int(result.index(letter))


def _shape(graph: Surgery, node: onnx.NodeProto, source: str, axis: int) -> None:
    """A shape read at run time is right already; it carries no batch axis of its own."""


_RULES: dict[str, Rule] = {
    "Concat": _concat,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": lambda graph, node, source, axis: 0,
    "Reshape": _reshape,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def rule_of(op_type: str) -> Rule | None:
    """The rule of an operator, None for one whose outputs have the axis where its input has it."""
    if op_type in _BROADCASTING:
        return _aligned_from_the_end
    if op_type in _REDUCTIONS:
        return _reduction
    return _recurrent if op_type in _RECURRENT else _RULES.get(op_type)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
