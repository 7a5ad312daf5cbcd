"""An ONNX network as a function of torch tensors that autograd can differentiate."""

from collections.abc import Callable, Sequence
from functools import cached_property

import onnx
from torch import Tensor

from tiemcli.gradients.graph import Graph, Node, Scope
from tiemcli.gradients.load import load
from tiemcli.gradients.tensors import promoted


class Differentiable:
    """The network of an ONNX file, run in torch, differentiable with respect to its inputs.

    Half precision runs in float32. An integer input may be fed as a float tensor that requires a
    gradient: casting is then the identity and rounding straight-through. `device` is torch's name,
    such as "cuda:0"; the inputs are expected there. Raises `Unsupported` here, at load, and an
    `OperatorError`, which names operator and node, when a node fails on its values.
    """

    def __init__(self, model: onnx.ModelProto, device: str = "cpu") -> None:
        self.device = device
        self._model = model
        self._graph = load(model, device)
        self.input_names = self._graph.inputs
        self.output_names = self._graph.outputs

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of `output_names`; `inputs` in that of `input_names`."""
        return tuple(self._graph.run([promoted(value) for value in inputs], outer={}))

    @cached_property
    def graph(self) -> Graph:
        """The network's nodes under the file's own names, none folded into another.

        Only what constants decide is missing, and is among its `constants`.
        """
        return load(self._model, self.device, fold=False)

    def values(
        self,
        names: Sequence[str],
        *inputs: Tensor,
        seen: Callable[[Node, Scope], None] | None = None,
    ) -> tuple[Tensor, ...]:
        """Any values inside the network by name, each a part of what autograd can differentiate.

        names: of what nodes of `graph` compute. seen: told of each node what it computed.
        """
        asked = self.graph.with_outputs(names)
        return tuple(asked.run([promoted(value) for value in inputs], outer={}, seen=seen))
