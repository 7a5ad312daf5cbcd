"""From an ONNX file to a graph of torch functions: check, expand, sort, fold."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import onnx
import onnx.inliner
import torch

import tiemcli.gradients.operators  # noqa: F401 (fills the table)
from tiemcli.gradients.convolutions import with_channels_last, with_normalisations_folded
from tiemcli.gradients.graph import Graph, Node, OperatorError
from tiemcli.gradients.registry import OPERATORS, Unsupported
from tiemcli.gradients.tensors import has_dtype, to_torch
from tiemcli.kernels.subgraph import every_node, reads

Opsets = Mapping[str, int]


def load(model: onnx.ModelProto, device: str, *, fold: bool = True) -> Graph:
    """The graph of a model, constants folded and weights on `device`.

    fold: normalisations into convolutions, between which there is then no value to look at.
    Local functions are inlined. An operator that the table lacks is replaced by the function body
    that ONNX's schema gives it, if it gives one. Raises Unsupported.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    foreign = [code for code in _input_types(model.graph) if not has_dtype(code)]
    if foreign:
        raise Unsupported(f"{onnx.TensorProto.DataType.Name(code)} input" for code in foreign)
    missing = _missing(model)
    while missing:
        model = _expanded(model, missing)
        before, missing = missing, _missing(model)
        if before & missing:
            raise Unsupported(f"{domain}::{name}" if domain else name for domain, name in missing)
    graph = _build(model.graph, _opsets(model), known={})
    if fold:
        graph = with_normalisations_folded(graph)
    return (with_channels_last(graph) if device == "cpu" else graph).on(device)


def _input_types(graph: onnx.GraphProto) -> Iterator[int]:
    for value in graph.input:
        if value.type.HasField("tensor_type"):
            yield value.type.tensor_type.elem_type


def _expanded(model: onnx.ModelProto, chosen: set[tuple[str, str]]) -> onnx.ModelProto:
    """The model with the chosen operators, by (domain, type), replaced by their function bodies."""
    try:
        return onnx.inliner.inline_selected_functions(
            model, list(chosen), exclude=False, inline_schema_functions=True
        )
    except RuntimeError:
        # The inliner cannot expand some bodies, such as those that test for an optional input.
        return model


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _opsets(model: onnx.ModelProto) -> Opsets:
    return {_domain(entry.domain): entry.version for entry in model.opset_import}


def _missing(model: onnx.ModelProto) -> set[tuple[str, str]]:
    """The operators, as (domain, type), of which some node has a form that no function covers."""
    opsets = _opsets(model)
    return {
        (_domain(proto.domain), proto.op_type)
        for proto in every_node(model.graph)
        if not _covered(proto, opsets)
    }


def _covered(proto: onnx.NodeProto, opsets: Opsets) -> bool:
    operator = OPERATORS.get((_domain(proto.domain), proto.op_type))
    return operator is not None and operator.accepts(_node(proto, opsets, bodies={}))


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    match attribute.type:
        case onnx.AttributeProto.TENSOR:
            return to_torch(value)
        case onnx.AttributeProto.STRING:
            return value.decode()
        case onnx.AttributeProto.STRINGS:
            return [text.decode() for text in value]
        case onnx.AttributeProto.INTS | onnx.AttributeProto.FLOATS:
            return list(value)
    return value


def _node(proto: onnx.NodeProto, opsets: Opsets, bodies: Mapping[str, Graph]) -> Node:
    domain = _domain(proto.domain)
    return Node(
        op_type=proto.op_type,
        domain=domain,
        opset=opsets.get(domain, 1),
        name=proto.name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={
            attribute.name: _attribute(attribute)
            for attribute in proto.attribute
            if attribute.type != onnx.AttributeProto.GRAPH
        },
        bodies=bodies,
        function=OPERATORS[domain, proto.op_type].function,
    )


def _build(graph: onnx.GraphProto, opsets: Opsets, known: Mapping[str, Any]) -> Graph:
    """The graph less the nodes that constants decide; `known` are those of the scope around it."""
    constants = {tensor.name: to_torch(tensor) for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    visible = {name: value for name, value in known.items() if name not in inputs} | constants
    nodes = []
    for proto in _sorted(graph.node):
        bodies = {
            attribute.name: _build(attribute.g, opsets, visible)
            for attribute in proto.attribute
            if attribute.type == onnx.AttributeProto.GRAPH
        }
        node = _node(proto, opsets, bodies)
        folded = _folded(node, visible)
        if folded is None:
            nodes.append(node)
        else:
            constants |= folded
            visible |= folded
    return Graph.of(inputs, [value.name for value in graph.output], constants, nodes)


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes with each behind those that it reads from.

    ONNX demands this of a file, but ONNX Runtime does not, and onnxconverter's half precision
    appends the casts of the inputs at the end.
    """
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needed = {
        index: {makers[name] for name in reads(node) if name in makers}
        for index, node in enumerate(nodes)
    }
    if all(index > max(before, default=-1) for index, before in needed.items()):
        return list(nodes)
    return [nodes[index] for index in TopologicalSorter(needed).static_order()]


def _folded(node: Node, visible: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the node computes from constants alone; None if it reads anything else."""
    if not visible.keys() >= set(node.reads):
        return None
    try:
        with torch.no_grad():
            return node.run(visible)
    except OperatorError:
        # In a branch that is never taken this is no error; elsewhere it returns at run time.
        return None
