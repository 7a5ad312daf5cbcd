"""Matrix products."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import together


@register("MatMul")
def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    return torch.matmul(a, b)


@register("Gemm")
def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha · a · b + beta · c, with `a` and `b` transposed if asked."""
    a, b, c = together(a, b, c)
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    a = a.T if node.attr("transA", 0) else a
    if node.attr("transB", 0) and alpha == beta == 1 and c is not None and c.shape == b.shape[:1]:
        return F.linear(a, b, c)
    product = a @ (b.T if node.attr("transB", 0) else b)
    if alpha != 1:
        product = product * alpha
    if c is None:
        return product
    return product + (c if beta == 1 else c * beta)


@register("Einsum")
def einsum(node: Node, *factors: Tensor) -> Tensor:
    return torch.einsum(node.attributes["equation"], *together(*factors))


@register("Det")
def determinant(node: Node, x: Tensor) -> Tensor:
    result: Tensor = torch.linalg.det(x)
    return result
