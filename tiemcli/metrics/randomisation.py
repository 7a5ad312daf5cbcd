"""Whether an explanation depends on what the network has learned.

Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: explain the same clip by the network
with its parameters randomised. A method whose saliency stays the same shows edges, not evidence.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tiemcli.errors import ModelError
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.kernels.subgraph import every_node
from tiemcli.model import Model, OnnxModel

# Of weights; those of eight bits are a quantised network's.
_KINDS = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.INT8,
    TensorProto.UINT8,
)


def randomised(model: Model, random: np.random.Generator) -> OnnxModel:
    """The network with the values of every weight tensor permuted, so that their ranges stay.

    Biases and norms, of one axis, stay too. path and sha256 remain those of the file. Raises
    ModelError where the network has no weights, or none that are known.
    """
    if not isinstance(model, OnnxModel):
        raise ModelError(
            f"the weights of {model.name} are not known, to draw them anew", "leave this check out"
        )
    whole = model.with_weights()
    proto = onnx.ModelProto()
    proto.CopyFrom(whole)
    drawn = 0
    for tensor in _tensors(proto.graph):
        if tensor.data_type in _KINDS and len(tensor.dims) >= 2:
            drawn += _permute(tensor, random)
    if not drawn:
        raise ModelError("the network has no weights to draw anew", "leave this check out")
    return replace(model, proto=proto)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The constants of a graph, each its own message."""
    yield from graph.initializer
    for node in every_node(graph):
        if node.op_type == "Constant":
            yield from (entry.t for entry in node.attribute if entry.name == "value")


def _permute(tensor: onnx.TensorProto, random: np.random.Generator) -> bool:
    """Permute a tensor's values in place; not those of one that hides by −∞, as attention does."""
    values = numpy_helper.to_array(tensor)
    if not np.isfinite(values).all():
        return False
    drawn = random.permutation(values.ravel()).reshape(values.shape)
    tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
    return True


def similarity(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two saliency volumes of one shape, in [−1, 1].

    Equal values share the mean of their ranks. NaN where a volume has but one value.
    """
    first, second = _ranks(a), _ranks(b)
    both = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / both) if both else float("nan")


def _ranks(values: Floats) -> Doubles:
    """Ranks about their mean, equal values sharing theirs: (n,) float64."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Doubles = (np.cumsum(counts) - (counts + 1) / 2)[which.ravel()]
    ranks -= ranks.mean()
    return ranks
