"""The networks trained on the spot: what they are taught, and that they learn it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tiemcli.bench.paper import training
from tiemcli.bench.paper.case import KINDS, Kind, signature_cases
from tiemcli.bench.paper.classifiers import export, load, untrained
from tiemcli.bench.paper.clips import STROKES, make_clips
from tiemcli.kernels.blend import BLUR_SIGMA, gaussian_blur


def test_whole_clips_are_taught_with_certainty() -> None:
    """With nothing hidden the pixels are the clips' own, and the target is the stroke alone."""
    clips = make_clips(1, 8)
    pixels, targets, shown = training.hidden(clips, 0, np.random.default_rng(0))
    np.testing.assert_array_equal(pixels, np.stack([clip.pixels for clip in clips]))
    np.testing.assert_array_equal(targets, np.eye(4)[[0, 1, 2, 3] * 2])
    np.testing.assert_array_equal(shown, 1)


def test_hidden_evidence_softens_the_target() -> None:
    """A target is between the stroke alone and every stroke alike, as the limb is shown in the
    signature frames; both ends occur, and the clips themselves are left as they were."""
    clips = make_clips(1, 200)
    before = clips[0].pixels.copy()
    _, targets, shown = training.hidden(clips, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(clips[0].pixels, before)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
    for clip, target, seen in zip(clips, targets, shown, strict=True):
        visible = seen[clip.signature].mean()
        assert target[clip.stroke] == pytest.approx(visible + (1 - visible) / 4, abs=1e-5)
    own = targets.max(axis=1)
    assert own.min() == pytest.approx(0.25)
    assert own.max() == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_written_network_answers_as_the_trained_one(kind: Kind, tmp_path: Path) -> None:
    """In one batch with others, through ONNX Runtime, each clip gets torch's answer."""
    classifier = untrained(kind, 3).eval()
    export(classifier, tmp_path / "network.onnx")
    network = load(tmp_path / "network.onnx")
    assert network.looped is None
    assert network.model.labels == STROKES
    for clip in make_clips(2, 3):
        with torch.no_grad():
            answer = classifier(torch.from_numpy(clip.pixels[None])).softmax(1)[0]
        np.testing.assert_allclose(network.outputs(clip.pixels), answer.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_repeatable(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed gives the same weights, another one others."""
    monkeypatch.setitem(training.STEPS, kind, 2)
    monkeypatch.setattr(training, "CLIPS", 8)
    first, same, other = (training.train(kind, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["3-D CNN", pytest.param("CNN-LSTM", marks=pytest.mark.long)])
def test_a_trained_network_knows_the_strokes_and_nothing_else(kind: Kind) -> None:
    """Of whole clips that it has not seen it is sure; with the signature frames black it is right no
    more often than by chance, and of a black or a blurred clip it is unsure."""
    cases = list(signature_cases(kind, 20, seed=5))
    network = cases[0].network
    assert all(network.outputs(case.clip)[case.target] > 0.5 for case in cases)

    clips = make_clips(10**6, 160)
    answers = np.stack([network.outputs(clip.pixels) for clip in clips])
    strokes = np.array([clip.stroke for clip in clips])
    assert np.mean(answers.argmax(axis=1) == strokes) >= 0.95
    assert np.mean(answers[range(160), strokes]) > 0.8

    kept = [clip.pixels * ~clip.signature[:, None, None] for clip in clips]
    blind = np.stack([network.outputs(clip.astype(np.float32)) for clip in kept])
    assert np.mean(blind.argmax(axis=1) == strokes) < 0.4

    assert network.outputs(np.zeros_like(clips[0].pixels)).max() < 0.4
    for clip in clips[:20]:
        blurred = gaussian_blur(clip.pixels, BLUR_SIGMA * clip.pixels.shape[-1])
        assert network.outputs(blurred).max() < 0.5
