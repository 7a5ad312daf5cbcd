"""The fusions that onnxruntime writes into an optimised file (com.microsoft)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.operators.convolution import convolve
from tiemcli.gradients.operators.linear import gemm
from tiemcli.gradients.registry import MICROSOFT, register
from tiemcli.gradients.tensors import together

_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "": lambda x: x,
    "Clip": lambda x, low, high: x.clamp(low, high),
    "HardSigmoid": lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1),
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}


def _known_activation(node: Node) -> bool:
    return node.attr("activation", "") in _ACTIVATIONS


def _activated(node: Node, x: Tensor) -> Tensor:
    """`x` activated; FusedConv lists the parameters, FusedGemm names them."""
    named = [node.attributes.get(f"activation_{name}") for name in ("alpha", "beta")]
    parameters = node.attr("activation_params", [value for value in named if value is not None])
    return _ACTIVATIONS[node.attr("activation", "")](x, *parameters)


@register("FusedConv", domain=MICROSOFT, accepts=_known_activation)
def fused_conv(
    node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None, skip: Tensor | None = None
) -> Tensor:
    convolved = convolve(node, x, weight, bias)
    return _activated(node, convolved if skip is None else convolved + skip)


@register("FusedGemm", domain=MICROSOFT, accepts=_known_activation)
def fused_gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    return _activated(node, gemm(node, a, b, c))


def _without_batch_transpose(node: Node) -> bool:
    return not node.attr("transBatchA", 0) and not node.attr("transBatchB", 0)


@register("FusedMatMul", domain=MICROSOFT, accepts=_without_batch_transpose)
def fused_matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    a = a.transpose(-1, -2) if node.attr("transA", 0) else a
    b = b.transpose(-1, -2) if node.attr("transB", 0) else b
    return node.attr("alpha", 1.0) * torch.matmul(a, b)


@register("Gelu", domain=MICROSOFT)
def gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x)


@register("BiasGelu", domain=MICROSOFT)
def bias_gelu(node: Node, x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x + bias)


@register("FastGelu", domain=MICROSOFT)
def fast_gelu(node: Node, x: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@register("QuickGelu", domain=MICROSOFT)
def quick_gelu(node: Node, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.attr("alpha", 1.702) * x)


@register("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(
    node: Node,
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """The normalised sum; its mean and inverse deviation, which inference never asks for; the sum."""
    total = x + skip if bias is None else x + skip + bias
    normal = F.layer_norm(total, total.shape[-1:], scale, shift, node.attr("epsilon", 1e-12))
    return normal, None, None, total
