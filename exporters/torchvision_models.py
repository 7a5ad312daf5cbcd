"""`torchvision:NAME`: its video classifiers, and its image classifiers frame by frame."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn
from torchvision import models

from tiemcli.errors import ModelError, UsageError, first_line
from tiemcli.exporters import head
from tiemcli.exporters.original import Wanted, input_shape, settled
from tiemcli.exporters.per_frame import FRAMES, LAYOUT, per_frame
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import TorchOriginal
from tiemcli.exporters.weights import classes_in, enliven, load_state, read_state, seeded
from tiemcli.facts import Facts

# Frames of a clip and source frames between two, of video at 30 a second: clip_len and frame_rate
# of the evaluation that torchvision publishes with each network's weights.
VIDEO = {
    "mc3_18": (16, 2),
    "mvit_v1_b": (16, 4),
    "mvit_v2_s": (16, 4),
    "r2plus1d_18": (16, 2),
    "r3d_18": (16, 2),
    "s3d": (128, 2),
    "swin3d_b": (32, 2),
    "swin3d_s": (32, 2),
    "swin3d_t": (32, 2),
}
IMAGE = tuple(models.list_models(models))


@dataclass(frozen=True)
class _Plan:
    """One architecture with all that is asked of it. classes: those of its published weights."""

    name: str
    wanted: Wanted
    facts: Facts
    classes: int
    published: Any


def load(name: str, wanted: Wanted) -> TorchOriginal:
    """The network of that name. Raises UsageError for a name or option, ModelError for weights."""
    if name not in VIDEO and name not in IMAGE:
        near = get_close_matches(name, [*VIDEO, *IMAGE], cutoff=0.4)
        raise UsageError(
            f"torchvision has no classifier {name!r}",
            f"perhaps {', '.join(near)}" if near else f"such as {', '.join(VIDEO)}",
        )
    if name in VIDEO and wanted.per_frame is not None:
        raise UsageError(
            f"--per-frame {wanted.per_frame}: {name} takes clips", "leave out --per-frame"
        )
    published = models.get_model_weights(name).DEFAULT
    own = _published_facts(name, published)
    facts = settled(wanted.facts, own, "NCTHW" if name in VIDEO else LAYOUT)
    if name.startswith("mvit") and (facts.frames, facts.size) != (own.frames, own.size):
        raise UsageError(
            f"{name} is built for 16 frames of 224x224 alone", "leave out --frames and --size"
        )
    labels = tuple(published.meta["categories"])
    plan = _Plan(name, wanted, facts, len(labels), published)
    network, classes = seeded(lambda: _network(plan), wanted.seed)
    notes: tuple[str, ...] = ()
    if wanted.weights != "none" and classes == len(labels) and wanted.classes is None:
        if wanted.weights != "DEFAULT" and facts.labels is None:
            notes = (f"assumed: the {classes} labels of the published weights",)
        facts = facts.over(Facts(labels=labels))
    shape = input_shape(facts)
    if wanted.weights == "none":
        enliven(network, shape, wanted.seed)
    return TorchOriginal(network, facts, shape, notes=notes)


def _network(plan: _Plan) -> tuple[nn.Module, int]:
    """The network with its weights, and how many classes it has."""
    image, classes = _with_weights(plan)
    if plan.name in VIDEO:
        return image, classes
    frames = plan.facts.frames or FRAMES
    return per_frame(image, plan.wanted.per_frame or "mean", frames, classes), classes


def _with_weights(plan: _Plan) -> tuple[nn.Module, int]:
    wanted, classes = plan.wanted, plan.wanted.classes or plan.classes
    if wanted.weights == "DEFAULT":
        network = _built(plan, weights=plan.published)
        if classes != plan.classes:
            head.replace(network, plan.classes, classes)
        return network, classes
    network = _built(plan, num_classes=classes)
    if wanted.weights != "none":
        path = Path(wanted.weights)
        state = read_state(path)
        if wanted.classes is None:
            classes = classes_in(state, network, classes)
            network = _built(plan, num_classes=classes)
        load_state(network, state, path)
    return network, classes


def _built(plan: _Plan, **options: Any) -> nn.Module:
    try:
        with silence():
            network: nn.Module = models.get_model(
                plan.name, progress=False, **_sizes(plan), **options
            )
            return network
    except OSError as error:  # which a failed download is, too
        raise ModelError(
            f"{plan.name}: its published weights cannot be fetched: {first_line(error)}",
            "give --weights FILE or none",
        ) from error
    except (ValueError, RuntimeError, AssertionError) as error:
        height, width = plan.facts.size or (0, 0)
        raise ModelError(
            f"{plan.name} cannot be made for {plan.facts.frames} frames of {height}x{width}: "
            f"{first_line(error)}",
            "leave out --frames and --size",
        ) from error


def _sizes(plan: _Plan) -> dict[str, Any]:
    """What the architecture must be told of its input, and how its published weights were made."""
    size = plan.facts.size or (0, 0)
    if plan.name.startswith("vit"):
        return {"image_size": size[0]}
    if plan.name.startswith("maxvit"):
        return {"input_size": size}
    if plan.name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "init_weights": False}
    return {}


def _published_facts(name: str, published: Any) -> Facts:
    """How the published weights want to be fed; a crop of a slightly larger frame is a crop."""
    transform = published.transforms()
    square = len(set(transform.resize_size)) == 1 < len(transform.resize_size)
    size = [*transform.crop_size] * 2
    frames, stride = VIDEO.get(name, (FRAMES, None))
    return Facts(
        frames=frames,
        stride=stride,
        size=(size[0], size[1]),
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        scale=1 / 255,
        color="rgb",
        resize="stretch" if square else "crop",
        output="logits",
    )
