"""Taking elements out of tensors and putting them in, by slice or by position."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import integers, listed, together


@register("Slice")
def take_slice(
    node: Node,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Slices as Python's, out-of-range ends cut; torch slices forwards only, so others select."""
    begins, stops = listed(node, "starts", starts) or [], listed(node, "ends", ends) or []
    chosen = listed(node, "axes", axes) or range(len(begins))
    strides = [1] * len(begins) if steps is None else integers(steps)
    for axis, start, stop, step in zip(chosen, begins, stops, strides, strict=True):
        length = x.shape[axis]
        # A stop before the first element, which a negative step needs, is None in Python.
        end = None if step < 0 and stop < -length else stop
        positions = range(*slice(start, end, step).indices(length))
        if step == 1:
            x = x.narrow(axis, min(positions.start, length), len(positions))
        else:
            x = x.index_select(axis, torch.tensor(positions, dtype=torch.int64, device=x.device))
    return x


def _positions(indices: Tensor, length: int, like: Tensor) -> Tensor:
    """Indices as int64 from the front, on the device of `like`."""
    indices = indices.long().to(like.device)
    return torch.where(indices < 0, indices + length, indices)


@register("Gather")
def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.attr("axis", 0) % x.ndim
    if indices.ndim == 0:
        return x.select(axis, int(indices))
    positions = _positions(indices, x.shape[axis], x)
    taken = x.index_select(axis, positions.reshape(-1))
    return taken.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@register("GatherElements")
def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.attr("axis", 0)
    return x.gather(axis, _positions(indices, x.shape[axis], x))


def _rows(indices: Tensor, shape: Sequence[int], like: Tensor) -> Tensor:
    """Index tuples (..., K) into axes of `shape` (K,) as positions in those axes made one."""
    row = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=like.device)
    for index, length in zip(indices.unbind(-1), shape, strict=True):
        row = row * length + _positions(index, length, like)
    return row


@register("GatherND")
def gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    batch, depth = node.attr("batch_dims", 0), indices.shape[-1]
    rows = _rows(indices, x.shape[batch : batch + depth], x)
    inner = x.shape[batch + depth :]
    groups = math.prod(x.shape[:batch])
    block = math.prod(x.shape[batch : batch + depth])
    # Each group of the batch looks up its own block: number the rows through.
    first = torch.arange(groups, device=x.device) * block
    first = first.reshape([*x.shape[:batch], *[1] * (rows.ndim - batch)])
    flat = x.reshape([groups * block, *inner])
    return flat[rows + first].reshape([*indices.shape[:-1], *inner])


_REDUCTION = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@register("ScatterND")
def scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """`x` with whole sub-tensors put, or reduced, into the places that index tuples name."""
    x, updates = together(x, updates)
    depth = indices.shape[-1]
    rows = _rows(indices, x.shape[:depth], x).reshape(-1, 1)
    # Nothing may be left to infer: an empty tensor, such as a shift by 0 slices off, has no one size.
    inner = math.prod(x.shape[depth:])
    flat = x.reshape(math.prod(x.shape[:depth]), inner)
    values = updates.to(x.dtype).reshape(len(rows), inner)
    return _scatter(node, flat, 0, rows.expand_as(values), values).reshape(x.shape)


@register("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    x, updates = together(x, updates)
    axis = node.attr("axis", 0)
    return _scatter(node, x, axis, _positions(indices, x.shape[axis], x), updates)


def _scatter(node: Node, x: Tensor, axis: int, positions: Tensor, values: Tensor) -> Tensor:
    reduction = node.attr("reduction", "none")
    if reduction == "none":
        return x.scatter(axis, positions, values)
    return x.scatter_reduce(axis, positions, values, _REDUCTION[reduction])


@register("Compress")
def compress(node: Node, x: Tensor, condition: Tensor) -> Tensor:
    """The entries along an axis, or of the flat tensor, where the condition holds."""
    axis = node.attributes.get("axis")
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return x.index_select(axis, condition.nonzero().reshape(-1).to(x.device))


@register("NonZero")
def nonzero(node: Node, x: Tensor) -> Tensor:
    return torch.nonzero(x).T.contiguous()


@register("ReverseSequence")
def reverse_sequence(node: Node, x: Tensor, lengths: Tensor) -> Tensor:
    """The first `lengths[b]` steps of each sequence b in reverse, the rest as they are."""
    axes = node.attr("time_axis", 0), node.attr("batch_axis", 1)
    ordered = x.movedim(axes, (0, 1))
    steps = torch.arange(ordered.shape[0], device=x.device)[:, None]
    lengths = lengths.to(x.device)
    positions = torch.where(steps < lengths, lengths - 1 - steps, steps)
    positions = positions.reshape(positions.shape + (1,) * (x.ndim - 2)).expand_as(ordered)
    return ordered.gather(0, positions).movedim((0, 1), axes)
