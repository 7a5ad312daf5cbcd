"""Classifiers of transformers become ONNX files that answer as they do and are fed as they were."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="transformers' processors need torchvision")

from tiemcli.errors import ModelError, TiemError, UsageError
from tiemcli.exporters.hugging_face import load
from tiemcli.exporters.original import Form, Wanted
from tiemcli.facts import Facts
from tiemcli.preprocess import Preprocessing

LABELS = ("run", "jump", "wave", "spin", "sit")
VIDEO = ("videomae", "timesformer", "vivit", "vjepa2")
IMAGE = ("vit", "resnet", "convnext")
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CROPPED = {
    "do_center_crop": True,
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "videomae": {"image_processor_type": "VideoMAEImageProcessor", **CROPPED, **IMAGENET},
    "timesformer": {
        "feature_extractor_type": "VideoMAEFeatureExtractor",
        **CROPPED,
        "image_mean": [0.45, 0.45, 0.45],
        "image_std": [0.225, 0.225, 0.225],
    },
    "vivit": {
        "image_processor_type": "VivitImageProcessor",
        "offset": True,
        "rescale_factor": 1 / 127.5,
        **CROPPED,
        **HALF,
    },
    "vjepa2": {"video_processor_type": "VJEPA2VideoProcessor", **CROPPED, **IMAGENET},
    "vit": {"feature_extractor_type": "ViTFeatureExtractor", "size": 32, **HALF},
    "resnet": {"image_processor_type": "ConvNextImageProcessor", "size": 32, **IMAGENET},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": 32, **IMAGENET},
}


def config_of(name: str, **changes: Any) -> Any:
    """A config of two layers on frames of 32x32."""
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {w: i for i, w in enumerate(LABELS)}}
    attention = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    parts: dict[str, Any] = {
        "videomae": {"image_size": 32, "patch_size": 8, "num_frames": 4, **attention},
        "timesformer": {"image_size": 32, "patch_size": 8, "num_frames": 4, **attention},
        "vivit": {"image_size": 32, "num_frames": 4, "tubelet_size": [2, 8, 8], **attention},
        "vjepa2": {
            "crop_size": 32,
            "patch_size": 8,
            "frames_per_clip": 4,
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "mlp_ratio": 2,
            "num_pooler_layers": 1,
            "pred_hidden_size": 48,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
        "vit": {"image_size": 32, "patch_size": 8, **attention},
        "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        "convnext": {"num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 1]},
    }
    return transformers.AutoConfig.for_model(name, **parts[name] | labels | changes)


def model_of(config: Any) -> Any:
    """A model whose weights are large enough to answer differently."""
    video = config.model_type in VIDEO
    auto = (
        transformers.AutoModelForVideoClassification
        if video
        else transformers.AutoModelForImageClassification
    )
    torch.manual_seed(3)
    model = auto.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.3)
    return model


def saved(folder: Path, name: str) -> Any:
    """Config, processor and weights of a small network in a folder; returns the network."""
    model = model_of(config_of(name))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[name]))
    return model


def config_alone(folder: Path, name: str, **changes: Any) -> Path:
    config_of(name, **changes).save_pretrained(folder)
    return folder


def clips(batch: int, frames: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(batch, frames, 3, 32, 32)).astype(np.float32)


def answers(model: Any, inputs: np.ndarray) -> np.ndarray:
    """The logits (N, K) of clips (N, T, C, H, W); an image model's are the mean over frames."""
    with torch.no_grad():
        if model.config.model_type in VIDEO:
            logits = model(torch.from_numpy(inputs)).logits
        else:
            logits = torch.stack([model(torch.from_numpy(clip)).logits.mean(0) for clip in inputs])
    return logits.numpy()


def run(path: Path, inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.mark.parametrize("converter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("name", [*VIDEO, *IMAGE])
def test_the_file_answers_as_transformers_does(name: str, converter: Any, tmp_path: Path) -> None:
    """With the weights of the folder, for one clip and for three, by either converter."""
    model = saved(tmp_path, name)
    original = load(str(tmp_path), Wanted())
    inputs = clips(3, original.shape[1])
    expected = answers(model, inputs)
    assert np.ptp(expected, axis=0).max() > 1e-2, "these answers would agree whatever is fed"
    np.testing.assert_allclose(original.answer(inputs), expected, atol=1e-4)
    path = tmp_path / "net.onnx"
    original.write(
        path, Form(converter=converter, opset=17 if converter == "torchscript" else None)
    )
    for batch in (1, 3):
        np.testing.assert_allclose(run(path, inputs[:batch]), expected[:batch], atol=1e-4)


@pytest.mark.parametrize("name", [*VIDEO, *IMAGE])
def test_frames_are_fed_as_the_processor_feeds_them(name: str, tmp_path: Path) -> None:
    """A frame of the network's own size becomes the very numbers that the processor makes of it."""
    saved(tmp_path, name)
    facts = load(str(tmp_path), Wanted()).facts
    assert facts.size == (32, 32)
    ours = Preprocessing(
        height=32,
        width=32,
        color=facts.color or "gray",
        resize=facts.resize or "stretch",
        scale=facts.scale or 0,
        mean=facts.mean or (),
        std=facts.std or (),
    )
    frame = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    # Without resizing: some enlarge a frame first, to crop it.
    if name in VIDEO:
        processor = transformers.AutoVideoProcessor.from_pretrained(tmp_path)
        found = processor(videos=[np.stack([frame] * 2)], do_resize=False, return_tensors="np")
        theirs = np.asarray(next(iter(found.values())))[0, 0]
    else:
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
        found = processor(images=frame, do_resize=False, return_tensors="np")
        theirs = np.asarray(found["pixel_values"])[0]
    np.testing.assert_allclose(ours.clip(frame[None])[:, 0], theirs, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "frames", "resize"),
    [
        ("videomae", 4, "crop"),
        ("timesformer", 4, "crop"),
        ("vivit", 4, "crop"),
        ("vjepa2", 4, "crop"),
        ("vit", 8, "stretch"),
        ("resnet", 8, "crop"),
    ],
)
def test_the_rest_of_the_facts_comes_from_the_config(
    name: str, frames: int, resize: str, tmp_path: Path
) -> None:
    """Frames and labels are the config's; whether a frame is cropped, the processor's."""
    saved(tmp_path, name)
    original = load(str(tmp_path), Wanted())
    facts = original.facts
    assert (facts.layout, facts.output, facts.labels) == ("NTCHW", "logits", LABELS)
    assert (facts.frames, facts.resize) == (frames, resize)
    assert original.shape == (1, frames, 3, 32, 32)


def test_an_offset_of_the_processor_is_part_of_the_mean(tmp_path: Path) -> None:
    """ViViT's pixels go from 0..255 to -3..1: (p/127.5 - 1 - .5) / .5."""
    saved(tmp_path, "vivit")
    facts = load(str(tmp_path), Wanted()).facts
    assert (facts.scale, facts.mean, facts.std) == (1 / 255, (0.75,) * 3, (0.25,) * 3)


def test_channels_that_the_processor_turns_round_are_bgr(tmp_path: Path) -> None:
    """MobileViT's processor feeds blue first and normalises nothing."""
    config_alone(tmp_path, "resnet")
    text = '{"image_processor_type": "MobileViTImageProcessor", "crop_size": 32, "size": 32}'
    (tmp_path / "preprocessor_config.json").write_text(text)
    facts = load(str(tmp_path), Wanted(weights="none")).facts
    assert (facts.color, facts.mean, facts.std) == ("bgr", (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("videomae", (0.5, 0.5, 0.5)),
        ("timesformer", (0.485, 0.456, 0.406)),
        ("vjepa2", (0.485, 0.456, 0.406)),
        ("vit", (0.5, 0.5, 0.5)),
    ],
)
def test_without_a_processor_it_is_the_architectures_own(
    name: str, mean: tuple[float, ...], tmp_path: Path
) -> None:
    """The mean is the one that transformers documents, the size the config's."""
    facts = load(str(config_alone(tmp_path, name)), Wanted(weights="none")).facts
    assert (facts.mean, facts.size) == (mean, (32, 32))


def test_what_the_user_says_wins(tmp_path: Path) -> None:
    """Frames and size reach the config of random weights, and the mean the facts."""
    config_alone(tmp_path, "videomae")
    said = Facts(frames=6, size=(48, 48), mean=(0.1,))
    original = load(str(tmp_path), Wanted(weights="none", facts=said))
    assert original.shape == (1, 6, 3, 48, 48)
    assert original.facts.mean == (0.1,)
    assert original.answer(np.zeros(original.shape, np.float32)).shape == (1, 5)


def test_labels_that_transformers_numbered_are_none(tmp_path: Path) -> None:
    """LABEL_0, LABEL_1 … are no names; names for other or for some of the classes are dropped."""
    numbered = config_of("vit")
    numbered.num_labels = 3
    numbered.save_pretrained(tmp_path / "numbered")
    assert load(str(tmp_path / "numbered"), Wanted(weights="none")).facts.labels is None
    named = str(config_alone(tmp_path / "named", "vit"))
    assert load(named, Wanted(weights="none")).facts.labels == LABELS
    holes = config_of("vit")
    holes.id2label = {0: "run", 5: "jump"}
    holes.save_pretrained(tmp_path / "holes")
    assert load(str(tmp_path / "holes"), Wanted(weights="none")).facts.labels is None
    nine = load(named, Wanted(weights="none", classes=9))
    assert nine.facts.labels is None
    assert nine.answer(clips(1, 8)).shape == (1, 9)


def test_more_classes_than_the_weights_have_get_a_new_head(tmp_path: Path) -> None:
    """The body keeps its weights; the head is random by the seed."""
    saved(tmp_path, "videomae")
    first, again, other = (
        load(str(tmp_path), Wanted(classes=7, seed=seed)).answer(clips(1, 4)) for seed in (0, 0, 1)
    )
    assert first.shape == (1, 7)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("name", [*VIDEO, *IMAGE])
def test_random_weights_answer_to_their_input(name: str, tmp_path: Path) -> None:
    """The same seed gives the same network, whose logits differ between clips by .01 and more."""
    folder = str(config_alone(tmp_path, name))
    wanted = Wanted(weights="none", facts=Facts(size=(32, 32)))
    networks = [load(folder, wanted) for _ in range(2)]
    inputs = clips(4, networks[0].shape[1])
    first, second = (network.answer(inputs) for network in networks)
    np.testing.assert_array_equal(first, second)
    assert first.std(axis=0).mean() > 0.01


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_weights_come_from_a_file(kind: str, tmp_path: Path) -> None:
    """A state dict of another number of classes than the config's brings its own."""
    config_alone(tmp_path, "vit")
    config = config_of("vit")
    config.num_labels = 11
    model = model_of(config)
    path = tmp_path / f"mine.{kind}"
    if kind == "bin":
        torch.save(model.state_dict(), path)
    else:
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    original = load(str(tmp_path), Wanted(weights=str(path)))
    inputs = clips(2, 8)
    np.testing.assert_allclose(original.answer(inputs), answers(model, inputs), atol=1e-4)
    assert original.facts.labels is None


def test_an_image_network_may_answer_by_its_strongest_frame(tmp_path: Path) -> None:
    """--per-frame max takes each class's largest logit over the clip's frames."""
    model = saved(tmp_path, "vit")
    wanted = Wanted(per_frame="max", facts=Facts(frames=3))
    clip = clips(1, 3)
    with torch.no_grad():
        expected = model(torch.from_numpy(clip[0])).logits.amax(0)[None]
    answer = load(str(tmp_path), wanted).answer(clip)
    np.testing.assert_allclose(answer, expected.numpy(), atol=1e-5)


def complaint(name: str | Path, wanted: Wanted, kind: type[TiemError] = ModelError) -> str:
    with pytest.raises(kind) as raised:
        load(str(name), wanted)
    assert "\n" not in str(raised.value)
    assert raised.value.hint
    return raised.value.message


def test_what_is_no_classifier_is_refused_in_one_line(tmp_path: Path) -> None:
    """No folder, no config, one of another task, one that is broken, no weights."""
    none = Wanted(weights="none")
    assert "no such folder" in complaint(tmp_path / "nowhere", Wanted())
    assert "no config.json" in complaint(tmp_path, Wanted())
    transformers.BertConfig().save_pretrained(tmp_path / "bert")
    assert "bert is no classifier of videos or images" in complaint(tmp_path / "bert", none)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "vit", "image_size": "big"}')
    assert "image_size" in complaint(tmp_path / "broken", none)
    nothing = config_of("vit")
    nothing.id2label = {}
    nothing.save_pretrained(tmp_path / "nothing")
    assert "has no classes" in complaint(tmp_path / "nothing", none)
    backwards = config_alone(tmp_path / "backwards", "videomae", num_frames=-4)
    assert "says frames or a size that cannot be" in complaint(backwards, none)
    folder = config_alone(tmp_path / "vit", "vit")
    assert "weights cannot be loaded" in complaint(folder, Wanted())
    (folder / "preprocessor_config.json").write_text("{")
    assert "not a valid JSON file" in complaint(folder, none)


def test_a_name_that_the_hub_does_not_give_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the message says that there is no such folder either."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "no such folder, and the hub: " in complaint("nobody/nothing", Wanted())


def test_options_that_the_network_cannot_follow_are_refused(tmp_path: Path) -> None:
    """A video network takes no --per-frame and one layout only."""
    folder = config_alone(tmp_path, "videomae")
    wanted = Wanted(weights="none", per_frame="mean")
    assert "videomae takes clips" in complaint(folder, wanted, UsageError)
    wanted = Wanted(weights="none", facts=Facts(layout="NCTHW"))
    assert "--layout NCTHW" in complaint(folder, wanted, UsageError)


def test_weights_without_a_head_are_refused(tmp_path: Path) -> None:
    """A network that was only pre-trained is not explained with a random head."""
    config = config_of(
        "videomae",
        decoder_hidden_size=32,
        decoder_num_attention_heads=2,
        decoder_num_hidden_layers=1,
        decoder_intermediate_size=32,
    )
    transformers.VideoMAEForPreTraining(config).save_pretrained(tmp_path)
    assert "was not trained to classify" in complaint(tmp_path, Wanted())


def test_code_in_the_folder_never_runs(tmp_path: Path) -> None:
    """A config that names a module of its own is refused, and the module is not imported."""
    trace = tmp_path / "ran"
    (tmp_path / "stranger.py").write_text(f"open({os.fspath(trace)!r}, 'w')\nclass Config: ...\n")
    config = {"model_type": "stranger", "auto_map": {"AutoConfig": "stranger.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "custom code" in complaint(tmp_path, Wanted(weights="none"))
    assert not trace.exists()
