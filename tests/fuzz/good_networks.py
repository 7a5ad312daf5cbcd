"""Good networks, to be damaged: the one that ships with tiem, and three of a few nodes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLIP = helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["N", 3, 4, 12, 16])
LOGITS = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])


def networks() -> list[bytes]:
    """The one that ships with tiem, a tiny 3-D CNN, a recurrent one, and one of bodies."""
    sample = Path(__file__).parent.parent.parent / "samples" / "net.onnx"
    return [sample.read_bytes(), _convolutional(), _recurrent(), _nested()]


def _made(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], **more: object) -> bytes:
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [CLIP], [LOGITS], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more).SerializeToString()


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def _convolutional() -> bytes:
    nodes = [
        helper.make_node("Conv", ["clip", "kernel"], ["c"], pads=[1] * 6, strides=[1, 2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Reshape", ["p", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "dense", "bias"], ["logits"], alpha=1.0, transB=1),
    ]
    weights = {"kernel": _noise(4, 3, 3, 3, 3), "dense": _noise(5, 4), "bias": _noise(5)}
    return _made(nodes, weights | {"flat": np.array([-1, 4])})


def _recurrent() -> bytes:
    nodes = [
        helper.make_node("ReduceMean", ["clip"], ["m"], axes=[3], keepdims=0),
        helper.make_node("Transpose", ["m"], ["t"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["t", "rows"], ["s"]),
        helper.make_node("LSTM", ["s", "w", "r"], ["", "h"], hidden_size=4),
        helper.make_node("Squeeze", ["h", "first"], ["last"]),
        helper.make_node("MatMul", ["last", "dense"], ["logits"]),
    ]
    weights = {"w": _noise(1, 16, 48), "r": _noise(1, 16, 4), "dense": _noise(4, 5)}
    return _made(nodes, weights | {"rows": np.array([4, -1, 48]), "first": np.array([0])})


def _nested() -> bytes:
    """A function, a branch and a loop."""
    real = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    branches = {
        f"{kind}_branch": helper.make_graph([helper.make_node(op, ["f"], ["o"])], kind, [], real)
        for kind, op in (("then", "Relu"), ("else", "Neg"))
    }
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    carried = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Tanh", ["x"], ["o"])],
        "body",
        [turn, flag, carried],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), *real],
    )
    twice = [helper.make_node("Add", ["a", "a"], ["b"])]
    doubled = helper.make_function(
        "own", "Double", ["a"], ["b"], twice, [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("GlobalAveragePool", ["clip"], ["p"]),
        helper.make_node("Flatten", ["p"], ["q"]),
        helper.make_node("Double", ["q"], ["f"], domain="own"),
        helper.make_node("If", ["yes"], ["o1"], **branches),
        helper.make_node("Loop", ["turns", "yes", "o1"], ["o2"], body=body),
        helper.make_node("MatMul", ["o2", "dense"], ["logits"]),
    ]
    weights = {"yes": np.array(True), "turns": np.array(2), "dense": _noise(3, 5)}
    return _made(nodes, weights, functions=[doubled])
