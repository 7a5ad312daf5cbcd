"""Resampling: each axis in turn, as a product with its matrix of interpolation weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register
from tiemcli.gradients.tensors import integers, together
from tiemcli.kernels.arrays import Doubles


@dataclass(frozen=True)
class _Rule:
    """How output positions become input positions, and how the neighbours there are weighed."""

    coordinates: str
    mode: str
    nearest: str = "floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False

    @classmethod
    def of(cls, node: Node) -> "_Rule":
        if node.opset < 11:
            return cls("asymmetric", node.attr("mode", "nearest"))
        return cls(
            node.attr("coordinate_transformation_mode", "half_pixel"),
            node.attr("mode", "nearest"),
            node.attr("nearest_mode", "round_prefer_floor"),
            node.attr("cubic_coeff_a", -0.75),
            bool(node.attr("exclude_outside", 0)),
            bool(node.attr("antialias", 0)),
        )


def _positions(rule: str, before: int, after: int, scale: float) -> Doubles:
    """Where each of `after` outputs lies among `before` inputs; inputs lie at whole numbers."""
    index = np.arange(after, dtype=np.float64)
    match rule:
        case "asymmetric":
            return index / scale
        case "align_corners":
            return index * (before - 1) / max(scale * before - 1, 1)
        case "pytorch_half_pixel" if after == 1:
            return np.zeros(1)
        case "half_pixel_symmetric":
            offset = before / 2 * (1 - after / (scale * before))
            return offset + (index + 0.5) / scale - 0.5
        case "tf_half_pixel_for_nn":
            return (index + 0.5) / scale
    return (index + 0.5) / scale - 0.5


_NEAREST: dict[str, Callable[[Doubles], Doubles]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _nearest(rule: _Rule, before: int, after: int, scale: float) -> Tensor:
    """The input that each output copies."""
    positions = _NEAREST[rule.nearest](_positions(rule.coordinates, before, after, scale))
    return torch.from_numpy(positions.clip(0, before - 1).astype(np.int64))


def _linear(distance: Doubles) -> Doubles:
    hat: Doubles = np.maximum(1 - np.abs(distance), 0)
    return hat


def _cubic(distance: Doubles, a: float) -> Doubles:
    """Keys' kernel (1981), with `a` = -0.5 or -0.75 in practice."""
    d = np.abs(distance)
    inner = (a + 2) * d**3 - (a + 3) * d**2 + 1
    outer = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, inner, np.where(d < 2, outer, 0))


@lru_cache(maxsize=64)
def _weights(rule: _Rule, before: int, after: int, scale: float) -> Tensor:
    """The weight (after, before) float64 of each input in each output.

    Inputs beyond the border are the border's, or count for nothing under `exclude_outside`.
    Antialiasing widens the kernel to the step between outputs.
    """
    positions = _positions(rule.coordinates, before, after, scale)
    widened = rule.antialias and scale < 1
    shrink = scale if widened else 1.0
    radius = (1 if rule.mode == "linear" else 2) / shrink
    rows = np.arange(after)
    weights = np.zeros((after, before))
    first = np.floor(positions - radius).astype(np.int64)
    for step in range(math.ceil(2 * radius) + 2):
        column = first + step
        distance = (column - positions) * shrink
        weight = _linear(distance) if rule.mode == "linear" else _cubic(distance, rule.cubic)
        if rule.exclude_outside:
            weight = np.where((column < 0) | (column >= before), 0, weight)
        np.add.at(weights, (rows, column.clip(0, before - 1)), weight)
    if rule.exclude_outside or widened:
        weights /= weights.sum(1, keepdims=True)
    return torch.from_numpy(weights)


def _resample(
    rule: _Rule, x: Tensor, axes: Sequence[int], scales: Sequence[float], sizes: Sequence[int]
) -> Tensor:
    for axis, scale, size in zip(axes, scales, sizes, strict=True):
        if scale == 1 and size == x.shape[axis]:
            continue
        if rule.mode == "nearest":
            chosen = _nearest(rule, x.shape[axis], size, scale)
            x = x.index_select(axis, chosen.to(x.device))
        else:
            floats = x if x.is_floating_point() else x.float()
            weights = _weights(rule, x.shape[axis], size, scale).to(floats)
            floats = torch.matmul(floats.movedim(axis, -1), weights.T).movedim(-1, axis)
            x = floats if x.is_floating_point() else floats.round().to(x.dtype)
    return x


def _without_crop(node: Node) -> bool:
    return node.attr("coordinate_transformation_mode", "") != "tf_crop_and_resize"


@register("Resize", accepts=_without_crop)
def resize(node: Node, x: Tensor, *inputs: Tensor | None) -> Tensor:
    """`x` resampled; the further inputs are the scales in opset 10, from 11 roi, scales, sizes."""
    rule = _Rule.of(node)
    if node.opset < 11:
        return _scaled(rule, x, list(range(x.ndim)), inputs[0])
    _, scales, sizes = (*inputs, None, None, None)[:3]
    axes = [axis % x.ndim for axis in node.attr("axes", list(range(x.ndim)))]
    if sizes is None or sizes.numel() == 0:
        return _scaled(rule, x, axes, scales)
    targets = integers(sizes)
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        ratios = [target / x.shape[axis] for target, axis in zip(targets, axes, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        targets = [math.floor(ratio * x.shape[axis] + 0.5) for axis in axes]
    ratios = [target / x.shape[axis] for target, axis in zip(targets, axes, strict=True)]
    return _resample(rule, x, axes, ratios, targets)


@register("Upsample")
def upsample(node: Node, x: Tensor, scales: Tensor | None = None) -> Tensor:
    given = torch.tensor(node.attributes["scales"]) if scales is None else scales
    rule = _Rule("asymmetric", node.attr("mode", "nearest"))
    return _scaled(rule, x, list(range(x.ndim)), given)


def _scaled(rule: _Rule, x: Tensor, axes: list[int], scales: Tensor | None) -> Tensor:
    if scales is None:
        raise ValueError("neither scales nor sizes are given")
    factors = [float(scale) for scale in scales]
    sizes = [math.floor(x.shape[axis] * f) for axis, f in zip(axes, factors, strict=True)]
    return _resample(rule, x, axes, factors, sizes)


_GRID_MODE = {"linear": "bilinear", "cubic": "bicubic"}  # the names of opset 20, then of torch


@register("GridSample")
def grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    x, grid = together(x, grid)
    mode = node.attr("mode", "linear")
    return F.grid_sample(
        x,
        grid,
        _GRID_MODE.get(mode, mode),
        node.attr("padding_mode", "zeros"),
        bool(node.attr("align_corners", 0)),
    )
