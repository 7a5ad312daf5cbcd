"""ONNX's tensors as torch's, and the few conversions that operators share."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import Unsupported

# Half precision is computed in float32, since torch's half convolutions take minutes on a CPU, and
# the wide unsigned integers in int64, since torch does no arithmetic on them.
_COMPUTED = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.uint32: torch.int64,
    torch.uint64: torch.int64,
}

_DTYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float32,
    onnx.TensorProto.BFLOAT16: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.BOOL: torch.bool,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.UINT16: torch.uint16,
    onnx.TensorProto.UINT32: torch.int64,
    onnx.TensorProto.UINT64: torch.int64,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
}


def has_dtype(code: int) -> bool:
    """Whether torch computes in the ONNX data type of that number."""
    return code in _DTYPES


def dtype_of(code: int) -> torch.dtype:
    """The torch dtype in which values of an ONNX data type are held."""
    return _DTYPES[code]


def promoted(value: Any) -> Any:
    """The value, a tensor of a type that torch computes badly or not at all in the one used for it."""
    if isinstance(value, Tensor):
        return value.to(_COMPUTED.get(value.dtype, value.dtype))
    return value


def to_torch(tensor: onnx.TensorProto) -> Any:
    """A file's tensor, its memory shared where torch has the type; strings stay a NumPy array.

    Raises Unsupported for the eight-bit floats and the like.
    """
    array = numpy_helper.to_array(tensor)
    if array.dtype.kind in "OSU":
        return array
    if array.dtype.name in ("int4", "int2"):
        array = array.astype(np.int8)
    elif array.dtype.name in ("uint4", "uint2"):
        array = array.astype(np.uint8)
    elif array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    elif array.dtype.kind not in "biuf":
        raise Unsupported([onnx.TensorProto.DataType.Name(tensor.data_type)])
    with warnings.catch_warnings():
        # The array views the protobuf's bytes, which torch cannot protect; nothing here writes.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return promoted(torch.from_numpy(np.atleast_1d(array)).reshape(array.shape))


def integers(values: Tensor | Sequence[int]) -> list[int]:
    """A small tensor or an attribute as Python integers."""
    if isinstance(values, Tensor):
        return [int(value) for value in values.reshape(-1).tolist()]
    return list(values)


def listed(node: Node, attribute: str, given: Tensor | None) -> list[int] | None:
    """Integers that are an attribute in older opsets and an input in newer ones; None if absent."""
    if given is not None:
        return integers(given)
    values: list[int] | None = node.attributes.get(attribute)
    return values


def together(*values: Any) -> tuple[Any, ...]:
    """The tensors on one device: the accelerator's if any is there, since shapes stay on the CPU."""
    device = next(
        (v.device for v in values if isinstance(v, Tensor) and v.device.type != "cpu"), None
    )
    if device is None:
        return values
    return tuple(v.to(device) if isinstance(v, Tensor) else v for v in values)


def along(axis: int, vector: Tensor, like: Tensor) -> Tensor:
    """A vector shaped to broadcast over one axis of `like`; a scalar is left alone."""
    if vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * like.ndim
    shape[axis] = -1
    return vector.reshape(shape)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(value)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        return gradients[0], None


def straight_through(function: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """`function(value)`, with the gradient of the identity: rounding has none of its own."""
    result: Tensor = _StraightThrough.apply(value, function)
    return result
