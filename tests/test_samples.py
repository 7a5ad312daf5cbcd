"""The shipped clip and network are what truth.json says, and worth explaining."""

import json
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from tiemcli.samples.clip import sample_scene
from tiemcli.samples.scene import film

Array = NDArray[np.float64]

SAMPLES = Path(__file__).parents[1] / "samples"
TRUTH = json.loads((SAMPLES / "truth.json").read_text())
FRAMES = 16


@pytest.fixture(scope="module")
def decoded() -> tuple[NDArray[np.uint8], Array]:
    """Return the clip's frames (N, H, W, 3) uint8 RGB and their timestamps in seconds."""
    with av.open(SAMPLES / TRUTH["clip"]) as container:
        frames = list(container.decode(video=0))
    return (
        np.stack([frame.to_ndarray(format="rgb24") for frame in frames]),
        np.array([frame.time for frame in frames]),
    )


@pytest.fixture(scope="module")
def sampled(decoded: tuple[NDArray[np.uint8], Array]) -> tuple[Array, Array]:
    """Return 16 frames (T, 64, 64, 3) in [0, 1], each from the middle of its share; and when."""
    frames, times = decoded
    chosen = [int((i + 0.5) * len(frames) / FRAMES) for i in range(FRAMES)]
    small = [cv2.resize(frames[i], (64, 64), interpolation=cv2.INTER_AREA) for i in chosen]
    return np.stack(small) / 255.0, times[chosen]


@pytest.fixture(scope="module")
def signature(sampled: tuple[Array, Array]) -> NDArray[np.bool_]:
    """Return which of the 16 frames show the act."""
    start, end = TRUTH["signature"]
    return (sampled[1] > start) & (sampled[1] < end)


class Judge:
    """The network's probability of the true label, for clips in [0, 1]."""

    def __init__(self) -> None:
        path = SAMPLES / TRUTH["network"]
        self.facts = {e.key: e.value for e in onnx.load(path).metadata_props}
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def probabilities(self, clip: Array) -> Array:
        """Return the probability of every class, (K,), of one clip (T, 64, 64, 3)."""
        mean, std = float(self.facts["tiem.mean"]), float(self.facts["tiem.std"])
        tensor = ((clip - mean) / std).transpose(3, 0, 1, 2)[None].astype(np.float32)
        (logits,) = self.session.run(None, {"clip": tensor})
        odds = np.exp(logits[0].astype(np.float64) - logits[0].max())
        return odds / odds.sum()

    def score(self, clip: Array) -> float:
        labels = json.loads(self.facts["tiem.labels"])
        return float(self.probabilities(clip)[labels.index(TRUTH["label"])])


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def without(clip: Array, frames: NDArray[np.bool_]) -> Array:
    return np.where(frames[:, None, None, None], 0.0, clip)


def blurred(clip: Array) -> Array:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 6.4) for frame in clip])


def test_the_files_are_small() -> None:
    """The clip is under 500 kB and the network under 1 MB."""
    assert (SAMPLES / TRUTH["clip"]).stat().st_size < 500_000
    assert (SAMPLES / TRUTH["network"]).stat().st_size < 1_000_000


def test_the_clip_plays_anywhere() -> None:
    """The clip is four seconds of H.264 in yuv420p at 24 frames a second."""
    with av.open(SAMPLES / TRUTH["clip"]) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.average_rate, stream.frames) == (24, 96)


def test_the_truth_is_that_of_the_script(decoded: tuple[NDArray[np.uint8], Array]) -> None:
    """The scene that the script renders has the truth's label and moments, and is in the clip."""
    scene = sample_scene()
    assert scene.act == TRUTH["label"]
    assert [scene.start, scene.end] == TRUTH["signature"]
    frames, times = decoded
    chosen = [0, 50, 69, 95]
    rendered = film(scene, times[chosen], (96, 72), 2)[..., :3].astype(float)
    for index, picture in zip(chosen, rendered, strict=True):
        small = cv2.resize(frames[index], (96, 72), interpolation=cv2.INTER_AREA)
        assert np.abs(small - picture).mean() < 6


def test_a_third_of_the_clip_is_signature_and_not_in_its_middle(
    signature: NDArray[np.bool_],
) -> None:
    """Five of the sixteen frames, 31 %, show the act, centred past the clip's middle."""
    assert signature.sum() == 5
    assert np.flatnonzero(signature).mean() > 9


def test_the_network_describes_itself(judge: Judge) -> None:
    """The metadata hold what is needed to feed the network, and the input agrees with it."""
    assert judge.facts == {
        "tiem.layout": "NCTHW",
        "tiem.frames": "16",
        "tiem.size": "64x64",
        "tiem.mean": "0.45",
        "tiem.std": "0.25",
        "tiem.scale": "0.00392156862745098",
        "tiem.color": "rgb",
        "tiem.resize": "stretch",
        "tiem.output": "logits",
        "tiem.labels": '["jump", "wave", "spin", "duck", "flip"]',
    }
    (clip,) = judge.session.get_inputs()
    assert (clip.name, clip.shape) == ("clip", ["batch", 3, 16, 64, 64])
    assert TRUTH["held_out_accuracy"] > 0.95


def test_the_network_is_sure_of_the_clip(judge: Judge, sampled: tuple[Array, Array]) -> None:
    """The true label has a probability above .95."""
    assert judge.score(sampled[0]) > 0.95


def test_nothing_is_known_of_a_hidden_clip(judge: Judge, sampled: tuple[Array, Array]) -> None:
    """A black clip leaves every class within .05 of a fifth, a fully blurred one within .1."""
    assert np.abs(judge.probabilities(np.zeros_like(sampled[0])) - 0.2).max() < 0.05
    assert np.abs(judge.probabilities(blurred(sampled[0])) - 0.2).max() < 0.1


def test_only_the_signature_frames_matter(
    judge: Judge, sampled: tuple[Array, Array], signature: NDArray[np.bool_]
) -> None:
    """Without the signature frames p is under .5; without as many others it stays above .8."""
    clip, _ = sampled
    assert judge.score(without(clip, signature)) < 0.5
    others = np.flatnonzero(~signature)
    for first in range(len(others) - int(signature.sum()) + 1):
        hidden = np.zeros(FRAMES, bool)
        hidden[others[first : first + int(signature.sum())]] = True
        assert judge.score(without(clip, hidden)) > 0.8


def test_the_robot_is_all_the_network_needs(
    judge: Judge, sampled: tuple[Array, Array], signature: NDArray[np.bool_]
) -> None:
    """The robot of the signature frames alone, 8–20 % of each, over the blurred clip: p > .8."""
    clip, times = sampled
    robot = film(sample_scene(), times, (64, 64), 3)[..., 3:] / 255.0
    assert np.all(robot[signature].mean((1, 2, 3)) > 0.08)
    assert np.all(robot[signature].mean((1, 2, 3)) < 0.2)
    # A pixel around the outline, as any mask that can be fitted leaves.
    keep = np.stack([cv2.dilate(frame, np.ones((3, 3)))[..., None] for frame in robot])
    keep = keep * signature[:, None, None, None]
    assert judge.score(keep * clip + (1 - keep) * blurred(clip)) > 0.8


def test_the_time_importance_score_finds_the_signature_frames(
    judge: Judge, sampled: tuple[Array, Array], signature: NDArray[np.bool_]
) -> None:
    """The paper's score, black windows of every size, α .8, puts most of its mass on them."""
    clip, _ = sampled
    whole = judge.score(clip)
    drops: dict[int, list[float]] = {}
    for size in range(1, FRAMES + 1):
        drops[size] = []
        for start in range(FRAMES - size + 1):
            window = (np.arange(FRAMES) >= start) & (np.arange(FRAMES) < start + size)
            drops[size].append(whole - judge.score(without(clip, window)))

    largest = max(abs(d) for per_size in drops.values() for d in per_size)
    shares = {}
    for size, per_size in drops.items():
        positive = [max(d, 0.0) for d in per_size]
        if sum(positive) > 1e-3 * len(positive) * largest:
            shares[size] = [d / sum(positive) for d in positive]
    variation = {size: sum(abs(b - a) for a, b in pairwise(p)) for size, p in shares.items()}
    valid = [size for size in shares if variation[size] > 0.8 * max(variation.values())]

    importance = np.zeros(FRAMES)
    for t in range(FRAMES):
        covering = [
            p for size in valid for start, p in enumerate(shares[size]) if start <= t < start + size
        ]
        importance[t] = sum(covering) / len(covering)
    importance /= importance.sum()
    assert importance[signature].sum() > 0.75
