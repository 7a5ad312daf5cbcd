"""A graph of torch functions: nodes that read names and write names, run in the file's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from tiemcli.gradients.registry import Unsupported

T = TypeVar("T")

# What a name stands for at run time: nearly always a tensor, a list of tensors for a sequence, a
# NumPy array for strings, None for an empty optional.
Scope = Mapping[str, Any]


class OperatorError(RuntimeError):
    """An operator that failed on the values it was given; names the operator and its node."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operator of the file, with the function that computes it.

    `inputs` holds "" where an optional input is left out, and so does `outputs` where a result is
    not asked for. `bodies` are the subgraphs of If, Loop and Scan by attribute name.
    """

    op_type: str
    domain: str
    opset: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    bodies: Mapping[str, Graph]
    function: Callable[..., Any]

    def attr(self, name: str, default: T) -> T:
        """The attribute, or `default` where the file leaves it out."""
        value: T = self.attributes.get(name, default)
        return value

    def given(self, index: int) -> bool:
        """Whether the optional input at `index` is there."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def wanted(self, index: int) -> bool:
        """Whether anything asks for the output at `index`."""
        return index < len(self.outputs) and self.outputs[index] != ""

    @property
    def reads(self) -> Iterator[str]:
        """Every name that the node needs, its bodies' captured names included."""
        yield from filter(None, self.inputs)
        for body in self.bodies.values():
            yield from body.captured

    def run(self, scope: Scope) -> dict[str, Any]:
        """Compute the outputs by name.

        Raises OperatorError, save when memory ran out: a caller may try a smaller batch then.
        """
        try:
            arguments = [self._read(name, scope) for name in self.inputs]
            if self.bodies:
                result = self.function(self, *arguments, scope=scope)
            else:
                result = self.function(self, *arguments)
        except (Unsupported, OperatorError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._failed(str(error)) from error
        results = result if isinstance(result, tuple) else (result,)
        return {name: value for name, value in zip(self.outputs, results, strict=False) if name}

    def _read(self, name: str, scope: Scope) -> Any:
        if name and name not in scope:
            raise self._failed(f"nothing computes its input {name!r}")
        return scope[name] if name else None

    def _failed(self, reason: str) -> OperatorError:
        node = self.name or " ".join(self.outputs)
        return OperatorError(f"{self.op_type} {node!r} failed: {reason}")


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in running order, with the constants they share.

    Each step is a node and the names that nothing reads after it. `captured` are the names that a
    body takes from the scope around it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Any]
    steps: tuple[tuple[Node, tuple[str, ...]], ...]
    captured: tuple[str, ...]

    @classmethod
    def of(
        cls,
        inputs: Sequence[str],
        outputs: Sequence[str],
        constants: Mapping[str, Any],
        nodes: Sequence[Node],
    ) -> Graph:
        """Plan when each value dies, and drop the constants that nothing reads."""
        last = {name: index for index, node in enumerate(nodes) for name in node.reads}
        made = {name for node in nodes for name in node.outputs}
        needed = dict.fromkeys([*last, *outputs])
        steps = tuple(
            (
                node,
                tuple(
                    name
                    for name in dict.fromkeys([*node.reads, *node.outputs])
                    if name not in outputs and last.get(name, index) == index
                ),
            )
            for index, node in enumerate(nodes)
        )
        return cls(
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            constants={name: value for name, value in constants.items() if name in needed},
            steps=steps,
            captured=tuple(needed.keys() - made - set(inputs) - constants.keys()),
        )

    def on(self, device: str) -> Graph:
        """The same graph with its weights on `device`.

        Integers wider than a byte are shapes and positions, which are read by the CPU.
        """

        def placed(value: Any) -> Any:
            if isinstance(value, Tensor) and (value.is_floating_point() or value.itemsize == 1):
                return value.to(device)
            return value

        def moved(node: Node) -> Node:
            bodies = {name: body.on(device) for name, body in node.bodies.items()}
            return replace(node, bodies=bodies)

        return replace(
            self,
            constants={name: placed(value) for name, value in self.constants.items()},
            steps=tuple((moved(node), dead) for node, dead in self.steps),
        )

    def behind(self, output: str) -> set[str]:
        """The names of all that a value is computed from, and its own."""
        names = {output}
        for node, _ in reversed(self.steps):
            if names.intersection(node.outputs):
                names.update(node.reads)
        return names

    def with_outputs(self, names: Sequence[str]) -> Graph:
        """The same nodes, asked for other values."""
        return Graph.of(self.inputs, names, self.constants, [node for node, _ in self.steps])

    def run(
        self, values: Sequence[Any], outer: Scope, seen: Callable[[Node, Scope], None] | None = None
    ) -> list[Any]:
        """The outputs for `values` in the order of `inputs`; `outer` is the scope around a body.

        seen: told of each node what it computed, by name.
        """
        scope = dict(self.constants)
        scope.update((name, outer[name]) for name in self.captured if name in outer)
        scope.update(zip(self.inputs, values, strict=True))
        for node, dead in self.steps:
            made = node.run(scope)
            if seen is not None:
                seen(node, made)
            scope.update(made)
            for name in dead:
                scope.pop(name, None)
        absent = [name for name in self.outputs if name not in scope]
        if absent:
            raise OperatorError(f"nothing computes the output {absent[0]!r}")
        return [scope[name] for name in self.outputs]
