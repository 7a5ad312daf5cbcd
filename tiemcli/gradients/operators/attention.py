"""Attention: ONNX's own operator (opset 23) and two of onnxruntime's."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import MICROSOFT, register
from tiemcli.gradients.tensors import together


def _to_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, length, heads · width) as (batch, heads, length, width)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _from_heads(x: Tensor) -> Tensor:
    """(batch, heads, length, width) as (batch, length, heads · width)."""
    return x.transpose(1, 2).flatten(2)


def _plain(node: Node) -> bool:
    """Softcap, windows, padding and masks under causality go to ONNX's own function body."""
    variant = node.attr("softcap", 0.0) or any("window" in name for name in node.attributes)
    masked = node.given(3) or node.given(4)
    return not (
        variant or node.wanted(3) or node.given(6) or (node.attr("is_causal", 0) and masked)
    )


@register("Attention", accepts=_plain)
def attention(
    node: Node,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The attended values, with the keys and values, the past ones in front."""
    flat = query.ndim == 3
    if flat:
        heads = node.attributes["kv_num_heads"]
        query = _to_heads(query, node.attributes["q_num_heads"])
        key, value = _to_heads(key, heads), _to_heads(value, heads)
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    query, mask = together(query, mask)
    if mask is not None and mask.shape[-1] < key.shape[2]:
        # A mask may be shorter than the keys: those beyond it are not seen.
        beyond = False if mask.dtype == torch.bool else float("-inf")
        mask = F.pad(mask, [0, key.shape[2] - mask.shape[-1]], value=beyond)
    group = query.shape[1] // key.shape[1]
    attended = F.scaled_dot_product_attention(
        query,
        key.repeat_interleave(group, 1),
        value.repeat_interleave(group, 1),
        mask,
        is_causal=bool(node.attr("is_causal", 0)),
        scale=node.attributes.get("scale"),
    )
    return _from_heads(attended) if flat else attended, key, value


def _apart_and_unmasked(node: Node) -> bool:
    """Query, key and value given apart, no key padding, no past."""
    return node.given(1) and not node.given(4) and not any(map(node.given, range(6, 10)))


@register("MultiHeadAttention", domain=MICROSOFT, accepts=_apart_and_unmasked)
def multi_head_attention(
    node: Node,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    padding: None = None,
    score_bias: Tensor | None = None,
    *past: Any,
) -> Tensor:
    """Projected query (batch, length, width); key and value alike, or already in heads."""
    heads: int = node.attributes["num_heads"]
    width = query.shape[-1]
    biases: list[Tensor | None] = [None] * 3
    if bias is not None:
        biases = list(torch.split(bias, [width, width, bias.numel() - 2 * width]))
    query, key, value = (
        _to_heads(x if b is None else x + b, heads) if x.ndim == 3 else x
        for x, b in zip((query, key, value), biases, strict=True)
    )
    return _from_heads(_attended(node, query, key, value, score_bias))


def _unmasked(node: Node) -> bool:
    return not any(map(node.given, (3, 4, 6)))


@register("Attention", domain=MICROSOFT, accepts=_unmasked)
def fused_attention(
    node: Node,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: None = None,
    past: None = None,
    score_bias: Tensor | None = None,
) -> Tensor:
    """Projection to query, key and value by one matrix, then attention."""
    heads: int = node.attributes["num_heads"]
    projected = x @ weight if bias is None else x @ weight + bias
    widths = node.attributes.get("qkv_hidden_sizes") or [projected.shape[-1] // 3] * 3
    query, key, value = (_to_heads(part, heads) for part in torch.split(projected, widths, -1))
    return _from_heads(_attended(node, query, key, value, score_bias))


def _attended(
    node: Node, query: Tensor, key: Tensor, value: Tensor, score_bias: Tensor | None
) -> Tensor:
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        score_bias,
        is_causal=bool(node.attr("unidirectional", 0)),
        scale=node.attr("scale", 0.0) or None,  # zero stands for 1/√width
    )
