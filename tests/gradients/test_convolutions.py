"""Convolutions in the layout of the CPU, and with the normalisation behind them folded in."""

import numpy as np
import pytest
import torch
from onnx.numpy_helper import to_array as array
from torch import nn

from tiemcli.gradients import Differentiable
from tiemcli.gradients.load import load

# What is convolved, by kernel, strides, pads before and after, and dilations: over frames alone,
# over pixels alone, over neither and over both.
FORMS = {
    "pixels": ((1, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1)),
    "pixels, frames skipped": ((1, 3, 3), (2, 1, 1), (0, 1, 1), (1, 1, 1)),
    "pixels, frames padded": ((1, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "frames": ((3, 1, 1), (2, 1, 1), (1, 0, 0), (1, 1, 1)),
    "frames, pixels skipped": ((3, 1, 1), (1, 2, 2), (1, 0, 0), (1, 1, 1)),
    "neither": ((1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
    "both": ((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "pixels apart": ((1, 3, 3), (1, 1, 1), (0, 2, 2), (1, 2, 2)),
    "frames apart": ((3, 1, 1), (1, 1, 1), (2, 0, 0), (2, 1, 1)),
}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_a_convolution_folds_to_two_dimensions_unchanged(form, groups, parsed):
    """Every form gives torch's own values and gradient, and keeps channels last."""
    size, strides, pads, dilations = FORMS[form]
    rng = np.random.default_rng(4)
    kernel = rng.normal(size=(6, 4 // groups, *size)).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    attributes = (
        f"strides={list(strides)}, pads={[*pads, *pads]}, dilations={list(dilations)}, "
        f"group={groups}"
    )
    model = parsed(
        f"g (float[2,4,5,8,9] x) => (float[2,6,t,h,w] y) {{ y = Conv<{attributes}>(x, k, b) }}",
        k=kernel,
        b=bias,
    )
    x = torch.from_numpy(rng.normal(size=(2, 4, 5, 8, 9)).astype(np.float32)).requires_grad_()
    folded = x.detach().contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    weights = torch.from_numpy(kernel), torch.from_numpy(bias)
    native = nn.functional.conv3d(x, *weights, strides, pads, dilations, groups)
    (ours,) = Differentiable(model)(folded)
    torch.testing.assert_close(ours, native, rtol=1e-5, atol=1e-5)
    assert ours.is_contiguous(memory_format=torch.channels_last_3d)
    slopes = [
        torch.autograd.grad(y.square().sum(), at)[0] for y, at in ((ours, folded), (native, x))
    ]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-4)


def normalised(parsed, *, biased=True, ending="y = Relu(n)", outputs="float[2,6,5,6] y"):
    """A convolution and the batch normalisation of what it gives, with statistics of some training."""
    rng = np.random.default_rng(5)
    shape = {"scale": 6, "shift": 6, "mean": 6, "k": (6, 3, 3, 3), "b": 6}
    weights = {name: rng.normal(size=size).astype(np.float32) for name, size in shape.items()}
    weights["variance"] = rng.uniform(0.01, 4, 6).astype(np.float32)
    if not biased:
        del weights["b"]
    return parsed(
        f"""g (float[2,3,7,8] x) => ({outputs}) {{
            c = Conv(x, k{", b" if biased else ""})
            n = BatchNormalization<epsilon=0.001>(c, scale, shift, mean, variance)
            {ending}
        }}""",
        **weights,
    )


def operators(model):
    return [node.op_type for node, _ in load(model, "cpu").steps]


@pytest.mark.parametrize("biased", [True, False])
def test_a_folded_normalisation_answers_as_before(biased, parsed, reference):
    """A convolution and its normalisation become one, of the values and the gradient of both."""
    model = normalised(parsed, biased=biased)
    assert operators(model) == ["Conv", "Relu"]
    x = np.random.default_rng(6).normal(size=(2, 3, 7, 8)).astype(np.float32)
    at = torch.from_numpy(x).requires_grad_()
    (ours,) = Differentiable(model)(at)
    np.testing.assert_allclose(ours.detach(), reference(model, x)[0], atol=1e-5)

    weights = {t.name: torch.from_numpy(array(t)) for t in model.graph.initializer}
    native = nn.functional.batch_norm(
        nn.functional.conv2d(at, weights["k"], weights.get("b")),
        *(weights[name] for name in ("mean", "variance", "scale", "shift")),
        eps=1e-3,
    ).relu()
    theirs = torch.autograd.grad(native.sum(), at)[0]
    torch.testing.assert_close(torch.autograd.grad(ours.sum(), at)[0], theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("ending", "outputs"),
    [("y = Add(n, c)", "float[2,6,5,6] y"), ("y = Relu(n)", "float[2,6,5,6] y, float[2,6,5,6] c")],
)
def test_a_convolution_that_others_read_keeps_its_values(ending, outputs, parsed, reference):
    """Where the map itself is wanted, by a node or as an output, nothing is folded."""
    model = normalised(parsed, ending=ending, outputs=outputs)
    assert "BatchNormalization" in operators(model)
    x = np.random.default_rng(7).normal(size=(2, 3, 7, 8)).astype(np.float32)
    for ours, theirs in zip(
        Differentiable(model)(torch.from_numpy(x)), reference(model, x), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_clipping_passes_the_gradient_at_its_bounds_and_not_beyond(parsed):
    """A pixel that is black or white already lies on the bound, and must not be lost."""
    model = parsed(
        "g (float[5] x) => (float[5] y) { y = Clip(x, low, high) }",
        low=np.float32(0),
        high=np.float32(1),
    )
    x = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    (y,) = Differentiable(model)(x)
    assert y.tolist() == [0, 0, 0.5, 1, 1]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [0, 1, 1, 1, 0]


def test_the_largest_number_is_a_bound_like_any_other(parsed):
    """Old exporters write it where a side is open; nothing is warned of, and -0 is no less than 0."""
    model = parsed(
        "g (float[5] x) => (float[5] y) { y = Clip(x, low, high) }",
        low=np.float32(0),
        high=np.finfo(np.float32).max,
    )
    x = torch.tensor([-0.5, -0.0, 0.5, 1e30, float(np.finfo(np.float32).max)], requires_grad=True)
    (y,) = Differentiable(model)(x)
    assert y.tolist() == [0, *x.tolist()[1:]]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [0, 1, 1, 1, 1]
