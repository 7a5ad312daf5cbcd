"""Normalisations, with the statistics of the data or those of training."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import along, together


def _in_inference(node: Node) -> bool:
    return not node.attr("training_mode", 0)


@register("BatchNormalization", accepts=_in_inference)
def batch_norm(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    epsilon = node.attr("epsilon", 1e-5)
    return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)


@register("InstanceNormalization")
def instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    axes = tuple(range(2, x.ndim))
    return standardised(x, axes, node.attr("epsilon", 1e-5)) * along(1, scale, x) + along(
        1, bias, x
    )


@register("LayerNormalization")
def layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
    """The normalised tensor, with the mean and the inverse deviation where they are asked for."""
    x, scale, bias = together(x, scale, bias)
    first = node.attr("axis", -1) % x.ndim
    epsilon = node.attr("epsilon", 1e-5)
    shape = x.shape[first:]
    if scale.shape == shape and (bias is None or bias.shape == shape):
        normal = F.layer_norm(x, shape, scale, bias, epsilon)
    else:
        normal = F.layer_norm(x, shape, None, None, epsilon) * scale
        normal = normal if bias is None else normal + bias
    if len(node.outputs) == 1:
        return normal
    axes = tuple(range(first, x.ndim))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return normal, mean, torch.rsqrt(variance + epsilon)


@register("RMSNormalization")
def rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    x, scale = together(x, scale)
    axes = tuple(range(node.attr("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + node.attr("epsilon", 1e-5)) * scale


@register("GroupNormalization")
def group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels; scale and bias are one a group in opset 18, one a channel from 21."""
    groups: int = node.attributes["num_groups"]
    width = x.shape[1] // scale.shape[0]
    scale, bias = scale.repeat_interleave(width), bias.repeat_interleave(width)
    return F.group_norm(x, groups, scale, bias, node.attr("epsilon", 1e-5))


@register("MeanVarianceNormalization")
def mean_variance_norm(node: Node, x: Tensor) -> Tensor:
    axes = tuple(node.attr("axes", [0, 2, 3]))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (variance.sqrt() + 1e-9)


@register("LpNormalization")
def lp_norm(node: Node, x: Tensor) -> Tensor:
    return F.normalize(x, node.attr("p", 2), node.attr("axis", -1))


@register("LRN")
def local_response_norm(node: Node, x: Tensor) -> Tensor:
    """x / (bias + alpha / size · Σ x²)^beta over `size` neighbouring channels."""
    size: int = node.attributes["size"]
    squares = x.square().movedim(1, -1)
    squares = F.pad(squares, [(size - 1) // 2, size // 2]).unfold(-1, size, 1).sum(-1)
    base = node.attr("bias", 1.0) + node.attr("alpha", 1e-4) / size * squares.movedim(-1, 1)
    normal: Tensor = x / base ** node.attr("beta", 0.75)
    return normal


def standardised(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """(x - mean) / √(variance + epsilon) over `axes`."""
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)
