"""Recurrent operators in all their forms, against onnxruntime and finite differences."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from tiemcli.gradients import Differentiable

FRAMES, BATCH, FEATURES, SIZE = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(op_type, lengths=None, state=False, peephole=False, **attributes):
    """A model of one seeded recurrent node over x (T, N, features), all its outputs asked for."""
    rng = np.random.default_rng(8)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[op_type] * SIZE
    tensors = {
        "w": rng.normal(size=(directions, rows, FEATURES)),
        "r": rng.normal(size=(directions, rows, SIZE)),
        "b": rng.normal(size=(directions, 2 * rows)),
    }
    inputs = ["x", "w", "r", "b", ""]
    if lengths is not None:
        inputs[4] = "lengths"
    if state:
        inputs += ["h", "c"] if op_type == "LSTM" else ["h"]
        tensors |= {name: rng.normal(size=(directions, BATCH, SIZE)) for name in inputs[5:]}
    if peephole:
        inputs += [""] * (7 - len(inputs)) + ["p"]
        tensors["p"] = rng.normal(size=(directions, 3 * SIZE))
    initialisers = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()]
    if lengths is not None:
        initialisers.append(numpy_helper.from_array(np.array(lengths, np.int32), "lengths"))
    outputs = ["y", "last", "cell"][: 3 if op_type == "LSTM" else 2]
    node = helper.make_node(op_type, inputs, outputs, hidden_size=SIZE, **attributes)
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", floats, [FRAMES, BATCH, FEATURES])],
        [helper.make_tensor_value_info(name, floats, None) for name in outputs],
        initialisers,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


FORMS = [
    *({"direction": facing} for facing in ("forward", "reverse", "bidirectional")),
    *({"direction": facing, "state": True} for facing in ("forward", "bidirectional")),
    *(
        {"direction": facing, "lengths": [5, 2, 3]}
        for facing in ("forward", "reverse", "bidirectional")
    ),
    {"lengths": [5, 5, 5]},
]
CASES = [
    *(("LSTM", form) for form in FORMS),
    ("LSTM", {"peephole": True}),
    ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Softsign"], "activation_alpha": [0.3]}),
    *(("GRU", form) for form in FORMS),
    *(("GRU", {**form, "linear_before_reset": 1}) for form in FORMS),
    *(("RNN", form) for form in FORMS),
    ("RNN", {"activations": ["Relu"]}),
    ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.7], "activation_beta": [0.6]}),
]


@pytest.mark.parametrize(("op_type", "form"), CASES, ids=str)
def test_a_recurrent_form_equals_onnxruntime(reference, op_type, form):
    """Every state, the last state and the last cell are onnxruntime's."""
    model = recurrent(op_type, **form)
    x = np.random.default_rng(9).normal(size=(FRAMES, BATCH, FEATURES)).astype(np.float32)
    ours = Differentiable(model)(torch.from_numpy(x))
    for mine, theirs in zip(ours, reference(model, x), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("op_type", "form"),
    [
        ("LSTM", {"direction": "bidirectional"}),
        ("LSTM", {"direction": "bidirectional", "lengths": [5, 2, 3]}),
        ("LSTM", {"peephole": True}),
        ("GRU", {"direction": "reverse", "linear_before_reset": 1}),
        ("GRU", {"lengths": [5, 2, 3]}),
        ("RNN", {}),
    ],
    ids=str,
)
def test_a_recurrent_gradient_is_the_slope(op_type, form):
    """The gradient through fused kernel and plain loop alike agrees with central differences."""
    network = Differentiable(recurrent(op_type, **form))
    rng = np.random.default_rng(10)
    x = torch.from_numpy(rng.normal(size=(FRAMES, BATCH, FEATURES)).astype(np.float32))
    way = torch.from_numpy(rng.normal(size=x.shape).astype(np.float32))
    weight = torch.from_numpy(rng.normal(size=SIZE).astype(np.float32))

    def score(x):
        return (network(x)[0] * weight).sum()

    (gradient,) = torch.autograd.grad(score(x.requires_grad_()), x)
    with torch.no_grad():
        finite = (score(x + 1e-2 * way) - score(x - 1e-2 * way)) / 2e-2
    assert float((gradient * way).sum()) == pytest.approx(float(finite), rel=1e-2)


def test_steps_beyond_a_length_have_no_gradient():
    """A frame after the end of its sequence moves nothing."""
    network = Differentiable(recurrent("LSTM", lengths=[5, 2, 3], direction="bidirectional"))
    x = torch.randn(FRAMES, BATCH, FEATURES, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(network(x.requires_grad_())[0].sum(), x)
    moved = gradient.abs().sum(2) > 0
    ends = torch.tensor([5, 2, 3])
    assert torch.equal(moved, torch.arange(FRAMES)[:, None] < ends)
