"""Quantised arithmetic, kept in float: rounding is straight-through, clamping is not.

A quantised tensor that depends on the input stays a float tensor of whole numbers, so that the
gradient passes; weights in integers become float when they meet it.
"""

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.operators.convolution import convolve
from tiemcli.gradients.registry import MICROSOFT, register
from tiemcli.gradients.tensors import along, dtype_of, straight_through, together


def levels(x: Tensor, scale: Tensor, zero: Tensor | None, dtype: torch.dtype) -> Tensor:
    """`x` / scale, rounded, shifted by the zero point and cut to the range of `dtype`."""
    limits = torch.iinfo(dtype)
    shifted = straight_through(torch.round, x / scale)
    if zero is not None:
        shifted = shifted + zero.to(shifted.dtype)
    return shifted.clamp(limits.min, limits.max)


def centred(x: Tensor, zero: Tensor | None = None, axis: int = 0) -> Tensor:
    """Levels less their zero point, in float32; a vector of zero points lies along `axis`."""
    x, zero = together(x.float(), zero)
    return x if zero is None else x - along(axis, zero.float(), x)


def real(x: Tensor, scale: Tensor, zero: Tensor | None = None, axis: int = 0) -> Tensor:
    """The values that levels stand for."""
    x, zero, scale = together(x, zero, scale)
    return centred(x, zero, axis) * along(axis, scale, x)


def requantised(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The levels of `x` for one scale and zero point, whose type says the range."""
    # A zero point that was itself computed has become float; onnxruntime computes uint8 ones only.
    dtype = torch.uint8 if zero.is_floating_point() else zero.dtype
    x, scale, zero = together(x, scale, zero)
    return levels(x, scale, zero, dtype)


def _spread(node: Node, vector: Tensor, like: Tensor) -> Tensor:
    """Scales or zero points shaped to meet `like`: one, one a channel, or one a block of an axis."""
    axis, block = node.attr("axis", 1), node.attr("block_size", 0)
    if block:
        return vector.repeat_interleave(block, axis).narrow(axis, 0, like.shape[axis])
    return along(axis % max(like.ndim, 1), vector, like)


@register("QuantizeLinear")
@register("QuantizeLinear", domain=MICROSOFT)
def quantise(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    x, scale, zero = together(x, scale, zero)
    dtype = torch.uint8
    if zero is not None and not zero.is_floating_point():
        dtype = zero.dtype
    elif node.attr("output_dtype", 0):
        dtype = dtype_of(node.attributes["output_dtype"])
    point = None if zero is None else _spread(node, zero, x)
    return levels(x, _spread(node, scale, x), point, dtype)


@register("DequantizeLinear")
@register("DequantizeLinear", domain=MICROSOFT)
def dequantise(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    x, scale, zero = together(x, scale, zero)
    values = x.to(scale.dtype)
    if zero is not None:
        values = values - _spread(node, zero, x).to(scale.dtype)
    return values * _spread(node, scale, x)


@register("DynamicQuantizeLinear")
def quantise_dynamically(node: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels in [0, 255] over the range of `x`, zero included, with their scale and zero point.

    The scale follows the data but carries no gradient: it moves with one extreme element only.
    """
    with torch.no_grad():
        low, high = x.min().clamp(max=0), x.max().clamp(min=0)
        scale = (high - low) / 255
        zero = torch.round((-low / scale).clamp(0, 255))
    return levels(x, scale, zero, torch.uint8), scale, zero


@register("MatMulInteger")
def matmul_integer(
    node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    a, b = together(centred(a, a_zero, -2), centred(b, b_zero, -1))
    return torch.matmul(a, b)


@register("ConvInteger")
def convolve_integer(
    node: Node, x: Tensor, weight: Tensor, zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    return convolve(node, centred(x, zero), centred(weight, w_zero))


@register("QLinearConv")
def convolve_quantised(
    node: Node,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    weight: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    scale: Tensor,
    zero: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """The convolution of what the levels stand for; the bias is in steps of x_scale · w_scale."""
    if bias is not None:
        bias, step = together(bias, x_scale * w_scale)
        bias = bias.float() * step.reshape(-1)
    convolved = convolve(node, real(x, x_scale, x_zero), real(weight, w_scale, w_zero), bias)
    return requantised(convolved, scale, zero)


@register("QLinearMatMul")
def matmul_quantised(
    node: Node,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    scale: Tensor,
    zero: Tensor,
) -> Tensor:
    product = torch.matmul(real(a, a_scale, a_zero, -2), real(b, b_scale, b_zero, -1))
    return requantised(product, scale, zero)
