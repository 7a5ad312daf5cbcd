"""Two small networks for the clips of `clips.py`: a 3-D CNN, and a CNN followed by an LSTM."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tiemcli.bench.paper.case import Kind
from tiemcli.bench.paper.clips import FRAMES, SIDE, STROKES
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.network import Network, load_network

MEAN, STD = 0.45, 0.25
UNITS = 64
"""Of the LSTM."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a classifier makes of N clips; only the first is its answer, the others help to learn.

    logits: (N, K); moments: (N, T, K), the logits of each moment; directions: (N, T, 2), the cosine
    and sine of where the limb points.
    """

    logits: Tensor
    moments: Tensor
    directions: Tensor


class Classifier(nn.Module):
    """Clips (N, 3, T, H, W) in [0, 1] to logits (N, K)."""

    def see(self, clips: Tensor) -> Seen:
        raise NotImplementedError

    def forward(self, clips: Tensor) -> Tensor:
        return self.see(clips).logits


class Volume(Classifier):
    """The 3-D CNN: convolutions over frames, then the largest of each feature anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_volumes(3, 8, (1, 5, 5)),
            *_volumes(8, 24, (1, 3, 3)),
            *_volumes(24, 32, (3, 3, 3)),
        )
        self.motion = nn.Sequential(*_volumes(32, 64, (5, 3, 3)))
        self.verdict = nn.Linear(64, len(STROKES))
        self.moment = nn.Linear(64, len(STROKES))
        self.direction = nn.Linear(32, 2)

    def see(self, clips: Tensor) -> Seen:
        features = self.features((clips - MEAN) / STD)
        motion = self.motion(features)
        moments = self.moment(motion.amax((3, 4)).transpose(1, 2))
        directions = self.direction(features.mean((3, 4)).transpose(1, 2))
        return Seen(self.verdict(motion.amax((2, 3, 4))), moments, directions)


class Sequence(Classifier):
    """The CNN-LSTM: a CNN sees each frame alone, an LSTM reads them, its last state answers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_frames(3, 8, 5),
            *_frames(8, 24, 3),
            *_frames(24, 48, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(48),
        )
        self.memory = nn.LSTM(48, UNITS, batch_first=True)
        self.verdict = nn.Linear(UNITS, len(STROKES))
        self.direction = nn.Linear(48, 2)

    def see(self, clips: Tensor) -> Seen:
        frames = ((clips - MEAN) / STD).transpose(1, 2).reshape(-1, 3, SIDE, SIDE)
        features = self.features(frames).reshape(-1, FRAMES, 48)
        states, _ = self.memory(features)
        return Seen(self.verdict(states[:, -1]), self.verdict(states), self.direction(features))


def _volumes(inputs: int, outputs: int, kernel: tuple[int, int, int]) -> list[nn.Module]:
    """Convolution, normalisation and rectifier; halves the frame, keeps the moments."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return [
        nn.Conv3d(inputs, outputs, kernel, (1, 2, 2), padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    ]


def _frames(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """The same for single frames."""
    return [
        nn.Conv2d(inputs, outputs, kernel, 2, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def untrained(kind: Kind, seed: int) -> Classifier:
    """The network with the random weights that a seed stands for."""
    torch.manual_seed(seed)
    return Volume() if kind == "3-D CNN" else Sequence()


def export(classifier: Classifier, path: Path) -> None:
    """Write the network as ONNX with a free batch; it takes clips in [0, 1]."""
    with warnings.catch_warnings():
        # The converter is old, and an LSTM traced with one clip takes any number all the same.
        warnings.filterwarnings("ignore", module="torch|tiemcli.bench.paper.classifiers")
        torch.onnx.export(
            classifier.eval(),
            (torch.zeros(1, 3, FRAMES, SIDE, SIDE),),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["clip"],
            output_names=["logits"],
            dynamic_axes={"clip": {0: "batch"}, "logits": {0: "batch"}},
        )


def load(path: Path) -> Network:
    """A written network, loaded as anybody's would be; a unit of its input is 255 of a pixel's."""
    facts = Facts(
        layout="NCTHW",
        scale=1 / 255,
        color="rgb",
        resize="stretch",
        output="logits",
        labels=STROKES,
    )
    return load_network(load_model(path, facts), "cpu")
