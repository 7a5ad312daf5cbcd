"""Excitation backprop: which of a network's values made an output win, layer by layer.

Zhang et al., "Top-down neural attention by excitation backprop" (IJCV 2018); for recurrent layers
Bargal et al., "Excitation backprop for RNNs" (CVPR 2018).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tiemcli.gradients.excitation_cells import TINY, Unexcitable, excite_cells, ratio
from tiemcli.gradients.graph import Graph, Node

# What multiplies values by weights and adds up.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
RECURRENT = ("LSTM", "GRU", "RNN")
# What moves values about or adds them up with weights that are not negative.
_ADDING = {
    "Add", "AveragePool", "Concat", "CumSum", "DepthToSpace", "Expand", "Flatten", "Gather",
    "GlobalAveragePool", "Mean", "Pad", "ReduceMean", "ReduceSum", "Reshape", "Resize", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Sum", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
# What lets one of many through.
_LARGEST = {"GlobalMaxPool", "Max", "MaxPool", "ReduceMax"}
# What makes of each value one other. A normalisation is taken to be one, its statistics constants.
_ONE_TO_ONE = {
    "BatchNormalization", "Cast", "Celu", "Clip", "Dropout", "Elu", "Gelu", "GroupNormalization",
    "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN", "LayerNormalization",
    "LeakyRelu", "Mish", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh",
    "Add", "Div", "Mul", "Sub",  # of a value and a constant, which has no part in P
}  # fmt: skip
_GATES = ("Sigmoid", "HardSigmoid")

Values = Mapping[str, Any]


def classifier(graph: Graph, layer: str, scores: str) -> Node | None:
    """The last node with weights on the way from a layer to the scores, both by name."""
    needed, follows = graph.behind(scores), _followers(graph, layer)
    for node, _ in reversed(graph.steps):
        computed = set(node.reads) - graph.constants.keys()
        on_the_way = computed <= follows and not needed.isdisjoint(node.outputs)
        if on_the_way and node.op_type in WEIGHTED and len(computed) == 1:
            return node
    return None


def contrastive(graph: Graph, values: Values, top: Node, slope: Tensor, layer: str) -> Tensor:
    """P of the layer less that of what speaks against the class: signed, of the layer's shape.

    values: what the nodes of the graph computed, by name. top: the classifier, at whose outputs P
    begins in proportion to `slope`, that of the score. Its weights are negated for the other P, which
    is subtracted from the first behind it; both are at most 1 in sum. Raises
    Unexcitable, which names the operator that has no rule.
    """
    share = slope.abs() / slope.abs().sum().clamp_min(TINY)
    for_it, against = (_weighted(top, graph, values, share, sign * slope) for sign in (1.0, -1.0))
    beginning = {name: for_it[name] - against[name] for name in for_it}
    return excite(graph, values, top, beginning, layer)


def excite(
    graph: Graph, values: Values, top: Node, beginning: Mapping[str, Tensor], layer: str
) -> Tensor:
    """P of the layer, by name, where `beginning` is that of what the node `top` reads."""
    follows = _followers(graph, layer)
    excitation = dict(beginning)
    nodes = [node for node, _ in graph.steps]
    makers = {name: node.op_type for node in nodes for name in node.outputs}
    for node in reversed(nodes[: nodes.index(top)]):
        if layer in node.outputs or follows.isdisjoint(node.outputs):
            continue
        arrived = {name: excitation.pop(name) for name in node.outputs if name in excitation}
        if not arrived:
            continue
        for name, part in _through(node, graph, values, arrived, makers).items():
            excitation[name] = excitation[name] + part if name in excitation else part
    return excitation.get(layer, torch.zeros_like(values[layer]))


def _followers(graph: Graph, layer: str) -> set[str]:
    names = {layer}
    for node, _ in graph.steps:
        if not names.isdisjoint(node.reads):
            names.update(node.outputs)
    return names


def _through(
    node: Node,
    graph: Graph,
    values: Values,
    arrived: Mapping[str, Tensor],
    makers: Mapping[str, str],
) -> dict[str, Tensor]:
    """The P of what a node reads, given that of what it computed."""
    if node.op_type in RECURRENT:
        read_by_it = {name: values.get(name, graph.constants.get(name)) for name in node.reads}
        return {node.inputs[0]: excite_cells(node, read_by_it, arrived)}
    read = _computed(node, values)
    alone = len(read) == 1
    if alone and node.op_type in WEIGHTED:
        ((output, excitation),) = arrived.items()
        return _weighted(node, graph, values, excitation, values[output])
    if alone and node.op_type in _ONE_TO_ONE:
        return {read[0]: _summed(arrived[node.outputs[0]], values[read[0]])}
    if len(read) == 2 and node.op_type == "Mul":
        kept = _ungated(node, read, values, makers)
        return {kept: _summed(arrived[node.outputs[0]], values[kept])}
    if node.op_type in _ADDING:
        return _added(node, graph, values, arrived)
    if node.op_type in _LARGEST:
        return _largest(node, graph, values, arrived)
    raise Unexcitable(_named(node))


def _computed(node: Node, values: Values) -> list[str]:
    """The numbers that a node reads and that are no weights; shapes are whole numbers."""
    return [
        name
        for name in dict.fromkeys(node.reads)
        if name in values and values[name].is_floating_point()
    ]


def _weighted(
    node: Node, graph: Graph, values: Values, excitation: Tensor, sums: Tensor
) -> dict[str, Tensor]:
    """P(a_j) = Σ_i a_j w_ij / Σ_j' a_j' w_ij' · P(a_i), of the products alone that excite a_i.

    Those are the products above 0, which the paper's weights above 0 give, activations never being
    negative there. sums: the sign of each a_i; of one below 0, as a tanh or a bottleneck has, what
    makes it so excites it: our choice. Biases have no part.
    """
    (name,) = _computed(node, values)
    weight = graph.constants[next(other for other in node.inputs[:2] if other != name)]
    above, below = (_leaf(sign * values[name]) for sign in (1, -1))
    found = torch.zeros_like(above)
    for sign in (1, -1):
        chosen = torch.where(sign * sums >= 0, excitation, 0.0)
        if not chosen.any():
            continue
        leaves = [leaf for leaf in (above, below) if leaf.any()]
        totals = []
        for leaf in leaves:
            kernel = (sign * weight if leaf is above else -sign * weight).relu()
            pair = (leaf, kernel) if node.inputs[0] == name else (kernel, leaf)
            totals.append(node.function(node, *pair))
        if leaves:
            found += sum(_shares(leaves, sum(totals[1:], totals[0]), chosen))
    return {name: found}


def _added(
    node: Node, graph: Graph, values: Values, arrived: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """P divided among what is added, by the share that each has of what has the sum's sign."""
    read = _computed(node, values)
    found = {name: torch.zeros_like(values[name]) for name in read}
    for sign in (1, -1):
        leaves = {name: _leaf(sign * values[name]) for name in read}
        totals = node.run({**graph.constants, **values, **leaves})
        for output, excitation in arrived.items():
            chosen = torch.where(sign * values[output] >= 0, excitation, 0.0)
            parts = _shares(list(leaves.values()), totals[output], chosen)
            for name, part in zip(read, parts, strict=True):
                found[name] += part
    return found


def _largest(
    node: Node, graph: Graph, values: Values, arrived: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """All P to the largest of each window."""
    read = _computed(node, values)
    leaves = {name: values[name].clone().requires_grad_() for name in read}
    made = node.run({**graph.constants, **values, **leaves})
    ((output, excitation),) = arrived.items()
    parts = torch.autograd.grad(made[output], list(leaves.values()), excitation)
    return dict(zip(read, parts, strict=True))


def _leaf(value: Tensor) -> Tensor:
    return value.relu().requires_grad_()


def _shares(leaves: list[Tensor], total: Tensor, excitation: Tensor) -> list[Tensor]:
    """What each leaf has of P, by its part in `total`, which is linear in all of them."""
    slopes = torch.autograd.grad(
        total, leaves, ratio(excitation, total.detach()), retain_graph=True
    )
    return [leaf.detach() * slope for leaf, slope in zip(leaves, slopes, strict=True)]


def _ungated(node: Node, read: Sequence[str], values: Values, makers: Mapping[str, str]) -> str:
    """Which of two factors is weighed by the other: the larger, or what no sigmoid has made."""
    first, second = read
    sizes = values[first].numel(), values[second].numel()
    if sizes[0] != sizes[1]:
        return first if sizes[0] > sizes[1] else second
    kept = [name for name in read if makers.get(name) not in _GATES]
    if len(kept) != 1:
        raise Unexcitable(_named(node))
    return kept[0]


def _summed(excitation: Tensor, like: Tensor) -> Tensor:
    """P of one to one, or of one to the many that it was repeated for."""
    return excitation.sum_to_size(like.shape)


def _named(node: Node) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type
