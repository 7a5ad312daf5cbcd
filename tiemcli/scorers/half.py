"""A network that computes in half precision, for devices where that is faster."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tiemcli.errors import ModelError, first_line
from tiemcli.weights import with_weights


def in_half_precision(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """A copy that computes in float16 between inputs and outputs of the same types as before.

    folder: where the model's external weights lie; they are read. Raises ModelError where some
    operator does not go into half precision.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(with_weights(model, folder))
    try:
        half = OnnxModel(convert_float_to_float16(whole, keep_io_types=True))
        half.topological_sort()  # what the conversion puts in front lies at the end
        return half.model
    except Exception as error:
        raise ModelError(
            f"the network does not go into half precision: {first_line(error)}",
            "leave out --precision half",
        ) from error
