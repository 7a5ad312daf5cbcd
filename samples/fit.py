"""Fitting a network of the paper to labelled clips: one pass after the other, each measured."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tiemcli.kernels.arrays import Bytes, Ints
from tiemcli.kernels.layout import axis_order
from tiemcli.preprocess import Preprocessing
from tiemcli.progress import Progress
from tiemcli.samples.labelled import Split


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted. rate: Adam's learning rate; batch: clips a step."""

    rate: float
    epochs: int
    batch: int


RECIPES = {
    "r2plus1d-18": Recipe(rate=1e-3, epochs=50, batch=16),
    "resnet50-lstm": Recipe(rate=5e-5, epochs=100, batch=16),
}
"""The paper's, appendix B, which is silent on the batch."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training clips came to; losses are mean cross-entropies in nats."""

    number: int
    loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, eq=False)
class Lesson:
    """What there is to learn, and how the network is fed.

    pixels: (N, T, H, W, 3) uint8 RGB; classes: (N,) int64; layout: of the network's input.
    """

    pixels: Bytes
    classes: Ints
    preprocessing: Preprocessing
    layout: str
    device: torch.device

    def clips(self, chosen: Ints, flipped: np.ndarray | None = None) -> Tensor:
        """(n, …) float32: the chosen clips in `layout`, scaled and normalised.

        flipped: (n,) bool, those to be turned left to right.
        """
        pixels = np.asarray(self.pixels[chosen])
        if flipped is not None:
            pixels[flipped] = pixels[flipped][:, :, :, ::-1]
        clips = torch.from_numpy(pixels).to(self.device).permute(0, 4, 1, 2, 3).float()
        mean, std = (
            torch.tensor(values, device=self.device).view(-1, 1, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        clips = (clips * self.preprocessing.scale - mean) / std
        return clips.permute(axis_order(self.layout)).contiguous()

    def truth(self, chosen: Ints) -> Tensor:
        """(n,) int64: the classes of the chosen clips."""
        return torch.from_numpy(self.classes[chosen]).to(self.device)


def fit(
    network: nn.Module,
    lesson: Lesson,
    split: Split,
    recipe: Recipe,
    rng: np.random.Generator,
    progress: Progress,
) -> Iterator[Epoch]:
    """Fit all layers by Adam to the cross-entropy, yielding after each epoch.

    The paper names optimiser, rate and epochs only. None of its layers is frozen; the rate stays;
    and half of the clips are flipped left to right, as in torchvision's reference training.
    Between two epochs the network is in evaluation mode, with the weights of the one that ended.
    """
    optimizer = torch.optim.Adam(network.parameters(), recipe.rate)
    for number in range(1, recipe.epochs + 1):
        network.train()
        total = 0.0
        progress.stage(f"epoch {number}", len(split.training))
        for chosen in batches(rng.permutation(split.training), recipe.batch):
            answers = network(lesson.clips(chosen, rng.random(len(chosen)) < 0.5))
            loss = nn.functional.cross_entropy(answers, lesson.truth(chosen))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
            progress.advance(len(chosen))
        validation = measure(network, lesson, split.validation, recipe.batch)
        yield Epoch(number, total / len(split.training), *validation)


def measure(network: nn.Module, lesson: Lesson, chosen: Ints, batch: int) -> tuple[float, float]:
    """(loss, accuracy) of the network on the chosen clips, which it is left ready to repeat."""
    network.eval()
    loss, right = 0.0, 0
    with torch.no_grad():
        for part in batches(chosen, batch):
            answers, truth = network(lesson.clips(part)), lesson.truth(part)
            loss += nn.functional.cross_entropy(answers, truth, reduction="sum").item()
            right += int((answers.argmax(1) == truth).sum())
    return loss / len(chosen), right / len(chosen)


def batches(chosen: Ints, size: int) -> list[Ints]:
    """The chosen in even parts of `size` or a little more: a rest would have statistics of few."""
    return np.array_split(chosen, max(1, len(chosen) // size))
