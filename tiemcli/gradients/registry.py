"""The table of operators: (domain, type) to the torch function that computes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tiemcli.errors import ModelError

if TYPE_CHECKING:
    from tiemcli.gradients.graph import Node

MICROSOFT = "com.microsoft"
# Convolutions in the order that one processor's instructions like best.
_BLOCKED = "com.microsoft.nchwc"

Function = TypeVar("Function", bound=Callable[..., Any])


class Unsupported(ModelError):
    """A network that holds operators, or forms of them, that no function here computes.

    `operators`: their names, sorted, with the domain in front where it is not ONNX's own.
    """

    def __init__(self, operators: Iterable[str]) -> None:
        self.operators = tuple(sorted(set(operators)))
        reason, hint = "", "use --backend finite-difference"
        if any(name.startswith(_BLOCKED) for name in self.operators):
            reason = ": its file was saved with ORT_ENABLE_ALL, in the layout of one machine"
            hint = f"save it with ORT_ENABLE_EXTENDED, or {hint}"
        super().__init__(f"no gradient for the network's {', '.join(self.operators)}{reason}", hint)


@dataclass(frozen=True)
class Operator:
    """`function(node, *inputs)` returns one output or a tuple of them; None for a missing input.

    `accepts(node)` tells from the attributes, and from which inputs and outputs are there, whether
    the function covers this form of the operator.
    """

    function: Callable[..., Any]
    accepts: Callable[[Node], bool]


OPERATORS: dict[tuple[str, str], Operator] = {}
"""By domain, "" for ONNX's own, and type; filled by importing `tiemcli.gradients.operators`."""


def _any_form(node: Node) -> bool:
    return True


def register(
    *op_types: str, domain: str = "", accepts: Callable[[Node], bool] = _any_form
) -> Callable[[Function], Function]:
    """Enter the decorated function under each name."""

    def enter(function: Function) -> Function:
        for op_type in op_types:
            OPERATORS[domain, op_type] = Operator(function, accepts)
        return function

    return enter
