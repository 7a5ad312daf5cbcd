"""Tensors made from numbers: constants, ranges, identities, one-hot codes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import dtype_of, integers, together


def _dense(node: Node) -> bool:
    return "sparse_value" not in node.attributes


@register("Constant", accepts=_dense)
def constant(node: Node) -> Any:
    """The one attribute: a tensor, numbers, or strings, which stay a NumPy array."""
    ((name, value),) = node.attributes.items()
    if name == "value":
        return value
    if name in ("value_float", "value_floats"):
        return torch.tensor(value, dtype=torch.float32)
    if name in ("value_int", "value_ints"):
        return torch.tensor(value, dtype=torch.int64)
    return np.array(value)


@register("ConstantOfShape")
def constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = node.attr("value", torch.zeros(1))
    return torch.full(integers(shape), value.item(), dtype=value.dtype)


@register("Range")
def arange(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@register("EyeLike")
def eye_like(node: Node, x: Tensor) -> Tensor:
    rows, columns = (torch.arange(size, device=x.device) for size in x.shape)
    dtype = dtype_of(node.attributes["dtype"]) if "dtype" in node.attributes else x.dtype
    return (columns - rows[:, None] == node.attr("k", 0)).to(dtype)


@register("OneHot")
def one_hot(node: Node, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """values[1] at each index and values[0] elsewhere; an index out of range marks nothing."""
    indices, values = together(indices, values)
    count = int(depth)
    indices = torch.where(indices < 0, indices + count, indices)
    chosen = indices[..., None] == torch.arange(count, device=indices.device)
    return torch.where(chosen, values[1], values[0]).movedim(-1, node.attr("axis", -1))


@register("Trilu")
def triangle(node: Node, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    offset = 0 if diagonal is None else int(diagonal)
    return torch.triu(x, offset) if node.attr("upper", 1) else torch.tril(x, offset)
