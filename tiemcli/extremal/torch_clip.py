"""A clip before a network in torch: scores under masks, and the values inside that lead to them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from tiemcli.errors import DeviceError
from tiemcli.extremal.objective import SMALLEST_PROBABILITY, Objective
from tiemcli.gradients import Differentiable
from tiemcli.gradients.graph import Graph, Node, Scope
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.fuse import Port
from tiemcli.kernels.layout import axis_order, network_shape
from tiemcli.scorers.session import is_out_of_memory

# From a keep-mask (T, H, W) to pixels (C, T, H, W).
Shown = Callable[[Tensor], Tensor]
# What may stand between a softmax and the output, and leaves its numbers in their order.
_ORDER_KEEPING = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Dropout")


@contextmanager
def memory_for_gradients(hint: str) -> Iterator[None]:
    """Raises DeviceError, with this hint, where the device's memory does not hold a gradient."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError("there is no memory for a gradient", hint) from error


class TorchClip:
    """One clip and base between which a differentiable network is masked.

    network: differentiable in its first input. clip, base: (C, T, H, W) float32, in its units.
    batch: how many clips the network must be given at once; all are the same. Counts `forwards`
    and `backwards`.
    """

    def __init__(
        self, network: Differentiable, port: Port, clip: Floats, base: Floats, batch: int
    ) -> None:
        self._network, self._port, self.batch = network, port, batch
        self._output = network.output_names.index(port.output)
        self.device = torch.device(network.device)
        self._base = torch.from_numpy(np.ascontiguousarray(base)).to(self.device)
        self._delta = torch.from_numpy(np.ascontiguousarray(clip - base)).to(self.device)
        self.forwards = self.backwards = 0

    def outputs(self, keep: Tensor, shown: Shown | None = None) -> Tensor:
        """The network's own numbers (K,) under one keep-mask (T, H, W): logits stay logits.

        shown: the pixels that a mask shows; None blends the clip with its base.
        """
        self.forwards += 1
        fed = self._fed(shown(keep) if shown else self._base + keep * self._delta)
        return self._read(self._network(fed)[self._output])

    def _fed(self, pixels: Tensor) -> Tensor:
        """Pixels (C, T, H, W) as the network wants them."""
        port = self._port
        clips = pixels.expand(self.batch, *self._base.shape)
        shape = network_shape(port.layout, port.sizes, self.batch)
        return clips.permute(axis_order(port.layout)).reshape(shape)

    def _read(self, answer: Tensor) -> Tensor:
        """The clip's numbers (K,) in an output, or in what has its shape."""
        port = self._port
        numbers = answer.float().flatten()[: port.rows * port.classes]
        rows = (
            numbers.reshape(port.classes, port.rows).T
            if port.classes_first
            else numbers.reshape(port.rows, port.classes)
        )
        match port.aggregate:
            case "mean":
                return rows.mean(0)
            case "max":
                return rows.amax(0)
        return rows[port.aggregate % port.rows]

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, H and W of the clip."""
        _, frames, height, width = self._base.shape
        return frames, height, width

    @property
    def pixels(self) -> Tensor:
        """The clip (C, T, H, W), to be differentiated with respect to."""
        return (self._base + self._delta).requires_grad_()

    @property
    def graph(self) -> Graph:
        """The network's nodes, for a method that looks inside."""
        return self._network.graph

    def activations(
        self,
        names: Sequence[str],
        pixels: Tensor | None = None,
        seen: Callable[[Node, Scope], None] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The classes' scores (K,) before any softmax, and values inside the network by name.

        All are of one graph that autograd can differentiate. pixels: (C, T, H, W), the clip if None.
        names: of what nodes of `graph` compute. seen: told of each node what it computed. Where no
        softmax is found before probabilities, their logarithms are the scores.
        """
        self.forwards += 1
        fed = self._fed(self.pixels if pixels is None else pixels)
        answer, *inner = self._network.values([self.scored, *names], fed, seen=seen)
        scores = self._read(answer)
        if self._port.output_kind == "probabilities" and self.scored == self._port.output:
            scores = scores.clamp_min(SMALLEST_PROBABILITY).log()
        return scores, dict(zip(names, inner, strict=True))

    def slopes(self, score: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
        """The gradient of a scalar with respect to each tensor, 0 where it does not depend on it."""
        self.backwards += 1
        return torch.autograd.grad(score, of, allow_unused=True, materialize_grads=True)

    @cached_property
    def scored(self) -> str:
        """The name of the classes' scores: what the softmax or sigmoid of probabilities is taken of."""
        output = name = self._port.output
        if self._port.output_kind != "probabilities":
            return output
        makers = {name: node for node, _ in self.graph.steps for name in node.outputs}
        while name in makers and makers[name].op_type in _ORDER_KEEPING:
            name = makers[name].inputs[0]
        node = makers.get(name)
        if node is None or node.op_type not in ("Softmax", "Sigmoid"):
            return output
        return node.inputs[0]

    def answers(self, keep: Tensor) -> Tensor:
        """What ONNX Runtime is asked for: the outputs (K,), softmaxed where they are logits."""
        outputs = self.outputs(keep)
        return outputs.softmax(0) if self._port.output_kind == "logits" else outputs

    def reward(
        self, keep: Tensor, target: int, objective: Objective, shown: Shown | None = None
    ) -> Tensor:
        """The objective of one keep-mask, log Φ or Φ/Φ(X), as a scalar to differentiate."""
        outputs = self.outputs(keep, shown)
        if self._port.output_kind == "logits":
            return log_softmax(outputs, 0)[target]
        if objective.regression:
            return outputs[target] / objective.clean
        return outputs[target].clamp_min(SMALLEST_PROBABILITY).log()
