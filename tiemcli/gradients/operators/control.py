"""Control flow: branches and loops, whose bodies see the names of the scope around them."""

from typing import Any

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node, Scope
from tiemcli.gradients.registry import register


@register("If")
def branch(node: Node, condition: Tensor, scope: Scope) -> tuple[Any, ...]:
    chosen = node.bodies["then_branch" if bool(condition) else "else_branch"]
    return tuple(chosen.run([], outer=scope))


@register("Loop")
def loop(
    node: Node, limit: Tensor | None, condition: Tensor | None, *state: Any, scope: Scope
) -> tuple[Any, ...]:
    """The state after the last turn, then what each turn gave out, stacked."""
    body = node.bodies["body"]
    carried = list(state)
    turns: list[list[Tensor]] = []
    going = torch.tensor(True) if condition is None else condition
    while bool(going) and (limit is None or len(turns) < int(limit)):
        results = body.run([torch.tensor(len(turns)), going, *carried], outer=scope)
        going, carried = results[0], results[1 : 1 + len(state)]
        turns.append(results[1 + len(state) :])
    given_out = len(body.outputs) - 1 - len(state)
    if not turns:
        return (*carried, *[torch.empty(0)] * given_out)
    return (*carried, *(torch.stack(values) for values in zip(*turns, strict=True)))


def _batchless(node: Node) -> bool:
    """Scan's form of opset 8, with its batch axis and lengths, is another operator."""
    return node.opset >= 9


@register("Scan", accepts=_batchless)
def scan(node: Node, *values: Any, scope: Scope) -> tuple[Any, ...]:
    """The body over slices of the last inputs, each along its axis, forwards or backwards."""
    body = node.bodies["body"]
    count: int = node.attributes["num_scan_inputs"]
    state, scanned = list(values[:-count]), values[-count:]
    given_out = len(body.outputs) - len(state)
    read = zip(
        scanned,
        node.attr("scan_input_axes", [0] * count),
        node.attr("scan_input_directions", [0] * count),
        strict=True,
    )
    slices = [x.flip(axis).unbind(axis) if back else x.unbind(axis) for x, axis, back in read]
    turns: list[list[Tensor]] = []
    for step in zip(*slices, strict=True):
        results = body.run([*state, *step], outer=scope)
        turns.append(results[len(state) :])
        state = results[: len(state)]
    written = zip(
        zip(*turns, strict=True),
        node.attr("scan_output_axes", [0] * given_out),
        node.attr("scan_output_directions", [0] * given_out),
        strict=True,
    )
    stacked = (torch.stack(turn[::-1] if back else turn, axis) for turn, axis, back in written)
    return (*state, *stacked)
