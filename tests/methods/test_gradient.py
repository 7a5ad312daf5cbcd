"""The gradient of a class's score with respect to the clip's pixels."""

import numpy as np
import pytest

from tiemcli.methods import gradient

torch = pytest.importorskip("torch")

from tiemcli.methods.scene import Scene

SHAPE = (3, 4, 12, 16)


def test_of_a_linear_network_it_is_the_largest_weight(network_scene) -> None:
    """Whatever the clip, a pixel's saliency is the largest of its channels' weights, without sign."""
    weights = np.random.default_rng(0).normal(size=(np.prod(SHAPE), 5)).astype(np.float32) / 30
    scene = network_scene("f = Flatten(clip)  scores = Gemm(f, w)", weights={"w": weights})
    evidence = gradient.find(scene)
    expected = np.abs(weights[:, scene.target].reshape(SHAPE)).max(axis=0)
    np.testing.assert_allclose(evidence.saliency, expected, rtol=1e-4)
    assert evidence.backend == "autograd"
    assert evidence.masks[0].evaluations == 1


def test_the_score_is_the_one_before_the_softmax(network_scene) -> None:
    """A softmax behind the scores changes no saliency, though it all but vanishes where it is sure."""
    weights = np.random.default_rng(0).normal(size=(np.prod(SHAPE), 5)).astype(np.float32) / 10
    text = "f = Flatten(clip)  l = Gemm(f, w)"
    found = [
        gradient.find(network_scene(text + last, output=output, weights={"w": weights})).saliency
        for last, output in (
            ("scores = Identity(l)", "logits"),
            ("scores = Softmax(l)", "probabilities"),
        )
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def raw(scene: Scene, clip: np.ndarray) -> float:
    """The target's logarithm of probability but for a constant, by ONNX Runtime."""
    outputs = scene.network.outputs(clip)
    return float(np.log(outputs[scene.target]) - np.log(outputs).mean())


@pytest.mark.parametrize("name", ["cnn-rnn", "transformer, place by place, class token"])
def test_it_is_a_difference_quotient(name: str, network_scene) -> None:
    """The steepest pixel's slope is what ONNX Runtime's scores say, differing in that pixel alone."""
    scene = network_scene(name)
    saliency = gradient.find(scene).saliency
    assert saliency.shape == SHAPE[1:]
    assert (saliency >= 0).all()
    clip = scene.torch_clip()
    pixels = clip.pixels
    scores, _ = clip.activations([], pixels)
    centred = scores[scene.target] - scores.mean()
    (slope,) = clip.slopes(centred, pixels)
    at = np.unravel_index(int(slope.abs().argmax()), SHAPE)
    ahead, behind = scene.clip.copy(), scene.clip.copy()
    ahead[at] += 0.02
    behind[at] -= 0.02
    quotient = (raw(scene, ahead) - raw(scene, behind)) / 0.04
    assert float(slope[at]) == pytest.approx(quotient, rel=0.05)
    (alone,) = clip.slopes(clip.activations([], pixels)[0][scene.target], pixels)
    np.testing.assert_allclose(saliency, alone.abs().amax(0), rtol=1e-4, atol=1e-7)
