"""Parts of a graph: a network that answers other values than its own outputs."""

from collections.abc import Iterable, Iterator, Sequence

import onnx


def answering(
    model: onnx.ModelProto, outputs: Iterable[str], added: Iterable[onnx.NodeProto] = ()
) -> onnx.ModelProto:
    """A copy of the model with these outputs instead of its own, and nodes that compute them."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    asked.graph.node.extend(added)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return asked


def subnetwork(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that computes these values, with its input and the weights it needs."""
    part = answering(model, outputs)
    needed, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= reads(node)
            nodes.append(node)
    unused = {weight.name for weight in model.graph.initializer} - needed
    graph = part.graph
    del graph.node[:], graph.initializer[:], graph.input[:], graph.value_info[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(w for w in model.graph.initializer if w.name not in unused)
    graph.input.extend(value for value in model.graph.input if value.name not in unused)
    return part


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, each followed by those of its bodies."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from every_node(attribute.g)


def reads(node: onnx.NodeProto) -> set[str]:
    """The names that a node reads, those that its bodies take from around them included."""
    names = set(filter(None, node.input))
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            body = attribute.g
            own = {value.name for value in [*body.input, *body.initializer]}
            own.update(name for inner in body.node for name in inner.output)
            inside = {value.name for value in body.output}.union(*map(reads, body.node))
            names |= inside - own
    return names
