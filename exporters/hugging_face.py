"""`hf:FOLDER` or `hf:NAME`: transformers' video classifiers, and its image classifiers by frame."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForVideoClassification,
)

from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters import head
from tiemcli.exporters.hugging_face_processor import processor_facts
from tiemcli.exporters.original import Wanted, input_shape, settled
from tiemcli.exporters.per_frame import FRAMES, LAYOUT, per_frame
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import TorchOriginal, reason_of
from tiemcli.exporters.weights import classes_in, enliven, load_state, read_state, seeded
from tiemcli.facts import Facts

# Every model is made with the first, which both converters trace, and no code of a repository runs.
_MAKING = {"attn_implementation": "eager", "dtype": torch.float32, "trust_remote_code": False}


class Logits(nn.Module):
    """A model of transformers that takes the pixels alone and answers its logits alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.pixels = model, model.main_input_name

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, K) from (N, T, C, H, W) of a video model, (N, C, H, W) of an image model."""
        logits: Tensor = self.model(**{self.pixels: pixels}).logits
        return logits


def load(name: str, wanted: Wanted) -> TorchOriginal:
    """The classifier in a folder that `save_pretrained` wrote, or of that name on the hub.

    wanted.weights: "none" needs no more than its config.json. Raises ModelError for what is no
    classifier or cannot be had, UsageError for an option that it cannot follow.
    """
    config = _config(name)
    video = type(config) in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING
    if not video and type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"{name}: {config.model_type} is no classifier of videos or images", "name another"
        )
    if not config.num_labels:
        raise ModelError(f"{name}: its config has no classes", "name one that was fine-tuned")
    if video and wanted.per_frame is not None:
        raise UsageError(
            f"--per-frame {wanted.per_frame}: {config.model_type} takes clips",
            "leave out --per-frame",
        )
    facts = settled(wanted.facts, _own_facts(name, config, video), LAYOUT)
    labels = _labels(config)
    _fit(name, config, wanted.facts)
    network, classes = seeded(lambda: _network(name, config, wanted), wanted.seed)
    if classes == len(labels) and wanted.classes in (None, classes):
        facts = facts.over(Facts(labels=labels))
    if not video:
        how, frames = wanted.per_frame or "mean", facts.frames or FRAMES
        image = network
        network = seeded(lambda: per_frame(image, how, frames, classes), wanted.seed)
    shape = input_shape(facts)
    if wanted.weights == "none":
        enliven(network, shape, wanted.seed)
    return TorchOriginal(network, facts, shape)


def _config(name: str) -> Any:
    if os.path.isdir(name):
        found, hint = name, "give a folder that save_pretrained wrote"
        if not os.path.isfile(os.path.join(name, "config.json")):
            raise ModelError(f"{name}: no config.json in this folder", hint)
    elif os.path.exists(name) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"{name}: no such folder",
            "give a folder that save_pretrained wrote, or a name on the Hugging Face hub",
        )
    else:
        found, hint = f"{name}: no such folder, and the hub", "check the name, or give a folder"
    try:
        with silence():
            return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # a stranger's config fails in any way
        raise ModelError(f"{found}: {reason_of(error)}", hint) from error


def _own_facts(name: str, config: Any, video: bool) -> Facts:
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    try:
        said = Facts(frames=frames if video else FRAMES, output="logits")
        return said.over(processor_facts(name, config, video))
    except ValueError as error:  # of Facts
        raise ModelError(
            f"{name}: its config says frames or a size that cannot be", "mend config.json"
        ) from error


def _labels(config: Any) -> tuple[str, ...]:
    """The classes' names, none where transformers itself numbered them or where some are missing."""
    known = config.id2label or {}
    names = tuple(str(known.get(index)) for index in range(len(known)))
    numbered = tuple(f"LABEL_{index}" for index in range(len(known)))
    return () if names == numbered or set(known) != set(range(len(known))) else names


def _network(name: str, config: Any, wanted: Wanted) -> tuple[nn.Module, int]:
    """The network with its weights, and how many classes it has."""
    classes = wanted.classes or config.num_labels
    if wanted.weights == "DEFAULT":
        network = Logits(_published(name, config))
        if classes != config.num_labels:
            head.replace(network, config.num_labels, classes)
        return network, classes
    network = _built(name, config, classes)
    if wanted.weights == "none":
        _widen(network)
        return network, classes
    path = Path(wanted.weights)
    state = read_state(path)
    if wanted.classes is None:
        classes = classes_in(state, network.model, classes)
        network = _built(name, config, classes)
    load_state(network.model, state, path)
    return network, classes


def _widen(network: nn.Module) -> None:
    """Draw random weights anew: transformers' own, of deviation .02, hardly answer to their input.

    A unit's weights are of deviation 1/√fan-in; batch normalisation scales by 1.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    for weight in network.parameters():
        if weight.ndim >= 2:
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)


def _published(name: str, config: Any) -> nn.Module:
    try:
        model, found = _auto(config).from_pretrained(
            name, config=config, weights_only=True, output_loading_info=True, **_MAKING
        )
    except Exception as error:  # missing, damaged or of another shape: any kind
        raise ModelError(
            f"{name}: its weights cannot be loaded: {reason_of(error)}",
            "give --weights FILE, or none for random ones",
        ) from error
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"{name}: its weights lack {missing[0]}: it was not trained to classify",
            "name one that was fine-tuned, or give --weights FILE or none",
        )
    network: nn.Module = model
    return network


def _built(name: str, config: Any, classes: int) -> Logits:
    config.num_labels = classes
    try:
        return Logits(_auto(config).from_config(config, **_MAKING))
    except Exception as error:  # as many kinds as there are architectures
        raise ModelError(
            f"{name}: cannot be made: {reason_of(error)}", "check --frames, --size and config.json"
        ) from error


def _auto(config: Any) -> Any:
    video = type(config) in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING
    return AutoModelForVideoClassification if video else AutoModelForImageClassification


def _fit(name: str, config: Any, wanted: Facts) -> None:
    """Tell a config the frames and the size that the user wants; other networks take any."""
    wishes: dict[str, Any] = {"num_frames": wanted.frames, "frames_per_clip": wanted.frames}
    if wanted.size is not None:
        height, width = wanted.size
        size = height if height == width else [height, width]
        wishes |= {"image_size": size, "crop_size": size}
    for key, value in wishes.items():
        if value is not None and hasattr(config, key):
            try:
                setattr(config, key, value)
            except Exception as error:  # transformers validates by exceptions of its own
                raise UsageError(
                    f"{name} takes no {key} of {value}", "leave out --frames and --size"
                ) from error
