"""Sequences, which are Python lists of tensors, and optionals, which are None when empty."""

from typing import Any

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import integers, together


@register("SequenceEmpty")
def empty(node: Node) -> list[Tensor]:
    return []


@register("SequenceConstruct")
def construct(node: Node, *values: Tensor) -> list[Tensor]:
    return list(values)


@register("SequenceInsert")
def insert(
    node: Node, sequence: list[Tensor], value: Tensor, position: Tensor | None = None
) -> list[Tensor]:
    longer = list(sequence)
    longer.insert(len(sequence) if position is None else int(position), value)
    return longer


@register("SequenceErase")
def erase(node: Node, sequence: list[Tensor], position: Tensor | None = None) -> list[Tensor]:
    shorter = list(sequence)
    shorter.pop(-1 if position is None else int(position))
    return shorter


@register("SequenceAt")
def at(node: Node, sequence: list[Tensor], position: Tensor) -> Tensor:
    return sequence[int(position)]


@register("SequenceLength")
def length(node: Node, sequence: list[Tensor]) -> Tensor:
    return torch.tensor(len(sequence))


@register("ConcatFromSequence")
def concatenate(node: Node, sequence: list[Tensor]) -> Tensor:
    join = torch.stack if node.attr("new_axis", 0) else torch.cat
    return join(together(*sequence), node.attributes["axis"])


@register("SplitToSequence")
def split(node: Node, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
    """The parts of `x`: of one length, of listed lengths, or of one with its axis dropped."""
    axis = node.attr("axis", 0)
    if lengths is None:
        parts = torch.split(x, 1, axis)
        return list(parts) if node.attr("keepdims", 1) else [part.squeeze(axis) for part in parts]
    return list(torch.split(x, int(lengths) if lengths.ndim == 0 else integers(lengths), axis))


@register("Optional")
def optional(node: Node, value: Any = None) -> Any:
    return value


@register("OptionalGetElement")
def get_element(node: Node, value: Any) -> Any:
    return value


@register("OptionalHasElement")
def has_element(node: Node, value: Any = None) -> Tensor:
    return torch.tensor(value is not None)
