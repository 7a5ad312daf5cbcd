"""The paper's networks, `paper:r2plus1d-18` and `paper:resnet50-lstm`, and their weights."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50
from torchvision.models.video import R2Plus1D_18_Weights, r2plus1d_18

from tiemcli.errors import ModelError, UsageError, first_line
from tiemcli.exporters.original import Wanted, input_shape, settled
from tiemcli.exporters.paper_networks import R2Plus1D18, ResNet50LSTM
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import TorchOriginal
from tiemcli.exporters.weights import enliven, load_state, read_file, read_state, seeded, state_in
from tiemcli.facts import METADATA_PREFIX, Facts, facts_in_metadata
from tiemcli.outputs.atomic import replacing

# Of Tables 4 and 5. The classes are the 24 of UCF101-24 and, it seems, four swimming strokes.
CLASSES, FRAMES, SIZE = 28, 16, (128, 128)
# Where a file of weights says what else is known of the network.
FACTS = "tiem"


@dataclass(frozen=True)
class Kind:
    """One of the paper's networks.

    build: from its backbone and the number of classes. backbone: a constructor of torchvision's,
    published: the weights it has there. mean, std: what these were trained with.
    """

    build: Callable[[Any, int], nn.Module]
    backbone: Callable[[], nn.Module]
    published: Any
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


KINDS = {
    "r2plus1d-18": Kind(
        build=R2Plus1D18,
        backbone=r2plus1d_18,
        published=R2Plus1D_18_Weights.DEFAULT,
        layout="NCTHW",
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
    ),
    "resnet50-lstm": Kind(
        build=ResNet50LSTM,
        backbone=resnet50,
        published=ResNet50_Weights.DEFAULT,
        layout="NTCHW",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
}


def load(name: str, wanted: Wanted) -> TorchOriginal:
    """The network of that name.

    wanted.weights: a file is a state dict, such as `python -m tiemcli.samples.fine_tune` writes
    with the labels, frames and size that it was fine-tuned on, which become facts. "none" are
    random ones. "DEFAULT" is the backbone as torchvision publishes it, of Kinetics-400 or ImageNet.
    What nobody publishes is random then, and so are the answers until it is fine-tuned: the stem,
    FC2 and FC3 of Table 4; FC1, FC2, LSTM and FC3 of Table 5.
    Raises UsageError for a name that is none, ModelError where the weights cannot be had.
    """
    kind = kind_of(name)
    if wanted.per_frame is not None:
        raise UsageError(
            f"--per-frame {wanted.per_frame}: paper:{name} takes clips", "leave out --per-frame"
        )
    if wanted.weights in ("none", "DEFAULT"):
        facts = settled(wanted.facts, facts_of(kind), kind.layout)
        classes = wanted.classes or len(facts.labels or ()) or CLASSES
        network = untrained(name, wanted.weights, classes, wanted.seed, facts)
    else:
        path = Path(wanted.weights)
        state, told = read_weights(path)
        facts = settled(wanted.facts, told.over(facts_of(kind)), kind.layout)
        answers = state["fc3.bias"].numel() if "fc3.bias" in state else 0
        network = kind.build(kind.backbone(), wanted.classes or answers or CLASSES)
        load_state(network, state, path)
    half_random = "all but the backbone is random: fine-tune it first"
    notes = (half_random,) if wanted.weights == "DEFAULT" else ()
    return TorchOriginal(network, facts, input_shape(facts), notes=notes)


def kind_of(name: str) -> Kind:
    """The kind of that name; raises UsageError."""
    if name not in KINDS:
        raise UsageError(f"paper:{name}: no network of the paper", f"there are {', '.join(KINDS)}")
    return KINDS[name]


def facts_of(kind: Kind) -> Facts:
    """How a network of the paper is fed, if nobody says otherwise.

    Pixels are scaled as its backbone's were, and frames are cropped in the centre, as torchvision
    does it; the paper says neither.
    """
    return Facts(
        layout=kind.layout,
        frames=FRAMES,
        size=SIZE,
        scale=1 / 255,
        mean=kind.mean,
        std=kind.std,
        color="rgb",
        resize="crop",
        output="logits",
    )


def untrained(name: str, backbone: str, classes: int, seed: int, facts: Facts) -> nn.Module:
    """A network with a random head on the backbone "DEFAULT", "none" or a file of torchvision's.

    Raises ModelError where the backbone cannot be had.
    """
    kind = kind_of(name)

    def build() -> tuple[nn.Module, nn.Module]:
        body = kind.backbone()
        return body, kind.build(body, classes)

    body, network = seeded(build, seed)
    # The network has the body's own layers: what is loaded into these is loaded into it.
    if backbone == "none":
        # Sixteen clips: of a small one the last statistics are taken over one place a clip.
        enliven(network, (4, *input_shape(facts)[1:]), seed)
    elif backbone == "DEFAULT":
        body.load_state_dict(_published(kind))
    else:
        load_state(body, read_state(Path(backbone)), Path(backbone))
    return network


def _published(kind: Kind) -> dict[str, Tensor]:
    weights = kind.published
    try:
        with silence():
            state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
            return state
    except (OSError, RuntimeError) as error:  # no connection, or half a file
        raise ModelError(
            f"{weights.url} cannot be downloaded: {first_line(error)}",
            "fetch it elsewhere and fine-tune with --backbone FILE, or ask for none",
        ) from error


def write_weights(path: Path, network: nn.Module, facts: Facts) -> None:
    """Write a state dict and what is known of the network; raises OutputError."""
    with replacing(path) as part:
        state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        content = io.BytesIO()  # torch hides what a full disk says
        torch.save({"state_dict": state, FACTS: facts.model_dump(exclude_none=True)}, content)
        part.write_bytes(content.getbuffer())


def read_weights(path: Path) -> tuple[dict[str, Tensor], Facts]:
    """A state dict, and the facts that `write_weights` put beside it; raises ModelError."""
    found = read_file(path)
    state = state_in(found, path)
    told = found.get(FACTS)
    if not isinstance(told, Mapping):  # or a tensor of that name
        return state, Facts()
    return state, facts_in_metadata({f"{METADATA_PREFIX}{key}": told[key] for key in told})
