"""One run of fine-tuning: from a folder of labelled clips to a file of weights."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tiemcli.errors import DeviceError, OutputError, UsageError
from tiemcli.exporters.original import settled
from tiemcli.exporters.paper import facts_of, kind_of, read_weights, untrained, write_weights
from tiemcli.facts import Facts
from tiemcli.preprocess import Preprocessing
from tiemcli.samples.fit import RECIPES, Epoch, Lesson, Recipe, fit, measure
from tiemcli.samples.labelled import Split, decode, find, read_list, split
from tiemcli.terminal import Terminal


@dataclass(frozen=True)
class Request:
    """What is asked for; epochs and batch None are the recipe's own, train_list None a random split.

    size: height and width in pixels. backbone: "DEFAULT", "none" or a file of torchvision's.
    """

    folder: Path
    network: str
    out: Path
    backbone: str
    epochs: int | None
    batch: int | None
    frames: int
    size: tuple[int, int]
    train_list: Path | None
    seed: int
    device: str


def run(request: Request) -> None:
    """Train, and write the weights each time that they do better on the validation clips.

    Raises UsageError for a folder that cannot be learned from, ModelError for a backbone that
    cannot be had, DeviceError and OutputError.
    """
    if request.out.is_dir():
        raise OutputError(f"{request.out} is a folder", "name the file, such as -o weights.pt")
    if not request.out.absolute().parent.is_dir():
        raise OutputError(f"{request.out}: no such folder", "create it first")
    device = device_of(request.device)
    kind, recipe = kind_of(request.network), RECIPES[request.network]
    recipe = replace(
        recipe, epochs=request.epochs or recipe.epochs, batch=request.batch or recipe.batch
    )
    listed = None if request.train_list is None else read_list(request.train_list)
    found = find(request.folder)
    asked = Facts(frames=request.frames, size=request.size, labels=found.labels)
    facts = settled(asked, facts_of(kind), kind.layout)
    network = untrained(request.network, request.backbone, len(found.labels), request.seed, facts)
    rng = np.random.default_rng(request.seed)
    preprocessing = preprocessing_of(facts)
    with Terminal(quiet=False) as terminal:
        clips, pixels = decode(found, request.frames, preprocessing, terminal, terminal.note)
        parts = split(clips, rng, listed)
        terminal.note(
            f"{len(clips.labels)} labels; {len(parts.training)} clips for training, "
            f"{len(parts.validation)} for validation, {len(parts.test)} for the test; on {device}"
        )
        lesson = Lesson(pixels, clips.classes, preprocessing, kind.layout, device)
        try:
            train(network.to(device), lesson, parts, recipe, rng, terminal, request.out, asked)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{device} has not memory enough for {recipe.batch} clips",
                "give a smaller --batch-size",
            ) from error
        terminal.note(
            f"next: tiem export paper:{request.network} --weights {request.out} -o net.onnx"
        )


def train(
    network: nn.Module,
    lesson: Lesson,
    parts: Split,
    recipe: Recipe,
    rng: np.random.Generator,
    terminal: Terminal,
    out: Path,
    asked: Facts,
) -> None:
    """Fit the network, writing it to `out` after each epoch that is the best so far.

    The best has the highest validation accuracy, and of several the lowest validation loss.
    asked: what the file says beside the weights.
    """
    best = -1.0, 0.0
    for epoch in fit(network, lesson, parts, recipe, rng, terminal):
        terminal.close()
        loss = epoch.validation_loss
        merit = epoch.validation_accuracy, -loss if math.isfinite(loss) else -math.inf
        better = merit > best
        if better:
            best = merit
            write_weights(out, network, asked)
        terminal.note(told(epoch, recipe.epochs) + (", written" if better else ""))
    if len(parts.test):
        network.load_state_dict(read_weights(out)[0])
        _, accuracy = measure(network, lesson, parts.test, recipe.batch)
        terminal.note(f"test accuracy of the weights written: {accuracy:.1%}")


def told(epoch: Epoch, epochs: int) -> str:
    """One line."""
    return (
        f"epoch {epoch.number}/{epochs}: loss {epoch.loss:.3f}, validation loss "
        f"{epoch.validation_loss:.3f}, validation accuracy {epoch.validation_accuracy:.1%}"
    )


def preprocessing_of(facts: Facts) -> Preprocessing:
    """How frames are brought to the size of the network, and scaled; all must be known."""
    height, width = facts.size
    return Preprocessing(
        height, width, facts.color, facts.resize, facts.scale, facts.mean, facts.std
    )


def device_of(name: str) -> torch.device:
    """Where torch computes for auto, cpu, cuda or cuda:N; raises UsageError or DeviceError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdecimal())):
        raise UsageError(f"--device {name} is unknown", "use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices",
            "use --device cpu, or install the torch of pytorch.org for CUDA",
        )
    return torch.device(name)
