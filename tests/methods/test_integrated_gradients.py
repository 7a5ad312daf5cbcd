"""Gradients summed on the way from base to clip."""

import numpy as np
import pytest

from tiemcli.methods import integrated_gradients

torch = pytest.importorskip("torch")

SHAPE = (3, 4, 12, 16)
QUADRATIC = "s = Mul(clip, clip)  f = Flatten(s)  scores = Gemm(f, w)"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("base", ["black", "mean"])
def test_of_a_quadratic_network_it_is_exact(base: str, sign: int, network_scene) -> None:
    """Each pixel gets w(x² − x'²), summed over channels, or the opposite where the answer is below
    0: what takes it further from there speaks for it."""
    weights = np.random.default_rng(0).normal(0.3, 1, (np.prod(SHAPE), 1)).astype(np.float32)
    weights *= sign / 100
    scene = network_scene(QUADRATIC, classes=1, output="value", weights={"w": weights}, base=base)
    assert np.sign(scene.clean) == sign
    evidence = integrated_gradients.find(scene)
    exact = weights.reshape(SHAPE) * (scene.clip**2 - scene.base**2)
    np.testing.assert_allclose(evidence.saliency, sign * exact.sum(axis=0), rtol=1e-3, atol=1e-5)
    assert evidence.masks[0].evaluations == integrated_gradients.STEPS


@pytest.mark.parametrize(
    "name", ["cnn", "cnn-rnn", "transformer, frame by frame, class token", "probabilities"]
)
def test_it_sums_to_what_the_base_lacks(name: str, network_scene) -> None:
    """Completeness: all pixels together get Φ(X) − Φ(base), Φ as masks are scored."""
    text, output = name, "logits"
    if name == "probabilities":
        output = name
        text = """
            c = Conv(clip, kernel3, bias)  p = GlobalAveragePool(c)  f = Flatten(p)
            l = Gemm(f, dense, offset)     scores = Softmax(l)
        """
    scene = network_scene(text, output=output)
    whole = np.stack([np.ones(SHAPE[1], np.float32), np.zeros(SHAPE[1], np.float32)])
    clean, hidden = scene.scorer.score(whole)
    assert abs(clean - hidden) > 0.01
    evidence = integrated_gradients.find(scene)
    total = float(evidence.saliency.sum(dtype=np.float64))
    assert total == pytest.approx(clean - hidden, rel=0.02)
    assert not evidence.warning


def test_a_score_that_jumps_is_told(network_scene, monkeypatch) -> None:
    """Tokens of a black clip are all 0, and whatever little is added to them is normalised to full
    size at once: the steps miss it, and more of them find it."""
    name = "transformer, frame by frame, mean"
    evidence = integrated_gradients.find(network_scene(name))
    assert "50 gradients" in evidence.warning
    assert "--base" in evidence.warning
    monkeypatch.setattr(integrated_gradients, "STEPS", 1000)
    assert not integrated_gradients.find(network_scene(name)).warning


def test_the_path_has_the_papers_number_of_gradients(network_scene) -> None:
    """Fifty, within the 20 to 300 that the paper finds enough; one forward each."""
    scene = network_scene("cnn")
    integrated_gradients.find(scene)
    _, _, backwards = scene.cost
    assert backwards == 50
