"""torchvision's networks are fed as its published weights were, and take the user's own weights."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

from torch import Tensor, nn
from torchvision import models

from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters import head, torchvision_models
from tiemcli.exporters.original import Form, PerFrame, Wanted
from tiemcli.exporters.per_frame import per_frame
from tiemcli.exporters.torch_original import TorchOriginal
from tiemcli.exporters.torchvision_models import load
from tiemcli.facts import Facts

SMALL = Facts(frames=4, size=(32, 32))
VIDEO = "r3d_18"
IMAGE = "mobilenet_v3_small"


def wanted(weights: str = "none", **more: object) -> Wanted:
    return Wanted(**{"weights": weights, "facts": SMALL, **more})  # type: ignore[arg-type]


def noise(original: TorchOriginal, batch: int = 2) -> np.ndarray:
    shape = (batch * original.shape[0], *original.shape[1:])
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def video() -> TorchOriginal:
    return load(VIDEO, wanted(classes=7))


def test_random_weights_answer_to_their_input(video: TorchOriginal) -> None:
    """Two clips are told apart, and no activation has died or exploded."""
    first, second = video.answer(noise(video))
    assert first.shape == (7,)
    assert 1e-2 < np.abs(first - second).max() < 1e2


def test_random_weights_are_the_seeds(video: TorchOriginal) -> None:
    """The same for the same seed, others for another, torch's own generator left alone."""
    state = torch.random.get_rng_state()
    again, other = load(VIDEO, wanted(classes=7)), load(VIDEO, wanted(classes=7, seed=1))
    assert torch.equal(state, torch.random.get_rng_state())
    clips = noise(video)
    np.testing.assert_array_equal(again.answer(clips), video.answer(clips))
    assert np.abs(other.answer(clips) - video.answer(clips)).max() > 1e-2


def test_the_file_answers_as_the_network(video: TorchOriginal, tmp_path: Path) -> None:
    """In ONNX Runtime, for any batch."""
    path = tmp_path / "net.onnx"
    assert video.write(path, Form()) == "dynamo"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        clips = noise(video, batch)
        (found,) = session.run(None, {session.get_inputs()[0].name: clips})
        np.testing.assert_allclose(found, video.answer(clips), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "r2plus1d_18",
            Facts(
                frames=16,
                stride=2,
                size=(112, 112),
                mean=(0.43216, 0.394666, 0.37645),
                std=(0.22803, 0.22145, 0.216989),
                resize="crop",
            ),
        ),
        ("s3d", Facts(frames=128, stride=2, size=(224, 224), resize="stretch")),
        ("mvit_v2_s", Facts(frames=16, stride=4, size=(224, 224), mean=(0.45,) * 3)),
        ("efficientnet_v2_l", Facts(frames=8, size=(480, 480), std=(0.5, 0.5, 0.5))),
    ],
)
def test_the_facts_are_those_of_the_published_weights(name: str, facts: Facts) -> None:
    """Even where no weights are at hand: the figures are torchvision's documentation's."""
    published = models.get_model_weights(name).DEFAULT
    found = torchvision_models._published_facts(name, published)
    for key, value in facts.model_dump(exclude_none=True).items():
        assert getattr(found, key) == value, key
    assert (found.color, found.scale, found.output) == ("rgb", 1 / 255, "logits")


def test_every_video_network_is_known() -> None:
    """Of this torchvision: a new one must be given its frames and stride."""
    assert set(models.list_models(models.video)) == set(torchvision_models.VIDEO)


def test_a_file_of_weights_is_taken_whole(video: TorchOriginal, tmp_path: Path) -> None:
    """Its classes counted by its head, where nobody says how many there are."""
    torch.save(video.module.state_dict(), tmp_path / "w.pt")
    loaded = load(VIDEO, wanted(str(tmp_path / "w.pt"), seed=5))
    clips = noise(video)
    np.testing.assert_array_equal(loaded.answer(clips), video.answer(clips))
    assert loaded.facts.labels is None


def test_weights_of_the_published_classes_have_their_names(tmp_path: Path) -> None:
    """ImageNet's thousand here, which is noted: another thousand may be meant; random ones none."""
    torch.save(models.get_model(IMAGE).state_dict(), tmp_path / "w.pth")
    loaded = load(IMAGE, wanted(str(tmp_path / "w.pth")))
    labels = models.get_model_weights(IMAGE).DEFAULT.meta["categories"]
    assert loaded.facts.labels == tuple(labels)
    assert loaded.notes == ("assumed: the 1000 labels of the published weights",)
    other = [f"class {index}" for index in range(1000)]
    said = load(IMAGE, wanted(str(tmp_path / "w.pth"), facts=SMALL.over(Facts(labels=other))))
    assert (said.facts.labels, said.notes) == (tuple(other), ())
    assert load(IMAGE, wanted()).facts.labels is None


def test_weights_of_another_network_are_refused(video: TorchOriginal, tmp_path: Path) -> None:
    """The first names that differ are told, and the shape that does not fit."""
    state = video.module.state_dict()
    state["elsewhere.weight"] = state.pop("stem.0.weight")
    state["layer1.0.conv1.0.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError) as raised:
        load(VIDEO, wanted(str(tmp_path / "w.pt")))
    message = raised.value.message
    assert "lacks stem.0.weight" in message
    assert "has besides elsewhere.weight" in message
    assert "layer1.0.conv1.0.weight is [2, 2], not [64, 64, 3, 3, 3]" in message


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the hint says what else to give."""

    def offline(*arguments: object, **options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ModelError, match="cannot be fetched") as raised:
        load(VIDEO, Wanted())
    assert raised.value.hint == "give --weights FILE or none"


def test_a_name_that_is_none_is_told_near_ones() -> None:
    """Segmenters and detectors are no classifiers."""
    for name, near in (("r3d_81", "r3d_18"), ("resnet5", "resnet50"), ("fcn_resnet50", "resnet")):
        with pytest.raises(UsageError) as raised:
            load(name, wanted())
        assert near in raised.value.hint


def test_what_does_not_fit_is_a_usage_error() -> None:
    """A layout that is not the network's, a clip's network frame by frame, a size built in."""
    with pytest.raises(UsageError, match="is fed NCTHW"):
        load(VIDEO, Wanted(weights="none", facts=Facts(layout="NTCHW")))
    with pytest.raises(UsageError, match="takes clips"):
        load(VIDEO, wanted(per_frame="mean"))
    with pytest.raises(UsageError, match="built for 16 frames of 224x224"):
        load("mvit_v2_s", wanted())


def test_clips_too_small_for_the_network_are_one_line() -> None:
    """Torch's reason with the shape that it was fed."""
    with pytest.raises(ModelError, match=r"\[1, 3, 4, 32, 32\].*too small"):
        load("s3d", wanted())


@pytest.mark.parametrize("how", ["mean", "max"])
def test_frame_by_frame_is_the_mean_or_the_maximum(how: PerFrame) -> None:
    """Over time, of what the image network says of each frame alone."""
    original = load(IMAGE, wanted(per_frame=how, classes=5))
    assert original.shape == (1, 4, 3, 32, 32)
    assert original.facts.layout == "NTCHW"
    clips = noise(original)
    image: nn.Module = original.module.network  # type: ignore[assignment]
    with torch.no_grad():
        rows = [[image(torch.from_numpy(frame[None]))[0] for frame in clip] for clip in clips]
    logits = np.stack([[row.numpy() for row in clip] for clip in rows])
    expected = logits.mean(1) if how == "mean" else logits.max(1)
    np.testing.assert_allclose(original.answer(clips), expected, atol=1e-4 * np.ptp(expected))


@pytest.mark.parametrize("how", ["gru", "lstm"])
def test_a_recurrent_head_reads_the_frames_in_order(how: PerFrame, tmp_path: Path) -> None:
    """Played backwards the clip is another; the file says so too, for any batch."""
    original = load(IMAGE, wanted(per_frame=how, classes=5))
    path = tmp_path / "net.onnx"
    original.write(path, Form("torchscript"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    clips = noise(original, 3)
    forwards, backwards = original.answer(clips), original.answer(clips[:, ::-1])
    assert forwards.shape == (3, 5)
    assert np.abs(forwards - backwards).max() > 1e-4
    (found,) = session.run(None, {session.get_inputs()[0].name: clips})
    np.testing.assert_allclose(found, forwards, atol=1e-4)


class Tiny(nn.Module):
    """Images to two classes, by a head of the given kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6, 2) if kind == "linear" else nn.Conv2d(6, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.body(images))
        if self.kind == "linear":
            answer: Tensor = self.head(features.mean((2, 3)))
        else:
            answer = self.head(features).mean((2, 3))
        return answer


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_head_is_replaced_by_one_of_as_many_classes(kind: str) -> None:
    """Its input stays what it was."""
    network = Tiny(kind)
    head.replace(network, 2, 9)
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 9)
    with pytest.raises(ModelError, match="has its 2 outputs"):
        head.replace(network, 2, 9)


def test_a_recurrent_head_needs_features() -> None:
    """Which a network without a linear layer at its end does not have."""
    with pytest.raises(ModelError, match="convolution"):
        per_frame(Tiny("convolution"), "gru", 4, 2)
