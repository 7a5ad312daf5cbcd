"""Activation functions, and the softmax family."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import together

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "HardSwish": F.hardswish,
    "Mish": F.mish,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Tanh": torch.tanh,
}


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Node, Tensor], Tensor]:
    return lambda node, x: function(x)


for _name, _plain in _PLAIN.items():
    register(_name)(_of_one(_plain))


@register("PRelu")
def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    x, slope = together(x, slope)
    return torch.where(x < 0, x * slope, x)


@register("LeakyRelu")
def leaky_relu(node: Node, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.attr("alpha", 0.01))


@register("ThresholdedRelu")
def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    return torch.where(x > node.attr("alpha", 1.0), x, torch.zeros_like(x))


@register("Elu")
def elu(node: Node, x: Tensor) -> Tensor:
    return F.elu(x, node.attr("alpha", 1.0))


@register("Celu")
def celu(node: Node, x: Tensor) -> Tensor:
    return F.celu(x, node.attr("alpha", 1.0))


@register("Selu")
def selu(node: Node, x: Tensor) -> Tensor:
    scale = node.attr("gamma", 1.0507009873554805)
    return scale * F.elu(x, node.attr("alpha", 1.6732632423543772))


@register("Gelu")
def gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.attr("approximate", "none"))


@register("Swish")
def swish(node: Node, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.attr("alpha", 1.0) * x)


@register("HardSigmoid")
def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return (x * node.attr("alpha", 0.2) + node.attr("beta", 0.5)).clamp(0, 1)


@register("Shrink")
def shrink(node: Node, x: Tensor) -> Tensor:
    threshold, bias = node.attr("lambd", 0.5), node.attr("bias", 0.0)
    inner = torch.zeros_like(x)
    return torch.where(x < -threshold, x + bias, torch.where(x > threshold, x - bias, inner))


def _over_axis(node: Node, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    """The function along the node's axis; before opset 13, over all axes from there on as one."""
    if node.opset >= 13:
        return function(x, node.attr("axis", -1))
    axis = node.attr("axis", 1) % x.ndim
    return function(x.reshape(math.prod(x.shape[:axis]), -1), 1).reshape(x.shape)


@register("Softmax")
def softmax(node: Node, x: Tensor) -> Tensor:
    return _over_axis(node, x, torch.softmax)


@register("LogSoftmax")
def log_softmax(node: Node, x: Tensor) -> Tensor:
    return _over_axis(node, x, torch.log_softmax)


@register("Hardmax")
def hardmax(node: Node, x: Tensor) -> Tensor:
    """One at the first maximum along the axis, zero elsewhere."""

    def one_hot(values: Tensor, axis: int) -> Tensor:
        return torch.zeros_like(values).scatter(axis, values.argmax(axis, keepdim=True), 1)

    return _over_axis(node, x, one_hot)
