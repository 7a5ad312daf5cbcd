"""What several files here compare with and build from."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser


@pytest.fixture(scope="session")
def reference():
    """A function of a model and its inputs: the outputs of onnxruntime, without its fusions."""

    def run(model, *inputs):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run


@pytest.fixture(scope="session")
def parsed():
    """A function of ONNX's text form, opset 17 and com.microsoft, and of weights by name: a model."""

    def parse(text: str, **weights: np.ndarray) -> onnx.ModelProto:
        head = '<ir_version: 9, opset_import: ["": 17, "com.microsoft": 1]>'
        model = parser.parse_model(f"{head}\n{text}")
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()
        )
        return model

    return parse
