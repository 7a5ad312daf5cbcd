"""Pooling over windows and over everything."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.operators.convolution import padded, padding
from tiemcli.gradients.registry import register

_CONVOLVE: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
_MAXIMUM: tuple[Callable[..., Any], ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_AVERAGE: tuple[Callable[..., Tensor], ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@dataclass(frozen=True)
class _Window:
    """A pooling window, one number an axis. `beyond`: further padding that ceil_mode asks for."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    beyond: list[int]

    @classmethod
    def of(cls, node: Node, size: Sequence[int]) -> "_Window":
        kernel: list[int] = node.attributes["kernel_shape"]
        strides = node.attr("strides", [1] * len(kernel))
        dilations = node.attr("dilations", [1] * len(kernel))
        before, after = padding(node, size, kernel, strides, dilations)
        beyond = [0] * len(kernel)
        if node.attr("ceil_mode", 0):
            ends = [sum(parts) for parts in zip(size, before, after, strict=True)]
            spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
            beyond = [
                _overhang(end, span, stride, start + length)
                for end, span, stride, start, length in zip(
                    ends, spans, strides, before, size, strict=True
                )
            ]
        return cls(kernel, strides, dilations, before, after, beyond)

    @property
    def symmetric(self) -> bool:
        """Whether torch pads as the file asks: alike on both sides, by half a kernel at most."""
        halves = [k // 2 for k in self.kernel]
        fits = all(b <= half for b, half in zip(self.before, halves, strict=True))
        return self.before == self.after and not any(self.beyond) and fits

    def pad(self, x: Tensor, value: float) -> Tensor:
        after = [a + b for a, b in zip(self.after, self.beyond, strict=True)]
        return padded(x, self.before, after, value)

    def sums(self, x: Tensor) -> Tensor:
        """The sum over each window of `x`, already padded: a convolution with ones."""
        rank = len(self.kernel)
        ones = x.new_ones([1, 1, *self.kernel])
        planes = x.reshape(-1, 1, *x.shape[2:])
        summed = _CONVOLVE[rank - 1](planes, ones, None, self.strides, 0, self.dilations)
        return summed.reshape(*x.shape[:2], *summed.shape[2:])


def _overhang(end: int, span: int, stride: int, last: int) -> int:
    """How far the last window of ceil_mode passes `end`; it must begin before `last`."""
    steps = -(-(end - span) // stride)
    if steps * stride >= last:
        steps -= 1
    return max(steps * stride + span - end, 0)


def _without_indices(node: Node) -> bool:
    return not node.wanted(1)


@register("MaxPool", accepts=_without_indices)
def max_pool(node: Node, x: Tensor) -> Tensor:
    window = _Window.of(node, x.shape[2:])
    function = _MAXIMUM[len(window.kernel) - 1]
    if window.symmetric:
        pooled: Tensor = function(x, window.kernel, window.strides, window.before, window.dilations)
        return pooled
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    pooled = function(window.pad(x, lowest), window.kernel, window.strides, 0, window.dilations)
    return pooled


@register("AveragePool")
def average_pool(node: Node, x: Tensor) -> Tensor:
    """The mean over each window; padding counts as zeros only if `count_include_pad` says so."""
    window = _Window.of(node, x.shape[2:])
    counted = bool(node.attr("count_include_pad", 0))
    if window.symmetric and set(window.dilations) == {1}:
        function = _AVERAGE[len(window.kernel) - 1]
        return function(x, window.kernel, window.strides, window.before, False, counted)
    ones = padded(torch.ones_like(x[:1, :1]), window.before, window.after, float(counted))
    ones = padded(ones, [0] * len(window.beyond), window.beyond)
    return window.sums(window.pad(x, 0.0)) / window.sums(ones)


@register("LpPool")
def lp_pool(node: Node, x: Tensor) -> Tensor:
    window = _Window.of(node, x.shape[2:])
    order = node.attr("p", 2)
    powers: Tensor = window.sums(window.pad(x.abs() ** order, 0.0)) ** (1 / order)
    return powers


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@register("GlobalAveragePool")
def global_average_pool(node: Node, x: Tensor) -> Tensor:
    return x.mean(_spatial(x), keepdim=True)


@register("GlobalMaxPool")
def global_max_pool(node: Node, x: Tensor) -> Tensor:
    return x.amax(_spatial(x), keepdim=True)


@register("GlobalLpPool")
def global_lp_pool(node: Node, x: Tensor) -> Tensor:
    order = node.attr("p", 2)
    powers: Tensor = (x.abs() ** order).sum(_spatial(x), keepdim=True) ** (1 / order)
    return powers
