"""After X3D (Feichtenhofer, 2020): separable 3-D convolutions, squeeze-and-excitation, Swish."""

from torch import Tensor, nn

from tiemcli.exporters.zoo.recipe import Recipe

STAGES = ((8, 1), (16, 2), (24, 2))  # channels, blocks
EXPANSION = 2.25


def _convolution(
    inputs: int, outputs: int, kernel: int | tuple[int, ...], **more: object
) -> nn.Sequential:
    """A convolution without bias and its normalisation."""
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, bias=False, **more),  # type: ignore[arg-type]
        nn.BatchNorm3d(outputs),
    )


class SqueezeExcite(nn.Module):
    """Each channel weighed by what all of the clip holds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Conv3d(channels, 8, 1),
            nn.ReLU(),
            nn.Conv3d(8, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = x * self.weigh(x)
        return weighed


class Block(nn.Module):
    """Widen, look around channel by channel, narrow; every other block weighs its channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, weighs: bool) -> None:
        super().__init__()
        inner = int(EXPANSION * outputs)
        steps = (1, stride, stride)
        self.path = nn.Sequential(
            _convolution(inputs, inner, 1),
            nn.ReLU(),
            _convolution(inner, inner, 3, stride=steps, padding=1, groups=inner),
            SqueezeExcite(inner) if weighs else nn.Identity(),
            nn.Hardswish() if weighs else nn.SiLU(),
            _convolution(inner, outputs, 1),
        )
        plain = inputs == outputs and stride == 1
        self.around = nn.Identity() if plain else _convolution(inputs, outputs, 1, stride=steps)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = (self.around(x) + self.path(x)).relu()
        return added


class X3d(nn.Module):
    """A stem that separates space and time, stages that halve the frame, a wide head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        channels = 8
        self.stem = nn.Sequential(
            nn.Conv3d(3, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            _convolution(channels, channels, (5, 1, 1), padding=(2, 0, 0), groups=channels),
            nn.ReLU(),
        )
        blocks = []
        for width, depth in STAGES:
            for k in range(depth):
                blocks.append(Block(channels, width, 2 if k == 0 else 1, weighs=k % 2 == 0))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(_convolution(channels, 48, 1), nn.ReLU())
        self.answer = nn.Sequential(
            nn.Linear(48, 64, bias=False), nn.ReLU(), nn.Linear(64, classes)
        )

    def forward(self, clips: Tensor) -> Tensor:
        features = self.head(self.blocks(self.stem(clips))).mean((2, 3, 4))
        answer: Tensor = self.answer(features)
        return answer


NETWORKS = {"x3d": Recipe(X3d, "NCTHW", (1, 3, 8, 48, 48))}
