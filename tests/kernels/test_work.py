"""Multiply-adds, compared with counting them one by one."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser

from tiemcli.kernels.work import multiply_adds, value_shapes


def run(model: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": value}) for value in inputs]


def counted(node: str, x: tuple[int, ...], **shapes: tuple[int, ...]) -> int:
    """The multiply-adds of the last node of a graph from x to y, whose weights have these shapes."""
    model = parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 17]> net (float[{",".join("abcde"[: len(x)])}] x) '
        f"=> (float[] y) {{ {node} }}"
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for name, shape in shapes.items():
        array = np.ones(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    found = value_shapes(model, np.ones(x, np.float32), run)
    assert found["x"] == x
    return multiply_adds(model.graph.node[-1], found)


def test_a_grouped_strided_convolution() -> None:
    """Each output number is a sum over the kernel and the channels of its group."""
    count = sum(2 * 3 * 3 for _ in range(2) for _ in range(6) for _ in range(4) for _ in range(5))
    node = "y = Conv<group = 2, strides = [2, 2], pads = [1, 1, 1, 1]>(x, w)"
    assert counted(node, (2, 4, 8, 10), w=(6, 2, 3, 3)) == count


def test_products() -> None:
    """Rows times columns times what they are summed over, in each of a batch."""
    assert counted("y = MatMul(x, w)", (3, 4, 5), w=(5, 6)) == 3 * 4 * 6 * 5
    assert counted("y = Gemm<transA = 1>(x, w)", (5, 4), w=(5, 6)) == 4 * 6 * 5
    assert counted('y = Einsum<equation = "bij,jk->bik">(x, w)', (3, 4, 5), w=(5, 6)) == 360


def test_a_transposed_convolution() -> None:
    """Each input number is spread by the kernel into every output channel."""
    assert counted("y = ConvTranspose(x, w)", (1, 3, 4, 5), w=(3, 2, 2, 2)) == 3 * 4 * 5 * 2 * 4


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers(operator: str, gates: int) -> None:
    """Each step multiplies the input and the state by every gate's weights, either way."""
    node = f'y = {operator}<hidden_size = 5, direction = "bidirectional">(x, w, r)'
    count = counted(node, (6, 2, 7), w=(2, 5 * gates, 7), r=(2, 5 * gates, 5))
    assert count == 6 * 2 * 2 * gates * 5 * (7 + 5)


def test_a_branch_is_passed_over() -> None:
    """The shapes around it are found, also where its condition is known before the network runs."""
    node = """
        before = MatMul(x, w)
        last = Constant<value_int = 1>()
        five = Constant<value_int = 5>()
        sizes = Shape(before)
        size = Gather(sizes, last)
        fits = Equal(size, five)
        y = If (fits) <
            then_branch = t () => (float[] a) { a = Mul(before, before) },
            else_branch = e () => (float[] b) { b = Identity(before) }
        >
        z = MatMul(y, v)
    """
    assert counted(node, (3, 4), w=(4, 5), v=(5, 6)) == 3 * 6 * 5


def test_other_operators_cost_nothing() -> None:
    """They are small beside these."""
    assert counted("y = Relu(x)", (2, 3)) == 0
