"""Whole networks: values equal to onnxruntime's, gradients equal to those of the native module."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tiemcli.gradients import Differentiable


class Cnn3d(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2)),
            *(nn.Conv3d(6, 8, (1, 3, 3), stride=(1, 2, 2), groups=2), nn.SiLU()),
            *(nn.AvgPool3d(2, ceil_mode=True), nn.Flatten(), nn.LazyLinear(5)),
        )

    def forward(self, clip):
        return self.layers(clip)


class CnnRecurrent(nn.Module):
    """A small CNN a frame, a recurrent layer over the frames, a decision at the last."""

    def __init__(self, recurrent):
        super().__init__()
        self.frame = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Tanh())
        self.recurrent = recurrent
        self.head = nn.LazyLinear(5)

    def forward(self, clip):
        batch, frames = clip.shape[:2]
        features = self.frame(clip.flatten(0, 1)).mean((2, 3))
        states, _ = self.recurrent(features.reshape(batch, frames, 4))
        return self.head(states[:, -1])


class Attention(nn.Module):
    """One transformer block over the patches of a clip, with a table of positions."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv3d(3, 16, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(8, 16))
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, clip):
        tokens = self.patch(clip).flatten(2).transpose(1, 2) + self.positions
        normal = self.norms[0](tokens)
        query, key, value = (
            layer(normal).unflatten(-1, (2, 8)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = (query @ key.transpose(-1, -2) / 8**0.5).softmax(-1)
        tokens = tokens + (scores @ value).transpose(1, 2).flatten(2)
        tokens = tokens + self.mlp(self.norms[1](tokens))
        return self.head(tokens.mean(1))


NETWORKS = {
    "cnn3d": (Cnn3d, (2, 3, 6, 10, 10)),
    "cnn-lstm": (lambda: CnnRecurrent(nn.LSTM(4, 7, batch_first=True)), (2, 5, 3, 9, 9)),
    "cnn-bigru": (
        lambda: CnnRecurrent(nn.GRU(4, 7, batch_first=True, bidirectional=True)),
        (2, 5, 3, 9, 9),
    ),
    "attention": (Attention, (2, 3, 8, 8, 8)),
}


def exported(name):
    """A seeded module in inference, its ONNX file, and an input that asks for a gradient."""
    torch.manual_seed(3)
    build, shape = NETWORKS[name]
    module, clip = build(), torch.randn(shape)
    module.train()
    module(clip)  # sets lazy layers, and the statistics of batch normalisation
    module.eval().requires_grad_(False)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no onnxscript is deprecated
        torch.onnx.export(module, (clip,), file, dynamo=False, opset_version=17)
    return module, onnx.load_from_string(file.getvalue()), clip.requires_grad_()


def gradient(function, x, index=1):
    """The gradient of the sum over the batch of one logit."""
    return torch.autograd.grad(function(x)[:, index].sum(), x)[0]


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


@pytest.mark.parametrize("name", NETWORKS)
def test_values_equal_onnxruntime(name, reference):
    """The logits of an exported network are onnxruntime's."""
    _, model, clip = exported(name)
    (ours,) = Differentiable(model)(clip)
    (theirs,) = reference(model, clip.detach().numpy())
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_equal_the_native_module(name):
    """The input gradient of an exported network is that of the module it was exported from."""
    module, model, clip = exported(name)
    network = Differentiable(model)
    ours = gradient(lambda x: network(x)[0], clip)
    torch.testing.assert_close(ours, gradient(module, clip), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn3d", "attention"])
def test_a_file_that_onnxruntime_optimised_has_the_same_gradient(name, tmp_path):
    """Fused operators of com.microsoft give the gradient of what they fuse."""
    module, model, clip = exported(name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    optimised = onnx.load(tmp_path / "optimised.onnx")
    network = Differentiable(optimised)
    assert any(node.domain == "com.microsoft" for node in optimised.graph.node)
    ours = gradient(lambda x: network(x)[0], clip)
    torch.testing.assert_close(ours, gradient(module, clip), rtol=1e-4, atol=1e-6)


def half_precision(model):
    """The model with every float tensor and type in float16."""
    half = onnx.TensorProto.FLOAT16
    model = onnx.ModelProto.FromString(model.SerializeToString())
    constants = [a.t for n in model.graph.node for a in n.attribute if a.name == "value"]
    for tensor in [*model.graph.initializer, *constants]:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = half
    del model.graph.value_info[:]
    return model


def test_half_precision_runs_in_single(reference):
    """A float16 file has the logits of float32 and onnxruntime's to float16's precision."""
    module, model, clip = exported("cnn3d")
    network = Differentiable(half_precision(model))
    (ours,) = network(clip.half())
    assert ours.dtype == torch.float32
    (theirs,) = reference(half_precision(model), clip.detach().half().numpy())
    np.testing.assert_allclose(ours.detach().numpy(), theirs.astype(np.float32), atol=1e-2)
    assert cosine(gradient(lambda x: network(x)[0], clip), gradient(module, clip)) > 0.999


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_live_on_the_device_and_shapes_on_the_cpu(name):
    """A network on a device meets no weight left behind: "meta" computes shapes, and says so."""
    _, model, clip = exported(name)
    (logits,) = Differentiable(model, "meta")(clip.detach().to("meta"))
    assert logits.device.type == "meta"
    assert logits.shape == (2, 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_gpu_gives_the_gradient_of_the_cpu(name):
    """Logits and gradient on a CUDA device are those of the CPU."""
    module, model, clip = exported(name)
    network = Differentiable(model, "cuda:0")
    x = clip.detach().cuda().requires_grad_()
    ours = gradient(lambda x: network(x)[0], x)
    assert cosine(ours.cpu(), gradient(module, clip)) > 0.999
