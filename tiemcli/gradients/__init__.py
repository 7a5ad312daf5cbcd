"""The gradient of somebody else's ONNX network with respect to its input, by way of torch.

`Differentiable` runs the graph node by node in torch; nothing here trains, weights stay frozen.
A network with an operator that no function covers raises `Unsupported` when it is loaded.
"""

from tiemcli.gradients.differentiable import Differentiable
from tiemcli.gradients.registry import Unsupported

__all__ = ["Differentiable", "Unsupported"]
