"""After MoViNet (Kondratyuk et al., 2021): causal convolutions and running means over time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tiemcli.exporters.zoo.recipe import Recipe

STAGES = ((8, 16, 5, 2), (16, 32, 3, 2), (16, 32, 3, 1))  # channels, inner, frames seen, stride


def running_mean(x: Tensor) -> Tensor:
    """The mean over each frame and all before it; time is axis 2."""
    counts = torch.arange(1, x.shape[2] + 1, dtype=x.dtype, device=x.device)
    return x.cumsum(2) / counts.view(1, 1, -1, 1, 1)


class Causal(nn.Module):
    """A 2-D convolution a frame, then one over the frames so far, padded in front alone."""

    def __init__(
        self, inputs: int, outputs: int, frames: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.frames = frames
        self.space = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.time = nn.Conv3d(outputs, outputs, (frames, 1, 1), groups=outputs, bias=False)
        self.normalise = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, h, w = x.shape
        y = self.space(x.transpose(1, 2).reshape(n * t, c, h, w))
        y = y.reshape(n, t, *y.shape[1:]).transpose(1, 2)
        if self.frames > 1:
            y = self.time(functional.pad(y, (0, 0, 0, 0, self.frames - 1, 0)))
        normalised: Tensor = self.normalise(y)
        return normalised


class Block(nn.Module):
    """Widen, look around and back, weigh channels by what has been seen so far, narrow."""

    def __init__(self, inputs: int, inner: int, outputs: int, frames: int, stride: int) -> None:
        super().__init__()
        self.widen = Causal(inputs, inner, 1, 1)
        self.look = Causal(inner, inner, frames, 3, stride, groups=inner)
        self.squeeze = nn.Conv3d(2 * inner, inner // 4, 1)
        self.excite = nn.Conv3d(inner // 4, inner, 1)
        self.narrow = Causal(inner, outputs, 1, 1)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        seen = functional.hardswish(self.look(functional.hardswish(self.widen(x))))
        now = seen.mean((3, 4), keepdim=True)
        context = functional.hardswish(self.squeeze(torch.cat([now, running_mean(now)], 1)))
        y: Tensor = self.narrow(seen * functional.hardsigmoid(self.excite(context)))
        return x + y if self.residual else y


class MoViNet(nn.Module):
    """The answer after the last frame, from a mean over all of them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        channels = 8
        self.stem = Causal(3, channels, 1, 3, 2)
        blocks = []
        for width, inner, frames, stride in STAGES:
            blocks.append(Block(channels, inner, width, frames, stride))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = Causal(channels, 48, 1, 1)
        self.answer = nn.Sequential(nn.Linear(48, 64), nn.Hardswish(), nn.Linear(64, classes))

    def forward(self, clips: Tensor) -> Tensor:
        x = functional.hardswish(self.stem(clips))
        x = functional.hardswish(self.head(self.blocks(x)))
        x = functional.avg_pool3d(x, (1, int(x.shape[3]), int(x.shape[4])))
        answer: Tensor = self.answer(running_mean(x)[:, :, -1].flatten(1))
        return answer


NETWORKS = {"movinet": Recipe(MoViNet, "NCTHW", (1, 3, 8, 32, 32))}
