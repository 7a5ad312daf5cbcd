"""LSTM, GRU and RNN: torch's fused kernels where they compute the same, a plain loop elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.operators.cells import CELLS, Direction, activations, unrolled
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import together


@dataclass(frozen=True)
class _Kind:
    """A recurrent operator: its activations, and torch's order of ONNX's gates.

    ONNX has i o f c for LSTM and z r h for GRU, torch i f c o and r z n.
    """

    name: str
    activations: tuple[str, ...]
    order: tuple[int, ...]


_LSTM = _Kind("LSTM", ("sigmoid", "tanh", "tanh"), (0, 2, 3, 1))
_GRU = _Kind("GRU", ("sigmoid", "tanh"), (1, 0, 2))
_RNN = _Kind("RNN", ("tanh",), (0,))


def _unclipped(node: Node) -> bool:
    return "clip" not in node.attributes and not node.attr("input_forget", 0)


@register("LSTM", accepts=_unclipped)
def lstm(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peephole: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Every hidden state, the last one, and the last cell."""
    parameters = weight, recurrence, bias, peephole
    return _recurrent(node, _LSTM, x, parameters, lengths, [hidden, cell])


@register("GRU", accepts=_unclipped)
def gru(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Every hidden state, and the last one."""
    return _recurrent(node, _GRU, x, (weight, recurrence, bias, None), lengths, [hidden])


@register("RNN", accepts=_unclipped)
def rnn(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Every hidden state, and the last one."""
    return _recurrent(node, _RNN, x, (weight, recurrence, bias, None), lengths, [hidden])


def _recurrent(
    node: Node,
    kind: _Kind,
    x: Tensor,
    parameters: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    lengths: Tensor | None,
    states: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """States (T, directions, N, H), then the last of each kind of state (directions, N, H).

    `x` is (T, N, features); with `layout` 1 the batch comes first in everything.
    """
    batch_first = bool(node.attr("layout", 0))
    if batch_first:
        x = x.transpose(0, 1)
        states = [None if state is None else state.transpose(0, 1) for state in states]
    x, lengths, *values = together(x, lengths, *parameters, *states)
    if lengths is not None and bool((lengths == x.shape[0]).all()):
        lengths = None
    size: int = node.attributes["hidden_size"]
    facing = node.attr("direction", "forward")
    backwards = [False, True] if facing == "bidirectional" else [facing == "reverse"]
    zero = x.new_zeros(len(backwards), x.shape[1], size)
    starts = [zero if state is None else state for state in values[len(parameters) :]]
    runs = []
    for index, backward in enumerate(backwards):
        direction = Direction.of(index, backward, *values[: len(parameters)])
        start = tuple(state[index] for state in starts)
        runs.append(_one_direction(node, kind, x, direction, lengths, start))
    outputs = torch.stack([states for states, _ in runs], 1)
    last = [torch.stack(ends) for ends in zip(*(ends for _, ends in runs), strict=True)]
    if batch_first:
        return outputs.permute(2, 0, 1, 3), *(end.transpose(0, 1) for end in last)
    return outputs, *last


def _one_direction(
    node: Node,
    kind: _Kind,
    x: Tensor,
    direction: Direction,
    lengths: Tensor | None,
    start: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Every state (T, N, H) in the order of the input, and the last state of each kind."""
    valid = None
    if lengths is not None:
        valid = torch.arange(x.shape[0], device=x.device)[:, None] < lengths
    if direction.backward:
        x = x.flip(0)
        valid = None if valid is None else valid.flip(0)
    count = len(kind.activations)
    own = slice(direction.index * count, (direction.index + 1) * count)
    # ONNX's names are free in their case.
    every = [name.lower() for name in node.attr("activations", list(kind.activations * 2))]
    names = tuple(every[own])
    if valid is None and _fusible(node, kind, names, direction):
        states, ends = _fused(kind, names, x, direction, start)
    else:
        linear = bool(node.attr("linear_before_reset", 0))
        cell = CELLS[kind.name](direction, activations(node, every)[own], linear)
        states, ends = unrolled(cell, direction.projected(x), start, valid)
    return states.flip(0) if direction.backward else states, ends


def _fusible(node: Node, kind: _Kind, names: tuple[str, ...], direction: Direction) -> bool:
    """Whether torch has a kernel for the node: it knows GRU's reset after the product only."""
    if kind.name == "GRU" and not node.attr("linear_before_reset", 0):
        return False
    usual = names == kind.activations or (kind.name == "RNN" and names == ("relu",))
    return usual and direction.peephole is None


def _fused(
    kind: _Kind,
    names: tuple[str, ...],
    x: Tensor,
    direction: Direction,
    start: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    weights = [
        torch.cat([part.chunk(len(kind.order))[gate] for gate in kind.order])
        for part in (
            direction.weight,
            direction.recurrence,
            direction.bias,
            direction.recurrent_bias,
        )
    ]
    first = tuple(state[None].contiguous() for state in start)
    # cuDNN keeps what its backward pass needs only in training mode, the same without dropout.
    options = (True, 1, 0.0, x.requires_grad, False, False)
    if kind.name == "LSTM":
        states, hidden, cell = torch.lstm(x, first, weights, *options)
        return states, (hidden[0], cell[0])
    plain = torch.rnn_relu if names == ("relu",) else torch.rnn_tanh
    function = torch.gru if kind.name == "GRU" else plain
    states, hidden = function(x, first[0], weights, *options)
    return states, (hidden[0],)
