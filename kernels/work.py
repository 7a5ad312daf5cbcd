"""How much a network computes: the shapes of all its values, and the multiply-adds of its nodes."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, shape_inference

from tiemcli.kernels.subgraph import answering, reads

# All outputs of a network of one input, for each of several values of it.
Run = Callable[[onnx.ModelProto, Sequence[np.ndarray]], Sequence[Sequence[np.ndarray]]]
Shapes = Mapping[str, tuple[int, ...]]

_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}  # which input is W
_PRODUCTS = frozenset("MatMul MatMulInteger QLinearMatMul DynamicQuantizeMatMul".split())


def value_shapes(model: onnx.ModelProto, clips: np.ndarray, run: Run) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors outside of loops' bodies, where the network is fed `clips`.

    model: of one input. It is run once, for the shapes.
    """
    weights = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    lists = _not_tensors(model)
    names = [value.name for value in model.graph.input if value.name not in weights]
    names += [name for node in model.graph.node for name in node.output if name]
    names = [name for name in names if name not in lists]
    nodes = [
        helper.make_node("Shape", [name], [f"tiem.shape{index}"])
        for index, name in enumerate(names)
    ]
    # ONNX Runtime 1.31 drops what a branch reads from around it, if it folds both the branch's
    # condition and that value's shape, unless it is asked for the value too.
    inside = set[str]().union(*(reads(node).difference(node.input) for node in model.graph.node))
    wanted = [node.output[0] for node in nodes] + sorted(inside.intersection(names))
    asked = answering(model, wanted, nodes)
    for value in asked.graph.input:
        if value.name not in weights:
            # Where all sizes are known the runtime infers shapes, and computes nothing.
            value.CopyFrom(_sized(value, clips.shape))
    (found,) = run(asked, [clips])
    sizes = (tuple(int(size) for size in shape) for shape in found[: len(names)])
    return weights | dict(zip(names, sizes, strict=True))


def _sized(value: onnx.ValueInfoProto, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape)


def multiply_adds(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Those of a convolution, a matrix product or a recurrent layer; 0 for any other operator.

    The bodies of Loop, If and Scan are not counted.
    """
    sizes = [shapes.get(name, ()) for name in node.input]
    made = math.prod(shapes.get(node.output[0], ()))
    if node.op_type in _CONVOLUTIONS:
        return made * math.prod(sizes[_CONVOLUTIONS[node.op_type]][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(sizes[0]) * math.prod(sizes[1][1:])
    if node.op_type in _PRODUCTS:
        return made * sizes[0][-1]
    if node.op_type in ("Gemm", "FusedMatMul"):
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return made * sizes[0][-2 if turned else -1]
    if node.op_type in ("LSTM", "GRU", "RNN"):
        steps, clips, _ = sizes[0]
        return steps * clips * (math.prod(sizes[1]) + math.prod(sizes[2]))
    if node.op_type == "Attention" and node.domain in ("", "ai.onnx"):
        return 2 * math.prod(sizes[0]) * sizes[1][-2]
    if node.op_type == "Einsum":
        return _einsum(node, sizes)
    return 0


def _einsum(node: onnx.NodeProto, sizes: Sequence[tuple[int, ...]]) -> int:
    """The product of the sizes of all letters; what an ellipsis stands for is left out."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
    terms = equation.replace(" ", "").split("->")[0].split(",")
    letters: dict[str, int] = {}
    for term, shape in zip(terms, sizes, strict=True):
        if "..." not in term:
            letters.update(zip(term, shape, strict=True))
    return math.prod(letters.values())


def _not_tensors(model: onnx.ModelProto) -> set[str]:
    """The values that are sequences or optionals, which have no shape."""
    try:
        inferred = shape_inference.infer_shapes(model)
    except (shape_inference.InferenceError, ValueError):
        return set()
    values = [*inferred.graph.value_info, *inferred.graph.output]
    kinds = ("sequence_type", "optional_type")
    return {value.name for value in values if value.type.WhichOneof("value") in kinds}
