"""Reductions over axes, cumulative sums and the order of elements."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import listed

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _extreme(function: Callable[..., Tensor], empty: Callable[[torch.dtype], Any]) -> Reduction:
    """A maximum or minimum, for which an empty axis has a value in ONNX but none in torch."""

    def reduce(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if x.numel():
            return function(x, axes, keep)
        # The sum has the shape of the result, and is zero.
        return torch.full_like(x.sum(axes, keepdim=keep), empty(x.dtype), dtype=x.dtype)

    return reduce


def _lowest(dtype: torch.dtype) -> Any:
    if dtype == torch.bool:
        return False
    return -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> Any:
    if dtype == torch.bool:
        return True
    return math.inf if dtype.is_floating_point else torch.iinfo(dtype).max


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "ReduceMax": _extreme(torch.amax, _lowest),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": _extreme(torch.amin, _highest),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _over_axes(function: Reduction) -> Callable[..., Tensor]:
    def reduce(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = listed(node, "axes", axes)
        if not chosen and node.attr("noop_with_empty_axes", 0):
            # Over no axis, its square, root or logarithm still applies to each element.
            return function(x.unsqueeze(0), [0], False)
        keep = bool(node.attr("keepdims", 1))
        return function(x, chosen or list(range(x.ndim)), keep).to(x.dtype)

    return reduce


for _name, _reduction in _REDUCTIONS.items():
    register(_name)(_over_axes(_reduction))


@register("ArgMax")
def argmax(node: Node, x: Tensor) -> Tensor:
    axis, keep = node.attr("axis", 0), bool(node.attr("keepdims", 1))
    if node.attr("select_last_index", 0):
        return x.shape[axis] - 1 - x.flip(axis).argmax(axis, keep)
    return x.argmax(axis, keep)


@register("ArgMin")
def argmin(node: Node, x: Tensor) -> Tensor:
    axis, keep = node.attr("axis", 0), bool(node.attr("keepdims", 1))
    if node.attr("select_last_index", 0):
        return x.shape[axis] - 1 - x.flip(axis).argmin(axis, keep)
    return x.argmin(axis, keep)


def _cumulative(
    node: Node, x: Tensor, axis: int, function: Callable[[Tensor, int], Tensor], first: int
) -> Tensor:
    """Accumulate along an axis, from the end if `reverse`; `exclusive` begins with `first`."""
    x = x.flip(axis) if node.attr("reverse", 0) else x
    if node.attr("exclusive", 0):
        begin = torch.full_like(x.narrow(axis, 0, 1), first)
        x = torch.cat([begin, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    result = function(x, axis).to(x.dtype)
    return result.flip(axis) if node.attr("reverse", 0) else result


@register("CumSum")
def cumulative_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    return _cumulative(node, x, int(axis), torch.cumsum, first=0)


@register("CumProd")
def cumulative_product(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    return _cumulative(node, x, int(axis), torch.cumprod, first=1)


@register("TopK")
def top(node: Node, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest or smallest with their positions; of equals, the earlier comes first."""
    count = int(node.attributes["k"] if k is None else k)
    axis = node.attr("axis", -1)
    values, positions = torch.sort(
        x, dim=axis, descending=bool(node.attr("largest", 1)), stable=True
    )
    return values.narrow(axis, 0, count), positions.narrow(axis, 0, count)
