"""A network in two parts: one that encodes frames, and one that answers for encoded frames.

Between them lie tables, a row for each frame that was ever encoded. A clip is then a list of rows.
"""

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from tiemcli.kernels.fuse import (
    BASE,
    DELTA,
    TARGET,
    Nodes,
    Port,
    answer_outputs,
    enclose,
    mask_inputs,
    opset_of,
    perturb,
    read,
)
from tiemcli.kernels.prefix import Cut
from tiemcli.kernels.subgraph import reads, subnetwork

# Of the k-th cut: its table and the rows of it that a clip consists of; what a table is filled with.
TABLE, ROWS_OF, CODE = "tiem.table.{}", "tiem.rows.{}", "tiem.code.{}"
# Which frame of the clip and its base stands in each place.
PLACES = "tiem.places"


def encoder(model: onnx.ModelProto, port: Port, cuts: Sequence[Cut]) -> onnx.ModelProto:
    """From masked frames, any in any place, to the cuts' slices; `model` is left as it is.

    Inputs: those of `fuse` but the target, n clips' worth, delta and base being (T, C, H, W); and
    places (n, T) int64, the frame of theirs that the mask in each place belongs to. Outputs: for cut
    k code (n·T, *slice), of the cut's own type.
    """
    part = subnetwork(model, [cut.name for cut in cuts])
    front, back = _both_ends(part)
    delta, base = (front.add("Gather", frames, PLACES, axis=0) for frames in (DELTA, BASE))
    perturb(front, port, delta, base, "NTCHW")
    for index, cut in enumerate(cuts):
        _flatten(back, cut, CODE.format(index))
    places = helper.make_tensor_value_info(PLACES, TensorProto.INT64, ["grids", port.sizes["T"]])
    outputs = [
        helper.make_tensor_value_info(
            CODE.format(index), cut.element_type, ["frames", *slice_shape(cut)]
        )
        for index, cut in enumerate(cuts)
    ]
    enclose(part, front, back, [*mask_inputs(port, "TCHW"), places], outputs)
    return part


def suffix(
    model: onnx.ModelProto, port: Port, cuts: Sequence[Cut], shapes: Sequence[str]
) -> onnx.ModelProto:
    """From rows of tables to scores; `model` is left as it is.

    shapes: values that the input's shape alone decides. Inputs: for cut k table (U, *slice), of the
    cut's own type, and rows (N, T) int64; target (1,) int64; `shape_sources` of the shapes, int64,
    as they are for N clips. Outputs: those of `fuse`.
    """
    sources = shape_sources(model, shapes)
    part = _behind(model, {*sources, *(cut.name for cut in cuts)}, port.output)
    front, back = _both_ends(part)
    inputs = [helper.make_tensor_value_info(TARGET, TensorProto.INT64, [1])]
    for index, cut in enumerate(cuts):
        table, rows = TABLE.format(index), ROWS_OF.format(index)
        _gather(front, cut, table, rows)
        shape = [f"rows{index}", *slice_shape(cut)]
        inputs.append(helper.make_tensor_value_info(table, cut.element_type, shape))
        inputs.append(helper.make_tensor_value_info(rows, TensorProto.INT64, ["N", f"T{index}"]))
    read(back, port)
    inputs += [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["axes"] if kind == "Shape" else [])
        for name, kind in sources.items()
    ]
    enclose(part, front, back, inputs, answer_outputs())
    return part


def slice_shape(cut: Cut) -> tuple[int, ...]:
    """The shape of one frame's slice of a cut: its axes but those of frames and clips, in order."""
    return tuple(cut.shape[axis] for axis in _slice_axes(cut))


def shape_sources(model: onnx.ModelProto, shapes: Sequence[str]) -> dict[str, str]:
    """The outputs of Shape and Size nodes that these values are computed from, in the graph's order,
    and which of the two operators makes each."""
    needed, found = set(shapes), dict[str, str]()
    for node in reversed(model.graph.node):
        if needed.isdisjoint(node.output):
            continue
        if node.op_type in ("Shape", "Size"):
            found[node.output[0]] = node.op_type
        else:
            needed |= reads(node)
    return dict(reversed(found.items()))


def _slice_axes(cut: Cut) -> list[int]:
    return [axis for axis in range(len(cut.shape)) if axis not in (cut.axes.clip, cut.axes.frame)]


def _frames_first(cut: Cut) -> list[int]:
    """The transpose from a cut's own axes to clips, frames and the slice, clips where it has them."""
    front = [cut.axes.frame] if cut.axes.clip is None else [cut.axes.clip, cut.axes.frame]
    return front + _slice_axes(cut)


def _flatten(nodes: Nodes, cut: Cut, output: str) -> None:
    """(n·T, *slice) of a cut."""
    ordered = nodes.transpose(cut.name, _frames_first(cut))
    nodes.reshape(ordered, [-1, *slice_shape(cut)], output=output)


def _gather(nodes: Nodes, cut: Cut, table: str, rows: str) -> None:
    """A cut in its own form, from (N, T) rows of its table."""
    order = _frames_first(cut)
    clips = nodes.add("Gather", table, rows, axis=0)
    if cut.axes.clip is None:
        clips = nodes.reshape(clips, [-1, *slice_shape(cut)])
    own = nodes.transpose(clips, [order.index(axis) for axis in range(len(order))])
    nodes.add("Identity", own, output=cut.name)


def _behind(model: onnx.ModelProto, sources: set[str], output: str) -> onnx.ModelProto:
    """The part of a model from these values to its output."""
    needed, nodes = {output} - sources, list[onnx.NodeProto]()
    for node in reversed(model.graph.node):
        if needed.isdisjoint(node.output):
            continue
        needed |= reads(node) - sources
        nodes.append(node)
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    weights = [weight for weight in graph.initializer if weight.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(weights)
    for node in graph.node:  # one that makes a source beside what else is needed of it
        node.output[:] = [f"{name}.unread" if name in sources else name for name in node.output]
    return part


def _both_ends(part: onnx.ModelProto) -> tuple[Nodes, Nodes]:
    opset = opset_of(part)
    return Nodes("front", opset), Nodes("back", opset)
