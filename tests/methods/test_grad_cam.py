"""A layer's channels weighted by their mean slopes."""

import numpy as np
import pytest

from tiemcli.errors import ModelError, UsageError
from tiemcli.methods import grad_cam

torch = pytest.importorskip("torch")
from torch import Tensor
from torch.nn import functional

from tiemcli.methods.layer import to_clip
from tiemcli.methods.scene import Scene


def weights_of(scene: Scene) -> dict[str, Tensor]:
    """The network's own weights by name."""
    return {
        tensor.name: torch.from_numpy(np.array(onnx_array(tensor)))
        for tensor in scene.network.model.proto.graph.initializer
    }


def onnx_array(tensor: object) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def test_with_an_average_and_a_linear_layer_it_is_the_class_activation_map(network_scene) -> None:
    """ReLU(Σ_k w_kc A_k / cells), by hand: Zhou's CAM, of which it is the generalisation."""
    scene = network_scene("cnn")
    found = grad_cam.find(scene).saliency
    w = weights_of(scene)
    maps = functional.conv3d(
        torch.from_numpy(scene.clip)[None], w["kernel3"], w["bias"], padding=1
    ).relu()[0]
    cells = maps[0].numel()
    cam = torch.zeros(maps.shape[1:])
    for k in range(6):
        cam += w["dense"][k, scene.target] * maps[k] / cells
    expected = cam.relu()
    assert 0.05 < float((expected > 0).float().mean()) < 0.999
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def tail(maps: Tensor, w: dict[str, Tensor]) -> Tensor:
    """The CNN-RNN's logits of its maps (T, C, h, w), written out."""
    steps = functional.max_pool2d(maps, 2).mean(dim=(2, 3))
    state = torch.zeros(6)
    for step in steps:
        state = torch.tanh(w["recurrent_w"][0] @ step + w["recurrent_r"][0] @ state)
    return state @ w["dense"] + w["offset"]


def test_each_frame_of_a_cnn_rnn_has_weights_of_its_own(network_scene) -> None:
    """Slopes are averaged over a frame's pixels, as the recurrent layer makes of each frame its own."""
    scene = network_scene("cnn-rnn")
    found = grad_cam.find(scene).saliency
    w = weights_of(scene)
    frames = torch.from_numpy(scene.clip).transpose(0, 1)
    maps = functional.conv2d(frames, w["kernel2"], w["bias"], stride=2, padding=1).relu()
    maps.requires_grad_()
    (slopes,) = torch.autograd.grad(tail(maps, w)[scene.target], maps)
    expected = torch.zeros(4, 6, 8)
    for t in range(4):
        for k in range(6):
            expected[t] += slopes[t, k].mean() * maps[t, k].detach()
    np.testing.assert_allclose(found, to_clip(expected.relu(), scene.shape), rtol=1e-3, atol=1e-7)
    means = slopes.mean(dim=(2, 3))
    assert float((means[0] - means[3]).abs().max()) > 0.1 * float(means.abs().max())


@pytest.mark.parametrize("order", ["frame by frame", "place by place"])
def test_of_a_transformer_it_weighs_the_last_tokens(order: str, network_scene) -> None:
    """A mean over normalised tokens and a linear layer give each token w·n, in its place."""
    scene = network_scene(f"transformer, {order}, mean")
    found = grad_cam.find(scene).saliency
    clip = scene.torch_clip()
    _, inner = clip.activations(["n"])
    tokens = inner["n"][0, 1:].detach()
    cells = tokens @ weights_of(scene)["classes"][:, scene.target] / (len(tokens) + 1)
    grid = (
        cells.reshape(2, 3, 4)
        if order == "frame by frame"
        else cells.reshape(3, 4, 2).permute(2, 0, 1)
    )
    np.testing.assert_allclose(found, to_clip(grid.relu(), scene.shape), rtol=1e-3, atol=1e-7)


def test_a_layer_may_be_chosen(network_scene) -> None:
    """--layer looks elsewhere, and an unknown one is told with what there is."""
    coarse = grad_cam.find(network_scene("cnn-rnn", layer="m")).saliency
    fine = grad_cam.find(network_scene("cnn-rnn")).saliency
    assert np.abs(coarse - fine).max() > 0
    with pytest.raises(UsageError, match="--layer conv9"):
        grad_cam.find(network_scene("cnn-rnn", layer="conv9"))


def test_without_a_map_it_says_so(network_scene) -> None:
    """A network of no spatial layer cannot be served, and another method is named."""
    weights = np.random.default_rng(0).normal(size=(3 * 4 * 12 * 16, 5)).astype(np.float32) / 30
    scene = network_scene("f = Flatten(clip)  scores = Gemm(f, w)", weights={"w": weights})
    with pytest.raises(ModelError, match="keeps a map"):
        grad_cam.find(scene)


def test_without_gradients_it_says_so(network_scene) -> None:
    """A backend of scores alone cannot serve it."""
    with pytest.raises(UsageError, match="finite-difference"):
        grad_cam.find(network_scene("cnn", backend="finite-difference"))
