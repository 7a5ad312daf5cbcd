"""Networks as products ship them: pixels in, answers out, preprocessing inside of the graph."""

import numpy as np
from torch import Tensor, nn, tensor
from torch.nn import functional

from tiemcli.exporters.zoo.recipe import Recipe
from tiemcli.exporters.zoo.x3d import X3d
from tiemcli.facts import Facts

SIDE = 32  # pixels that the network inside is fed


class Deployed(nn.Module):
    """Bytes (N, T, H, W, C) scaled, normalised and resized for a 3-D CNN; probabilities out."""

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = X3d(classes)
        self.register_buffer("mean", tensor([0.43216, 0.394666, 0.37645]))
        self.register_buffer("std", tensor([0.22803, 0.22145, 0.216989]))

    def forward(self, pixels: Tensor) -> Tensor:
        n, t, h, w, c = pixels.shape
        frames = (pixels.float() / 255 - self.mean) / self.std
        frames = frames.reshape(n * t, h, w, c).permute(0, 3, 1, 2)
        frames = functional.interpolate(frames, size=(SIDE, SIDE), mode="bilinear")
        clips = frames.reshape(n, t, c, SIDE, SIDE).transpose(1, 2)
        answer: Tensor = self.network(clips).softmax(-1)
        return answer


class Detector(nn.Module):
    """Scores for each of several windows of the clip: (N, W, K)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv3d(3, 12, 3, (1, 2, 2), 1, bias=False),
            nn.BatchNorm3d(12),
            nn.ReLU(),
            nn.Conv3d(12, 24, 3, (1, 2, 2), 1, bias=False),
            nn.BatchNorm3d(24),
            nn.ReLU(),
        )
        self.score = nn.Conv1d(24, classes, kernel_size=4, stride=2)

    def forward(self, clips: Tensor) -> Tensor:
        answer: Tensor = self.score(self.trunk(clips).mean((3, 4))).transpose(1, 2)
        return answer


NETWORKS = {
    "uint8": Recipe(
        Deployed,
        "NTHWC",
        (1, 8, 40, 48, 3),
        dtype=np.uint8,
        facts=Facts(output="probabilities", scale=1.0),
    ),
    "detector": Recipe(Detector, "NCTHW", (1, 3, 8, 32, 32)),
}
