"""Class feature pyramids: the kernels that tell the class, layer by layer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tiemcli.facts import Facts
from tiemcli.methods.class_feature_pyramids import chosen_kernels, contributions, find, pyramid
from tiemcli.methods.class_score import class_score
from tiemcli.model import load_model
from tiemcli.pipeline import explain, read_clip
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings

TWO_LAYERS = """
    c = Conv<pads=[0,1,1,0,1,1]>(clip, first)
    a = Relu(c)
    d = Conv(a, second)
    b = Relu(d)
    p = GlobalAveragePool(b)
    f = Flatten(p)
    scores = Gemm(f, head, offset)
"""


def spots() -> dict[str, np.ndarray]:
    """Weights by which kernel k of each layer sees channel k, and class 0 only the kernel 1."""
    first = np.zeros((3, 3, 1, 3, 3), np.float32)
    first[range(3), range(3), 0, 1, 1] = 1
    second = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1, 1)
    head = np.full((3, 2), 0.01, np.float32)
    head[1, 0] = 1
    return {"first": first, "second": second, "head": head, "offset": np.zeros(2, np.float32)}


def with_spots(scene):
    """The scene, its clip black but for a spot in each channel at another place and time."""
    scene.clip[:] = 0
    scene.clip[0, 0, 2:5, 2:5] = scene.clip[2, 3, 8:11, 12:15] = 1
    scene.clip[1, 2, 6:9, 5:8] = 1
    scene.target = 0
    scene.clean = float(scene.network.outputs(scene.clip)[0])
    return scene


def test_only_what_the_class_s_kernels_see_is_found(network_scene) -> None:
    """Three kernels see one spot each, and the saliency is 1 on the spot of the class's, 0 elsewhere."""
    saliency = find(with_spots(network_scene(TWO_LAYERS, classes=2, weights=spots()))).saliency
    expected = np.zeros_like(saliency)
    expected[2, 6:9, 5:8] = 1
    np.testing.assert_allclose(saliency, expected, atol=1e-6)


def test_a_pyramid_goes_down_convolution_by_convolution(network_scene) -> None:
    """First the last layer or the chosen one, then what the convolutions before it led to."""
    scene = network_scene(TWO_LAYERS, classes=2, weights=spots())
    clip = scene.torch_clip()
    assert [layer.name for layer in pyramid(clip, None)] == ["b", "a"]
    assert [layer.name for layer in pyramid(clip, "d")] == ["d", "a"]
    assert [layer.name for layer in pyramid(clip, "a")] == ["a"]


def test_a_pyramid_has_outcomes_from_before_a_pooling(network_scene) -> None:
    """A pooled map is the same one, coarser."""
    text = TWO_LAYERS.replace("d = Conv(a,", "m = MaxPool<kernel_shape=[1,2,2]>(a) d = Conv(m,")
    scene = network_scene(text, classes=2, weights=spots())
    assert [layer.name for layer in pyramid(scene.torch_clip(), None)] == ["b", "a"]


def test_before_a_linear_classifier_a_contribution_is_weight_times_mean(network_scene) -> None:
    """w_k · mean(A_k), the paper's contribution of a kernel to the class."""
    scene = network_scene("cnn")
    clip = scene.torch_clip()
    (layer,) = pyramid(clip, None)
    scores, inner = clip.activations([layer.name])
    (slope,) = clip.slopes(class_score(scene, scores), inner[layer.name])
    found = contributions(layer, inner[layer.name], slope).detach().numpy()
    dense = clip.graph.constants["dense"].numpy()
    means = inner[layer.name].detach().numpy()[0].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found, means * dense[:, scene.target], rtol=1e-4)


def test_kernels_are_chosen_by_their_share_of_the_largest() -> None:
    """Half of the largest is enough, and where none is above 0 none is chosen."""
    shares = chosen_kernels(torch.tensor([4.0, 1.9, 2.0, -8.0]))
    assert shares.tolist() == [1, 0, 0.5, 0]
    assert not chosen_kernels(torch.tensor([-1.0, 0.0])).any()


def test_kernels_below_are_those_of_the_kernels_chosen_above(network_scene) -> None:
    """Kernel 0 of the first layer speaks for the class, but through one that is not chosen."""
    weights = spots()
    weights["head"][0, 0] = 0.3
    saliency = find(with_spots(network_scene(TWO_LAYERS, classes=2, weights=weights))).saliency
    assert saliency[0].max() == 0
    assert saliency[2, 7, 6] == 1


@pytest.mark.slow
def test_it_explains_the_sample_clip(root: Path) -> None:
    """The real network on the real clip, as the command runs it."""
    model = load_model(root / "samples" / "net.onnx", Facts())
    settings = Settings(method="class-feature-pyramids", areas=(0.1,))
    source = read_clip(root / "samples" / "clip.mp4", model, settings)
    found = explain(source, load_network(model, "cpu"), settings)
    assert 0 <= found.evidence.saliency.min() < found.evidence.saliency.max() <= 1
    assert found.masks[0].hard.mean() == pytest.approx(0.1, abs=0.001)
