"""Excitation backprop through time, in recurrent cells (Bargal et al., CVPR 2018).

Gates are taken as constants, our choice: they say how much passes, what passes is what excites.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tiemcli.errors import ModelError
from tiemcli.gradients.graph import Node
from tiemcli.gradients.operators.cells import Activation, Direction, activations

# What counts as nothing among sums of contributions.
TINY = 1e-30

# A value (N, J), weights (I, J), and what each of the I sums weighs it by, (N, I) or 1.
Source = tuple[Tensor, Tensor, Tensor | float]
# The P of a step's input, and of the states before it, from that of the states after it.
Back = Callable[[list[Tensor]], tuple[Tensor, list[Tensor]]]


class Unexcitable(ModelError):
    """A network with an operator, named here, that excitation backprop has no rule for."""

    def __init__(self, operator: str) -> None:
        super().__init__(
            f"excitation backprop has no rule for the network's {operator}",
            "choose a layer behind it by --layer, or another --method, such as gradient",
        )


def shared_out(excitation: Tensor, contributions: Sequence[Tensor]) -> list[Tensor]:
    """P divided among contributions of its shape, in proportion to those above 0."""
    parts = [part.relu() for part in contributions]
    each = ratio(excitation, torch.stack(parts).sum(0))
    return [part * each for part in parts]


def ratio(excitation: Tensor, total: Tensor) -> Tensor:
    """P over what excites; 0 where nothing does."""
    return torch.where(total > TINY, excitation / total.clamp_min(TINY), 0.0)


def excite_cells(node: Node, read: Mapping[str, Any], arrived: Mapping[str, Tensor]) -> Tensor:
    """The P of what an LSTM, GRU or RNN reads, from that of its outputs by name.

    read: what it reads, by name. Weights that lead to states before the first take what is theirs.
    Raises Unexcitable for sequences of several lengths and for peepholes.
    """
    x, weight, recurrence, bias, lengths, hidden, cell, peephole = _arguments(node, read)
    batch_first = bool(node.attr("layout", 0))
    x = x.transpose(0, 1) if batch_first else x
    if peephole is not None or (lengths is not None and not bool((lengths == len(x)).all())):
        raise Unexcitable(f"{node.op_type} with lengths or peepholes")
    states, size = [hidden, cell], recurrence.shape[2]
    ways = {"bidirectional": (False, True), "reverse": (True,)}
    total = torch.zeros_like(x)
    for index, backward in enumerate(ways.get(node.attr("direction", "forward"), (False,))):
        direction = Direction.of(index, backward, weight, recurrence, bias, None)
        blank = x.new_zeros(x.shape[1], size)
        start = [blank if state is None else _own(state, index, batch_first) for state in states]
        outputs = [
            _own(arrived[name], index, batch_first) if name in arrived else None
            for name in node.outputs
        ] + [None] * (3 - len(node.outputs))
        every = x.new_zeros(len(x), *blank.shape) if outputs[0] is None else outputs[0]
        ends = [blank if end is None else end for end in outputs[1:]]
        functions = _functions(node, index)
        turned = (0,) if backward else ()
        steps = _STEPS[node.op_type](node, direction, functions, x.flip(turned), start)
        total += _through_time(steps, every.flip(turned), ends).flip(turned)
    return total.transpose(0, 1) if batch_first else total


def _arguments(node: Node, read: Mapping[str, Any]) -> list[Any]:
    """The inputs of an LSTM, which the others' begin like; None where one is left out."""
    given = [read[name] if name else None for name in node.inputs]
    return given + [None] * (8 - len(given))


def _own(states: Tensor, index: int, batch_first: bool) -> Tensor:
    """One direction's part of every state, (T, N, H), or of the last, (N, H)."""
    if states.ndim == 3:
        return states[:, index] if batch_first else states[index]
    return states[:, :, index].transpose(0, 1) if batch_first else states[:, index]


def _functions(node: Node, index: int) -> list[Activation]:
    usual = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
    names = usual[node.op_type]
    every = [name.lower() for name in node.attr("activations", names * 2)]
    return activations(node, every)[index * len(names) : (index + 1) * len(names)]


def _through_time(steps: Sequence[Back], every: Tensor, ends: list[Tensor]) -> Tensor:
    """The P (T, N, F) of the input, from that of every hidden state and of the last states."""
    parts, (hidden, *cell) = [], ends
    for back, arriving in zip(reversed(steps), every.flip(0), strict=True):
        part, (hidden, *cell) = back([hidden + arriving, *cell])
        parts.append(part)
    return torch.stack(parts[::-1])


def _weighed(excitation: Tensor, sign: Tensor, sources: Sequence[Source]) -> list[Tensor]:
    """P (N, I) of weighted sums divided among the values in them, by what has the sum's sign."""
    parts = [
        ((sign * scale)[:, :, None] * weight * value[:, None]).relu()
        for value, weight, scale in sources
    ]
    each = ratio(excitation, torch.stack([part.sum(2) for part in parts]).sum(0))
    return [torch.einsum("ni,nij->nj", each, part) for part in parts]


def _lstm(
    node: Node,
    direction: Direction,
    functions: Sequence[Activation],
    x: Tensor,
    start: list[Tensor],
) -> list[Back]:
    gate, squash, emit = functions
    hidden, cell = start
    size = hidden.shape[1]
    own = slice(3 * size, None)

    def step(inputs: Tensor, before: Tensor, new: Tensor, written: Tensor, kept: Tensor) -> Back:
        def back(arrived: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            sign = (written + kept).sign()
            to_new, to_cell = shared_out(arrived[0] + arrived[1], [sign * written, sign * kept])
            sources = (inputs, direction.weight[own], 1.0), (before, direction.recurrence[own], 1.0)
            to_input, to_hidden = _weighed(to_new, new.sign(), sources)
            return to_input, [to_hidden, to_cell]

        return back

    steps = []
    for inputs, projected in zip(x, direction.projected(x), strict=True):
        i, o, f, c = (projected + direction.recurrent(hidden)).chunk(4, 1)
        new = squash(c)
        written, kept = gate(i) * new, gate(f) * cell
        steps.append(step(inputs, hidden, new, written, kept))
        cell = written + kept
        hidden = gate(o) * emit(cell)
    return steps


def _gru(
    node: Node,
    direction: Direction,
    functions: Sequence[Activation],
    x: Tensor,
    start: list[Tensor],
) -> list[Back]:
    gate, squash = functions
    hidden = start[0]
    own = slice(2 * hidden.shape[1], None)
    linear = bool(node.attr("linear_before_reset", 0))
    recurrence, shift = direction.recurrence[own], direction.recurrent_bias[own]

    def step(inputs: Tensor, before: Tensor, new: Tensor, update: Tensor, reset: Tensor) -> Back:
        def back(arrived: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            written, kept = (1 - update) * new, update * before
            sign = (written + kept).sign()
            to_new, to_kept = shared_out(arrived[0], [sign * written, sign * kept])
            past = (before, recurrence, reset) if linear else (reset * before, recurrence, 1.0)
            sources = (inputs, direction.weight[own], 1.0), past
            to_input, to_hidden = _weighed(to_new, new.sign(), sources)
            return to_input, [to_kept + to_hidden]

        return back

    steps = []
    for inputs, projected in zip(x, direction.projected(x), strict=True):
        z, r, h = projected.chunk(3, 1)
        from_z, from_r, from_h = direction.recurrent(hidden).chunk(3, 1)
        update, reset = gate(z + from_z), gate(r + from_r)
        past = reset * from_h if linear else (reset * hidden) @ recurrence.T + shift
        new = squash(h + past)
        steps.append(step(inputs, hidden, new, update, reset))
        hidden = (1 - update) * new + update * hidden
    return steps


def _rnn(
    node: Node,
    direction: Direction,
    functions: Sequence[Activation],
    x: Tensor,
    start: list[Tensor],
) -> list[Back]:
    (squash,) = functions
    hidden = start[0]

    def step(inputs: Tensor, before: Tensor, after: Tensor) -> Back:
        def back(arrived: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            sources = (inputs, direction.weight, 1.0), (before, direction.recurrence, 1.0)
            to_input, to_hidden = _weighed(arrived[0], after.sign(), sources)
            return to_input, [to_hidden]

        return back

    steps = []
    for inputs, projected in zip(x, direction.projected(x), strict=True):
        after = squash(projected + direction.recurrent(hidden))
        steps.append(step(inputs, hidden, after))
        hidden = after
    return steps


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
