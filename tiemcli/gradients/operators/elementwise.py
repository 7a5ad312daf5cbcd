"""Arithmetic, comparison and logic, element by element, broadcast as NumPy does."""

from collections.abc import Callable
from functools import reduce
from math import inf
from typing import Any

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import Unsupported, register
from tiemcli.gradients.tensors import dtype_of, has_dtype, straight_through, together

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}

_ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "Ceil": torch.ceil,
    "Floor": torch.floor,
    "Round": torch.round,  # to even at a tie, as ONNX has it
}


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """The quotient; of integers, rounded towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Div": _divide,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}

_VARIADIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Node, Tensor], Tensor]:
    return lambda node, x: function(x)


def _rounding(function: Callable[[Tensor], Tensor]) -> Callable[[Node, Tensor], Tensor]:
    return lambda node, x: straight_through(function, x)


def _of_two(
    function: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Node, Tensor, Tensor], Tensor]:
    return lambda node, a, b: function(*together(a, b))


def _of_many(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda node, *values: reduce(function, together(*values))


for _name, _unary in _UNARY.items():
    register(_name)(_of_one(_unary))
for _name, _unary in _ROUNDING.items():
    register(_name)(_rounding(_unary))
for _name, _binary in _BINARY.items():
    register(_name)(_of_two(_binary))
for _name, _binary in _VARIADIC.items():
    register(_name)(_of_many(_binary))


@register("Identity")
def identity(node: Node, value: Any) -> Any:
    return value


@register("Mean")
def mean(node: Node, *values: Tensor) -> Tensor:
    total: Tensor = reduce(torch.add, together(*values))
    return total / len(values)


@register("Pow")
def power(node: Node, base: Tensor, exponent: Tensor) -> Tensor:
    """The power in the base's type; a lone exponent as a number, whose gradient torch knows."""
    if exponent.numel() == 1 and exponent.ndim <= base.ndim:
        return torch.pow(base, exponent.item()).to(base.dtype)
    base, exponent = together(base, exponent)
    return torch.pow(base, exponent).to(base.dtype)


@register("Mod")
def modulo(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """The remainder with the sign of `b`, or with that of `a` where `fmod` is set."""
    a, b = together(a, b)
    return torch.fmod(a, b) if node.attr("fmod", 0) else torch.remainder(a, b)


@register("BitShift")
def bit_shift(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """Bits moved left or right; in int64, since torch does not shift the wide unsigned types."""
    shift = torch.bitwise_left_shift
    if node.attributes["direction"] == "RIGHT":
        shift = torch.bitwise_right_shift
    return shift(a.long(), b.long()).to(a.dtype)


@register("IsInf")
def is_infinite(node: Node, x: Tensor) -> Tensor:
    negative = torch.isneginf(x) if node.attr("detect_negative", 1) else False
    positive = torch.isposinf(x) if node.attr("detect_positive", 1) else False
    return torch.zeros_like(x, dtype=torch.bool) | negative | positive


@register("Where")
def where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    condition, a, b = together(condition, a, b)
    return torch.where(condition, a, b)


@register("Clip")
def clip(
    node: Node, x: Tensor, lowest: Tensor | None = None, highest: Tensor | None = None
) -> Tensor:
    low = node.attributes.get("min") if lowest is None else lowest.item()
    high = node.attributes.get("max") if highest is None else highest.item()
    if low is None and high is None:
        return x
    if low is None or high is None or not x.is_floating_point():
        return torch.clamp(x, low, high)
    clipped: Tensor = _Clipping.apply(x, float(low), float(high))
    return clipped


class _Clipping(torch.autograd.Function):
    """`torch.clamp`, whose own gradient takes several passes.

    The gradient passes at the bounds too: black and white pixels lie on them.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, low: float, high: float) -> Tensor:
        context.save_for_backward(x)
        # Torch's function leaves its own bounds out.
        bounds = torch.tensor([low, high], dtype=x.dtype)
        context.bounds = torch.nextafter(bounds, torch.tensor([-inf, inf], dtype=x.dtype)).tolist()
        return x.clamp(low, high)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        (x,) = context.saved_tensors
        inside = torch.ops.aten.hardtanh_backward(gradients[0], x, *context.bounds)
        return inside, None, None


def _to_known_type(node: Node) -> bool:
    return has_dtype(node.attr("to", 0))


@register("Cast", accepts=_to_known_type)
def cast(node: Node, x: Tensor) -> Tensor:
    return _converted(x, dtype_of(node.attributes["to"]))


@register("CastLike")
def cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    return _converted(x, like.dtype)


def _converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The cast; to an integer, straight-through and still in float where a gradient must pass."""
    if x.requires_grad and not dtype.is_floating_point and dtype != torch.bool:
        return straight_through(torch.trunc, x)
    return x.to(dtype)


@register("Dropout")
def dropout(
    node: Node, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The identity and its mask. Raises Unsupported if the file asks for training."""
    if training is not None and bool(training) and (ratio is None or ratio.item() > 0):
        raise Unsupported([node.op_type])
    return x, torch.ones_like(x, dtype=torch.bool)
