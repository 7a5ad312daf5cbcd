"""The quantised operators that onnxruntime's own quantiser writes (com.microsoft)."""

from typing import Any

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.operators.pooling import average_pool, global_average_pool
from tiemcli.gradients.operators.quantised import (
    quantise_dynamically,
    real,
    requantised,
)
from tiemcli.gradients.operators.recurrent import lstm
from tiemcli.gradients.registry import MICROSOFT, register
from tiemcli.gradients.tensors import together


@register("QLinearAdd", domain=MICROSOFT)
def add(
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
    a, b = together(real(a, a_scale, a_zero), real(b, b_scale, b_zero))
    return requantised(a + b, scale, zero)


@register("QLinearMul", domain=MICROSOFT)
def multiply(
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
    a, b = together(real(a, a_scale, a_zero), real(b, b_scale, b_zero))
    return requantised(a * b, scale, zero)


def _channels_first(node: Node) -> bool:
    return not node.attr("channels_last", 0)


@register("QLinearGlobalAveragePool", domain=MICROSOFT, accepts=_channels_first)
def average(
    node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor, scale: Tensor, zero: Tensor
) -> Tensor:
    return requantised(global_average_pool(node, real(x, x_scale, x_zero)), scale, zero)


@register("QLinearAveragePool", domain=MICROSOFT, accepts=_channels_first)
def average_windows(
    node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor, scale: Tensor, zero: Tensor
) -> Tensor:
    return requantised(average_pool(node, real(x, x_scale, x_zero)), scale, zero)


@register("QLinearConcat", domain=MICROSOFT)
def concatenate(node: Node, scale: Tensor, zero: Tensor, *parts: Tensor) -> Tensor:
    """`parts` are levels, scale and zero point of each input in turn."""
    triples = zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
    values = together(*(real(*triple) for triple in triples))
    return requantised(torch.cat(values, node.attributes["axis"]), scale, zero)


@register("QLinearSigmoid", domain=MICROSOFT)
def sigmoid(
    node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor, scale: Tensor, zero: Tensor
) -> Tensor:
    return requantised(torch.sigmoid(real(x, x_scale, x_zero)), scale, zero)


@register("QLinearSoftmax", domain=MICROSOFT)
def softmax(
    node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor, scale: Tensor, zero: Tensor
) -> Tensor:
    values = torch.softmax(real(x, x_scale, x_zero), node.attr("axis", -1))
    return requantised(values, scale, zero)


@register("QGemm", domain=MICROSOFT)
def gemm(
    node: Node,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    c: Tensor | None = None,
    scale: Tensor | None = None,
    zero: Tensor | None = None,
) -> Tensor:
    """alpha · a · b + c; c is in steps of alpha · a_scale · b_scale, the result in levels or real."""
    alpha, transposed = node.attr("alpha", 1.0), bool(node.attr("transB", 0))
    left = real(a, a_scale, a_zero)
    right = real(b, b_scale, b_zero, 0 if transposed else 1)
    left, right = together(left, right)
    left = left.T if node.attr("transA", 0) else left
    result = alpha * (left @ (right.T if transposed else right))
    if c is not None:
        c, step = together(c, alpha * a_scale * b_scale)
        result = result + c.float() * step
    return result if scale is None or zero is None else requantised(result, scale, zero)


@register("DynamicQuantizeMatMul", domain=MICROSOFT)
def matmul_dynamic(
    node: Node,
    a: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    levels, scale, zero = quantise_dynamically(node, a)
    product = torch.matmul((levels - zero) * scale, real(b, b_scale, b_zero, -1))
    return product if bias is None else product + bias


@register("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_to_float(
    node: Node,
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    product = torch.matmul(real(a, a_scale, a_zero, -2), real(b, b_scale, b_zero, -1))
    return product if bias is None else product + bias


def _weights(levels: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Recurrent weights (directions, inputs, gates) as LSTM wants them, (directions, gates, inputs).

    Scales and zero points are one a direction, or one a gate of each.
    """
    levels, scale, zero = together(levels, scale, zero)
    directions = levels.shape[0]
    centre = levels.float() - zero.float().reshape(directions, 1, -1)
    return (centre * scale.reshape(directions, 1, -1)).transpose(1, 2)


@register("DynamicQuantizeLSTM", domain=MICROSOFT)
def lstm_dynamic(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    peephole: Tensor | None,
    *scales: Tensor,
) -> Any:
    """An LSTM with quantised weights; onnxruntime rounds the activations too, this does not."""
    w_scale, w_zero, r_scale, r_zero = scales
    weight = _weights(weight, w_scale, w_zero)
    recurrence = _weights(recurrence, r_scale, r_zero)
    return lstm(node, x, weight, recurrence, bias, lengths, hidden, cell, peephole)
