"""Convolutions made cheap when a network is loaded; what the graph computes stays the same."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tiemcli.gradients.graph import Graph, Node

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def with_normalisations_folded(graph: Graph) -> Graph:
    """The graph with each batch normalisation that alone reads a convolution put into its kernel.

    Few files hold any, since most exporters do this; the gradient is a fifth dearer where they do.
    """
    readers = Counter(name for node, _ in graph.steps for name in node.reads)
    readers.update(graph.outputs)
    convolutions: dict[str, Node] = {}
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node, _ in graph.steps:
        before = None
        if node.op_type == "BatchNormalization" and readers[node.inputs[0]] == 1:
            before = convolutions.get(node.inputs[0])
        if before is not None and constants.keys() >= {*before.inputs[1:], *node.inputs[1:]}:
            nodes.remove(before)
            output = node.outputs[0]
            names = f"{output} kernel", f"{output} bias"
            constants |= zip(names, _folded(before, node, constants), strict=True)
            node = replace(before, inputs=(before.inputs[0], *names), outputs=(output,))
        elif node.op_type == "Conv":
            convolutions[node.outputs[0]] = node
        nodes.append(node)
    return Graph.of(graph.inputs, graph.outputs, constants, nodes)


def _folded(
    convolution: Node, normalisation: Node, constants: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """The kernel and the bias that do what both nodes do."""
    kernel, *given = (constants[name].double() for name in convolution.inputs[1:])
    scale, shift, mean, variance = (constants[name].double() for name in normalisation.inputs[1:])
    factor = scale / torch.sqrt(variance + normalisation.attr("epsilon", 1e-5))
    bias = (given[0] if given else 0) - mean
    kernel = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
    kind = constants[convolution.inputs[1]].dtype
    return kernel.to(kind), (bias * factor + shift).to(kind)


def with_channels_last(graph: Graph) -> Graph:
    """The graph with its kernels, and by them its maps, laid out as a CPU convolves fastest."""
    kernels = {node.inputs[1] for node, _ in graph.steps if node.op_type == "Conv"}
    constants = {
        name: value.contiguous(memory_format=_CHANNELS_LAST[value.ndim])
        if name in kernels and value.ndim in _CHANNELS_LAST
        else value
        for name, value in graph.constants.items()
    }
    return replace(graph, constants=constants)
