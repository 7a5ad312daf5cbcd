"""Recurrent cells step by step, for the attributes that torch's kernels do not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node

Activation = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State], State]


@dataclass(frozen=True)
class Direction:
    """The parameters of one direction, the gates stacked in ONNX's order.

    `weight`: (gates · H, features); `recurrence`: (gates · H, H); both biases: (gates · H,);
    `peephole`: (3 · H,) from the cell to the gates i, o, f. `index` is its place in the node's
    parameters; `backward` says that it reads the sequence from its end.
    """

    index: int
    backward: bool
    weight: Tensor
    recurrence: Tensor
    bias: Tensor
    recurrent_bias: Tensor
    peephole: Tensor | None

    @classmethod
    def of(
        cls,
        index: int,
        backward: bool,
        weight: Tensor,
        recurrence: Tensor,
        bias: Tensor | None,
        peephole: Tensor | None,
    ) -> Direction:
        stacked = weight.shape[1]
        both = weight.new_zeros(2 * stacked) if bias is None else bias[index]
        return cls(
            index,
            backward,
            weight[index],
            recurrence[index],
            both[:stacked],
            both[stacked:],
            None if peephole is None else peephole[index],
        )

    def projected(self, x: Tensor) -> Tensor:
        """The input's part of every gate, (T, N, gates · H)."""
        return F.linear(x, self.weight, self.bias)

    def recurrent(self, hidden: Tensor) -> Tensor:
        """The last state's part of every gate, (N, gates · H)."""
        return F.linear(hidden, self.recurrence, self.recurrent_bias)


# An activation's name in lower case, its function, and its default alpha and beta if it has them.
_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "affine": (lambda x, alpha, beta: alpha * x + beta, (1.0, 0.0)),
    "elu": (F.elu, (1.0,)),
    "hardsigmoid": (lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1), (0.2, 0.5)),
    "leakyrelu": (F.leaky_relu, (0.01,)),
    "relu": (torch.relu, ()),
    "scaledtanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), (1.0, 1.0)),
    "sigmoid": (torch.sigmoid, ()),
    "softplus": (F.softplus, ()),
    "softsign": (F.softsign, ()),
    "tanh": (torch.tanh, ()),
    "thresholdedrelu": (lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)), (1.0,)),
}


def activations(node: Node, names: Sequence[str]) -> list[Activation]:
    """The functions of all the node's activations, with the parameters that it gives them.

    The lists of alphas and betas hold one for each activation that has such a parameter, in order.
    """
    alphas: Iterator[float] = iter(node.attr("activation_alpha", []))
    betas: Iterator[float] = iter(node.attr("activation_beta", []))
    functions = []
    for name in names:
        function, defaults = _ACTIVATIONS[name]
        given = [next(values, d) for values, d in zip((alphas, betas), defaults, strict=False)]
        functions.append(_with(function, given))
    return functions


def _with(function: Callable[..., Tensor], parameters: Sequence[float]) -> Activation:
    return lambda x: function(x, *parameters)


def _lstm(direction: Direction, functions: Sequence[Activation], linear: bool) -> Cell:
    gate, squash, emit = functions
    peephole = direction.peephole

    def step(projected: Tensor, state: State) -> State:
        hidden, cell = state
        i, o, f, c = (projected + direction.recurrent(hidden)).chunk(4, 1)
        if peephole is not None:
            to_i, to_o, to_f = peephole.chunk(3)
            i, f = i + to_i * cell, f + to_f * cell
        cell = gate(f) * cell + gate(i) * squash(c)
        if peephole is not None:
            o = o + to_o * cell
        return gate(o) * emit(cell), cell

    return step


def _gru(direction: Direction, functions: Sequence[Activation], linear: bool) -> Cell:
    gate, squash = functions
    size = direction.recurrence.shape[1]
    candidate = direction.recurrence[2 * size :], direction.recurrent_bias[2 * size :]

    def step(projected: Tensor, state: State) -> State:
        (hidden,) = state
        z, r, h = projected.chunk(3, 1)
        from_z, from_r, from_h = direction.recurrent(hidden).chunk(3, 1)
        z, r = gate(z + from_z), gate(r + from_r)
        h = squash(h + (r * from_h if linear else F.linear(r * hidden, *candidate)))
        return ((1 - z) * h + z * hidden,)

    return step


def _rnn(direction: Direction, functions: Sequence[Activation], linear: bool) -> Cell:
    (squash,) = functions

    def step(projected: Tensor, state: State) -> State:
        return (squash(projected + direction.recurrent(state[0])),)

    return step


CELLS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def unrolled(
    cell: Cell, projected: Tensor, state: State, valid: Tensor | None
) -> tuple[Tensor, State]:
    """Every hidden state (T, N, H), and the last state.

    Where `valid` (T, N) is False the sequence has ended: it gives zeros and its state stays.
    """
    outputs = []
    for t, inputs in enumerate(projected):
        following = cell(inputs, state)
        if valid is None:
            outputs.append(following[0])
            state = following
        else:
            going = valid[t][:, None]
            outputs.append(torch.where(going, following[0], torch.zeros_like(following[0])))
            state = tuple(torch.where(going, n, s) for n, s in zip(following, state, strict=True))
    return torch.stack(outputs), state
