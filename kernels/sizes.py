"""How large the values of a network are, as far as its graph tells without running it."""

import math
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper, shape_inference

from tiemcli.kernels.free_batch import dims_of

# Numbers of a weight that may be a shape.
_LARGEST_SHAPE = 64


def largest_value(model: onnx.ModelProto, clip: str, shape: Sequence[int]) -> tuple[str, int]:
    """The name of the largest tensor whose shape can be inferred, and its bytes.

    shape: of the input `clip`. ("", 0) where nothing can be inferred.
    """
    try:
        inferred = shape_inference.infer_shapes(
            _without_weights(model, clip, shape), data_prop=True
        )
    except (shape_inference.InferenceError, onnx.checker.ValidationError, ValueError):
        return "", 0
    values = [*inferred.graph.value_info, *inferred.graph.output]
    return max(
        ((value.name, _bytes(value)) for value in values), key=lambda v: v[1], default=("", 0)
    )


def _without_weights(model: onnx.ModelProto, clip: str, shape: Sequence[int]) -> onnx.ModelProto:
    """The graph, its weights inputs of their types; the input `clip` has that shape."""
    bare = onnx.ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    graph = bare.graph
    graph.node.extend(model.graph.node)
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    for weight in model.graph.initializer:
        if math.prod(weight.dims) <= _LARGEST_SHAPE and weight.data_location == TensorProto.DEFAULT:
            graph.initializer.append(weight)
        else:
            graph.input.append(
                helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            )
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    graph.input.append(helper.make_tensor_value_info(clip, kinds[clip], shape))
    return bare


def _bytes(value: onnx.ValueInfoProto) -> int:
    """0 where the shape or the type is not known."""
    sizes, kind = dims_of(value), value.type.tensor_type.elem_type
    if not value.type.tensor_type.HasField("shape") or None in sizes or not kind:
        return 0
    width = 8 if kind == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(kind).itemsize
    return width * math.prod(size for size in sizes if size is not None)
