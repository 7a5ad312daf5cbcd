"""The operators of com.microsoft, which ONNX has no cases for, against onnxruntime itself."""

import numpy as np
import pytest
import torch

from tiemcli.gradients import Differentiable, Unsupported
from tiemcli.gradients.registry import OPERATORS

RNG = np.random.default_rng(12)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def levels(*shape, dtype=np.uint8):
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max + 1, shape, dtype=dtype)


def scale(value):
    return np.float32(value)


ZERO = np.uint8(120)
A = {"a_s": scale(0.02), "a_z": ZERO}
B = {"b_s": scale(0.03), "b_z": np.uint8(131)}
Y = {"y_s": scale(0.05), "y_z": np.uint8(110)}
SIGNED = {"w_s": scale(0.01), "w_z": np.int8(3)}

# By operator: its node in ONNX's text form, "a" being the network's input, and its other inputs.
NODES = [
    ("y = {}(a)", "Gelu", floats(2, 6), {}),
    ("y = {}(a, w)", "BiasGelu", floats(2, 6), {"w": floats(6)}),
    ("y = {}(a, w)", "FastGelu", floats(2, 6), {"w": floats(6)}),
    ("y = {}<alpha=1.5>(a)", "QuickGelu", floats(2, 6), {}),
    (
        'y = {}<activation="Relu", pads=[1,1,1,1], strides=[2,2]>(a, w, b, s)',
        "FusedConv",
        floats(2, 3, 6, 6),
        {"w": floats(4, 3, 3, 3), "b": floats(4), "s": floats(2, 4, 3, 3)},
    ),
    (
        'y = {}<activation="LeakyRelu", activation_alpha=0.1, transB=1>(a, w, b)',
        "FusedGemm",
        floats(2, 6),
        {"w": floats(4, 6), "b": floats(4)},
    ),
    ("y = {}<alpha=0.5, transB=1>(a, w)", "FusedMatMul", floats(3, 2, 6), {"w": floats(3, 4, 6)}),
    (
        "y, mean, deviation, total = {}<epsilon=0.01>(a, s, w, b, c)",
        "SkipLayerNormalization",
        floats(2, 3, 6),
        {"s": floats(2, 3, 6), "w": floats(6), "b": floats(6), "c": floats(6)},
    ),
    (
        "y = {}<num_heads=2>(a, k, v, b)",
        "MultiHeadAttention",
        floats(2, 3, 8),
        {"k": floats(2, 5, 8), "v": floats(2, 5, 8), "b": floats(24)},
    ),
    (
        "y = {}<num_heads=2, unidirectional=1>(a, w, b)",
        "Attention",
        floats(2, 3, 8),
        {"w": floats(8, 24), "b": floats(24)},
    ),
    ("y = {}(a, y_s, y_z)", "QuantizeLinear", floats(2, 6), Y),
    ("y = {}(a, a_s, a_z)", "DequantizeLinear", levels(2, 6), A),
    (
        "y = {}(a, a_s, a_z, b, b_s, b_z, y_s, y_z)",
        "QLinearAdd",
        levels(2, 6),
        A | B | Y | {"b": levels(6)},
    ),
    (
        "y = {}(a, a_s, a_z, b, b_s, b_z, y_s, y_z)",
        "QLinearMul",
        levels(2, 6),
        A | B | Y | {"b": levels(6)},
    ),
    ("y = {}(a, a_s, a_z, y_s, y_z)", "QLinearSigmoid", levels(2, 6), A | Y),
    (
        "y = {}<axis=-1, opset=13>(a, a_s, a_z, y_s, y_z)",
        "QLinearSoftmax",
        levels(2, 6),
        A | {"y_s": scale(1 / 256), "y_z": np.uint8(0)},
    ),
    (
        "y = {}<kernel_shape=[2,2], strides=[2,2]>(a, a_s, a_z, y_s, y_z)",
        "QLinearAveragePool",
        levels(2, 3, 4, 4),
        A | Y,
    ),
    ("y = {}(a, a_s, a_z, y_s, y_z)", "QLinearGlobalAveragePool", levels(2, 3, 4, 4), A | Y),
    (
        "y = {}<axis=1>(y_s, y_z, a, a_s, a_z, b, b_s, b_z)",
        "QLinearConcat",
        levels(2, 6),
        A | B | Y | {"b": levels(2, 3)},
    ),
    (
        "y = {}<transB=1, alpha=1.0>(a, a_s, a_z, w, w_s, w_z, c, y_s, y_z)",
        "QGemm",
        levels(2, 6),
        A
        | SIGNED
        | Y
        | {"w": levels(4, 6, dtype=np.int8), "c": levels(4, dtype=np.int32) // 2**21},
    ),
    (
        "y = {}(a, w, w_s, w_z, b)",
        "DynamicQuantizeMatMul",
        floats(2, 6),
        SIGNED | {"w": levels(6, 4, dtype=np.int8), "b": floats(4)},
    ),
    (
        "y = {}(a, w, a_s, w_s, a_z, w_z, b)",
        "MatMulIntegerToFloat",
        levels(2, 6),
        A | SIGNED | {"w": levels(6, 4, dtype=np.int8), "b": floats(4)},
    ),
    (
        "y = {}<hidden_size=4>(a, w, r, b, , , , , w_s, w_z, r_s, r_z)",
        "DynamicQuantizeLSTM",
        floats(3, 2, 5),
        {
            "w": levels(1, 5, 16, dtype=np.int8),
            "r": levels(1, 4, 16, dtype=np.int8),
            "b": floats(1, 32),
            "w_s": np.float32([0.01]),
            "w_z": np.int8([2]),
            "r_s": np.float32([0.005]),
            "r_z": np.int8([-1]),
        },
    ),
]

# onnxruntime rounds the activations of these to eight bits, or interpolates a table of 256 values.
ROUGH = {"DynamicQuantizeLSTM": 0.02, "QuickGelu": 1e-4}


def model_of(parsed, text, op_type, a, weights):
    """A network of one com.microsoft node, as if `a` were the video."""
    kind = "uint8" if a.dtype == np.uint8 else "float"
    levelled = op_type.startswith("Q") and op_type != "QuickGelu"
    given = "uint8" if levelled else "float"
    node = text.format(f"com.microsoft.{op_type}")
    shape = ",".join(map(str, a.shape))
    return parsed(f"g ({kind}[{shape}] a) => ({given} y) {{ {node} }}", **weights)


@pytest.mark.parametrize(("text", "op_type", "a", "weights"), NODES, ids=[n[1] for n in NODES])
def test_a_microsoft_operator_equals_onnxruntime(parsed, reference, text, op_type, a, weights):
    """The operator's first output is onnxruntime's, levels to within one where they round."""
    model = model_of(parsed, text, op_type, a, weights)
    (ours,) = Differentiable(model)(torch.from_numpy(a))
    (theirs,) = reference(model, a)
    tolerance = 1 if theirs.dtype == np.uint8 else ROUGH.get(op_type, 1e-5)
    assert tuple(ours.shape) == theirs.shape
    np.testing.assert_allclose(ours.numpy(), theirs.astype(np.float64), atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize(("text", "op_type", "a", "weights"), NODES, ids=[n[1] for n in NODES])
def test_a_microsoft_operator_has_a_gradient(parsed, text, op_type, a, weights):
    """A gradient comes back to the input, through levels too, finite and not all zero."""
    x = torch.from_numpy(a).float().requires_grad_()
    (y,) = Differentiable(model_of(parsed, text, op_type, a, weights))(x)
    weight = torch.linspace(-1, 2, y.numel()).reshape(y.shape)
    (gradient,) = torch.autograd.grad((y * weight).sum(), x)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_every_microsoft_operator_is_compared():
    """An operator that is added to the table is added here."""
    ours = {op_type for domain, op_type in OPERATORS if domain == "com.microsoft"}
    assert ours == {op_type for _, op_type, *_ in NODES}


def test_a_padded_attention_is_refused(parsed):
    """A form that the function does not compute is refused at load, not computed wrongly."""
    model = parsed(
        """g (float[2,3,8] a, int32[2,3] mask) => (float[2,3,8] y) {
            y = com.microsoft.Attention<num_heads=2>(a, w, b, mask)
        }""",
        w=floats(8, 24),
        b=floats(24),
    )
    with pytest.raises(Unsupported) as caught:
        Differentiable(model)
    assert caught.value.operators == ("com.microsoft::Attention",)
