"""The sample's network, a small 3-D CNN, and how it is trained and exported."""

import io

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from tiemcli.samples.acts import ACTS
from tiemcli.samples.drill import FRAMES, SIDE, Drill, Floats, hidden

MEAN = 0.45
STD = 0.25
STEPS = 1000
BATCH = 32
SHARE = 0.85
"""How many of the films have parts hidden, once the network knows whole ones."""


class Network(nn.Module):
    """Clips (N, 3, 16, 64, 64), normalised, to logits (N, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_stage(3, 16, (1, 5, 5)),
            *_stage(16, 32, (3, 3, 3)),
            *_stage(32, 48, (1, 3, 3)),
            *_stage(48, 48, (3, 3, 3)),
            nn.Conv3d(48, 64, (1, 4, 4)),
            nn.ReLU(),
        )
        self.verdict = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, len(ACTS)),
        )

    def forward(self, clip: Tensor) -> Tensor:
        return self.verdict(self.features(clip))


def _stage(inputs: int, outputs: int, kernel: tuple[int, int, int]) -> list[nn.Module]:
    """Return convolution, normalisation and rectifier; halves the frame, keeps the moments."""
    padding = tuple(extent // 2 for extent in kernel)
    return [
        nn.Conv3d(inputs, outputs, kernel, (1, 2, 2), padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    ]


def train(drill: Drill, seed: int) -> Network:
    """Return the network trained to be as sure of the act as the visible evidence allows."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, STEPS, pct_start=0.2)
    for step in range(STEPS):
        # Whole films first: with parts hidden from the start, no act is ever discovered.
        share = SHARE * min(1.0, max(0.0, step / STEPS * 4 - 0.6))
        clips, targets = hidden(drill, rng.integers(0, len(drill.acts), BATCH), share, rng)
        scores = network(normalised(clips)).log_softmax(1)
        loss = -(torch.from_numpy(targets) * scores).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def normalised(clips: Floats) -> Tensor:
    """Return clips in [0, 1] as the network wants them."""
    return (torch.from_numpy(np.ascontiguousarray(clips)) - MEAN) / STD


def accuracy(network: Network, drill: Drill) -> float:
    """Return the share of whole films whose act the network names."""
    right = 0
    with torch.no_grad():
        for film, act in zip(drill.films, drill.acts, strict=True):
            clip = film[None, ..., :3].transpose(0, 4, 1, 2, 3).astype(np.float32) / 255
            right += int(network(normalised(clip)).argmax() == act)
    return right / len(drill.acts)


def exported(network: Network) -> onnx.ModelProto:
    """Return the network as an ONNX model with a free batch dimension."""
    written = io.BytesIO()
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, FRAMES, SIDE, SIDE),),
        written,
        dynamo=False,
        opset_version=17,
        input_names=["clip"],
        output_names=["logits"],
        dynamic_axes={"clip": {0: "batch"}, "logits": {0: "batch"}},
    )
    return onnx.load_model_from_string(written.getvalue())
