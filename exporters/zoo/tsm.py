"""Image networks that answer for clips: TSN (Wang et al., 2016) and TSM (Lin et al., 2019)."""

import torch
from torch import Tensor, nn

from tiemcli.exporters.zoo.recipe import Recipe
from tiemcli.facts import Facts

LAYOUT, SHAPE = "NTCHW", (1, 8, 3, 48, 48)
FRAMES = SHAPE[1]
STAGES = ((8, 1), (16, 2), (16, 1), (24, 2))  # channels, stride


def shifted(x: Tensor) -> Tensor:
    """An eighth of the channels one frame earlier, an eighth one later; x: (N·T, C, H, W)."""
    frames = x.view(-1, FRAMES, *x.shape[1:])
    share = x.shape[1] // 8
    out = torch.zeros_like(frames)
    out[:, :-1, :share] = frames[:, 1:, :share]
    out[:, 1:, share : 2 * share] = frames[:, :-1, share : 2 * share]
    out[:, :, 2 * share :] = frames[:, :, 2 * share :]
    return out.view(x.shape)


class InvertedResidual(nn.Module):
    """MobileNet's block; `shifts` lets its frames see their neighbours first."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, shifts: bool) -> None:
        super().__init__()
        inner = 2 * inputs
        self.shifts = shifts
        self.residual = inputs == outputs and stride == 1
        self.path = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.Hardswish(),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.path(shifted(x) if self.shifts else x)
        return x + y if self.residual else y


class Segments(nn.Module):
    """A MobileNet a frame and the mean of its answers; `softmax` makes them probabilities."""

    def __init__(self, classes: int, *, shifts: bool, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax
        layers: list[nn.Module] = [
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
        ]
        channels = 8
        for width, stride in STAGES:
            layers.append(InvertedResidual(channels, width, stride, shifts=shifts))
            channels = width
        self.cnn = nn.Sequential(*layers)
        self.answer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, classes)
        )

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.answer(self.cnn(clips.reshape(-1, *clips.shape[2:])))
        answer: Tensor = frames.view(-1, FRAMES, frames.shape[1]).mean(1)
        return answer.softmax(-1) if self.softmax else answer


NETWORKS = {
    "tsm": Recipe(lambda classes: Segments(classes, shifts=True, softmax=False), LAYOUT, SHAPE),
    "tsn": Recipe(
        lambda classes: Segments(classes, shifts=False, softmax=True),
        LAYOUT,
        SHAPE,
        facts=Facts(output="probabilities"),
    ),
}
