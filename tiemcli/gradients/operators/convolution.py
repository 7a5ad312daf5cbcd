"""Convolutions of one, two and three dimensions."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import together

_CONVOLVE: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSE: tuple[Callable[..., Tensor], ...] = (
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
)


def padding(
    node: Node, size: Sequence[int], kernel: Sequence[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """What a window operator pads before and after each spatial axis, SAME and VALID resolved."""
    rule = node.attr("auto_pad", "NOTSET")
    if rule in ("NOTSET", ""):
        pads = node.attr("pads", [0] * 2 * len(kernel))
        return pads[: len(kernel)], pads[len(kernel) :]
    if rule == "VALID":
        return [0] * len(kernel), [0] * len(kernel)
    totals = [
        max((-(-length // stride) - 1) * stride + (width - 1) * dilation + 1 - length, 0)
        for length, width, stride, dilation in zip(size, kernel, strides, dilations, strict=True)
    ]
    return _halves(totals, upper=rule == "SAME_UPPER")


def _halves(totals: Sequence[int], upper: bool) -> tuple[list[int], list[int]]:
    """Split each total in two; an odd one leaves more after the data if `upper`, else before."""
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (small, large) if upper else (large, small)


def padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """`x` with its last axes padded, or cut where the number is negative."""
    pairs = zip(reversed(before), reversed(after), strict=True)
    return F.pad(x, [width for pair in pairs for width in pair], value=value)


@register("Conv")
def convolve(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """With channels last, a kernel of one frame or of one pixel convolves in two dimensions.

    The axes then fold without a copy, and torch's small three-dimensional convolutions are slow.
    """
    x, weight, bias = together(x, weight, bias)
    rank = weight.ndim - 2
    strides, dilations = node.attr("strides", [1] * rank), node.attr("dilations", [1] * rank)
    before, after = padding(node, x.shape[2:], weight.shape[2:], strides, dilations)
    if before != after:
        x, before = padded(x, before, after), [0] * rank
    group = node.attr("group", 1)
    if rank == 3 and x.is_contiguous(memory_format=torch.channels_last_3d):
        if weight.shape[2] == strides[0] == 1 and before[0] == 0:
            frames = x.transpose(1, 2)
            flat = weight.squeeze(2), bias, strides[1:], before[1:], dilations[1:], group
            maps = F.conv2d(frames.flatten(0, 1), *flat)
            return maps.reshape(*frames.shape[:2], *maps.shape[1:]).transpose(1, 2)
        if weight.shape[3:] == (1, 1) and strides[1:] == [1, 1] and before[1:] == [0, 0]:
            steps = (strides[0], 1), (before[0], 0), (dilations[0], 1)
            maps = F.conv2d(x.flatten(3), weight.squeeze(4), bias, *steps, group)
            return maps.reshape(*maps.shape[:3], *x.shape[3:])
    return _CONVOLVE[rank - 1](x, weight, bias, strides, before, dilations, group)


@register("ConvTranspose")
def convolve_transposed(
    node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    x, weight, bias = together(x, weight, bias)
    rank = weight.ndim - 2
    strides, dilations = node.attr("strides", [1] * rank), node.attr("dilations", [1] * rank)
    extra = node.attr("output_padding", [0] * rank)
    # torch wants the extra rows smaller than a stride, ONNX does not: pad them by hand instead.
    function = _TRANSPOSE[rank - 1]
    full = function(x, weight, bias, strides, 0, 0, node.attr("group", 1), dilations)
    full_size = [length + more for length, more in zip(full.shape[2:], extra, strict=True)]
    before, after = _trimming(node, x.shape[2:], full_size, strides)
    return padded(full, [-b for b in before], [e - a for e, a in zip(extra, after, strict=True)])


def _trimming(
    node: Node, size: Sequence[int], full: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """What a transposed convolution cuts off before and after each spatial axis."""
    rule = node.attr("auto_pad", "NOTSET")
    wanted: Any = node.attributes.get("output_shape")
    if wanted is None and rule.startswith("SAME"):
        wanted = [length * stride for length, stride in zip(size, strides, strict=True)]
    if wanted is None:
        pads = node.attr("pads", [0] * 2 * len(size))
        return pads[: len(size)], pads[len(size) :]
    totals = [length - target for length, target in zip(full, wanted[-len(size) :], strict=True)]
    return _halves(totals, upper=rule == "SAME_UPPER")
