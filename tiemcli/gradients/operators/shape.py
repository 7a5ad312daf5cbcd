"""Shapes, and operators that only move elements about. Shapes are int64 tensors on the CPU."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.operators.convolution import padded
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import integers, listed, together


@register("Shape")
def shape(node: Node, x: Tensor) -> Tensor:
    end = node.attributes.get("end")
    return torch.tensor(list(x.shape)[node.attr("start", 0) : end], dtype=torch.int64)


@register("Size")
def size(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


@register("Reshape")
def reshape(node: Node, x: Tensor, target: Tensor | None = None) -> Tensor:
    """The new shape; a zero copies the axis of `x` unless `allowzero` makes it a true zero."""
    sizes = listed(node, "shape", target) or []
    if not node.attr("allowzero", 0):
        sizes = [x.shape[axis] if length == 0 else length for axis, length in enumerate(sizes)]
    return x.reshape(sizes)


@register("Flatten")
def flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.attr("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@register("Transpose")
def transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.attr("perm", list(reversed(range(x.ndim)))))


@register("Squeeze")
def squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = listed(node, "axes", axes)
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


@register("Unsqueeze")
def unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = listed(node, "axes", axes) or []
    rank = x.ndim + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


@register("Concat")
def concatenate(node: Node, *parts: Tensor) -> Tensor:
    return torch.cat(together(*parts), node.attr("axis", 1))


@register("Split")
def split(node: Node, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
    """The parts along an axis; without lengths they are equal, save a shorter last one."""
    axis = node.attr("axis", 0)
    parts = listed(node, "split", lengths)
    if parts is None:
        count = node.attr("num_outputs", len(node.outputs))
        width = -(-x.shape[axis] // count)
        parts = [width] * (count - 1) + [x.shape[axis] - width * (count - 1)]
    return torch.split(x, parts, axis)


@register("Expand")
def expand(node: Node, x: Tensor, target: Tensor) -> Tensor:
    both: torch.Size = torch.broadcast_shapes(x.shape, integers(target))
    return x.expand(both)


@register("Tile")
def tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(integers(repeats))


def _reflected(positions: Tensor, length: int) -> Tensor:
    """Positions folded back at both ends, the ends themselves not repeated."""
    period = max(2 * (length - 1), 1)
    positions = positions.abs() % period
    return torch.where(positions >= length, period - positions, positions)


@register("Pad")
def pad(
    node: Node,
    x: Tensor,
    pads: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """The padded tensor, or the cropped one where a pad is negative."""
    widths = listed(node, "pads", pads) or []
    chosen = list(range(x.ndim)) if axes is None else [a % x.ndim for a in integers(axes)]
    before, after = [0] * x.ndim, [0] * x.ndim
    for index, axis in enumerate(chosen):
        before[axis], after[axis] = widths[index], widths[index + len(chosen)]
    mode = node.attr("mode", "constant")
    if mode == "constant":
        fill = node.attr("value", 0.0) if value is None else value.item()
        return padded(x, before, after, fill)
    for axis in range(x.ndim):
        if before[axis] or after[axis]:
            length = x.shape[axis]
            positions = torch.arange(-before[axis], length + after[axis])
            if mode == "edge":
                positions = positions.clamp(0, length - 1)
            elif mode == "wrap":
                positions = positions % length
            else:
                positions = _reflected(positions, length)
            x = x.index_select(axis, positions.to(x.device))
    return x


@register("DepthToSpace")
def depth_to_space(node: Node, x: Tensor) -> Tensor:
    block: int = node.attributes["blocksize"]
    if node.attr("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, block, block, channels // block**2, height, width)
    moved = blocks.permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(batch, channels // block**2, height * block, width * block)


@register("SpaceToDepth")
def space_to_depth(node: Node, x: Tensor) -> Tensor:
    block: int = node.attributes["blocksize"]
    if node.attr("mode", "DCR") == "CRD":
        return F.pixel_unshuffle(x, block)
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // block, block, width // block, block)
    moved = blocks.permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(batch, channels * block**2, height // block, width // block)
