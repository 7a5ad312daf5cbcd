"""Networks that read frame by frame: a CNN on each, a recurrent layer over them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tiemcli.exporters.zoo.recipe import Recipe

LAYOUT, SHAPE = "NTCHW", (1, 8, 3, 32, 32)
WIDTH = 32


def frame_cnn() -> nn.Sequential:
    """(N, 3, H, W) to (N, WIDTH)."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, WIDTH, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
    )


def frame_features(cnn: nn.Module, clips: Tensor) -> Tensor:
    """(N, T, WIDTH) of clips (N, T, C, H, W)."""
    n, t, c, h, w = clips.shape
    features: Tensor = cnn(clips.reshape(n * t, c, h, w)).reshape(n, t, WIDTH)
    return features


class CnnRnn(nn.Module):
    """A CNN a frame, a recurrent layer of `kind`, and an answer from its last step."""

    def __init__(
        self,
        classes: int,
        kind: Callable[..., nn.RNNBase],
        *,
        layers: int = 1,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.cnn = frame_cnn()
        self.rnn = kind(
            WIDTH, WIDTH, num_layers=layers, batch_first=True, bidirectional=bidirectional
        )
        self.answer = nn.Linear(WIDTH * (2 if bidirectional else 1), classes)

    def forward(self, clips: Tensor) -> Tensor:
        features = frame_features(self.cnn, clips)
        steps, _ = self.rnn(features)
        answer: Tensor = self.answer(steps[:, -1])
        return answer


def gated_steps(seen: Tensor, known: Tensor) -> Tensor:
    """The last state (N, W) of a gated cell that Python steps over the frames.

    seen: (N, T, 2W), of each frame. known: (2W, W), from the state. Few frames count half.
    """
    state = torch.zeros(seen.size(0), known.size(1), device=seen.device)
    for frame in range(seen.size(1)):
        gate, new = torch.chunk(seen[:, frame] + state @ known.T, 2, dim=1)
        gate = torch.sigmoid(gate)
        state = gate * state + (1 - gate) * torch.tanh(new)
    if seen.size(1) > 4:
        return state
    else:
        return state / 2


class CnnLoop(nn.Module):
    """A CNN a frame and `gated_steps`, scripted: TorchScript keeps the loop, dynamo unrolls it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cnn = frame_cnn()
        self.seen = nn.Linear(WIDTH, 2 * WIDTH)
        self.known = nn.Parameter(torch.randn(2 * WIDTH, WIDTH) / WIDTH**0.5)
        self.steps = torch.jit.script(gated_steps)
        self.answer = nn.Linear(WIDTH, classes)

    def forward(self, clips: Tensor) -> Tensor:
        features = frame_features(self.cnn, clips)
        answer: Tensor = self.answer(self.steps(self.seen(features), self.known))
        return answer


NETWORKS = {
    "cnn-lstm": Recipe(lambda classes: CnnRnn(classes, nn.LSTM), LAYOUT, SHAPE),
    "cnn-gru": Recipe(lambda classes: CnnRnn(classes, nn.GRU), LAYOUT, SHAPE),
    "cnn-bilstm": Recipe(
        lambda classes: CnnRnn(classes, nn.LSTM, layers=2, bidirectional=True), LAYOUT, SHAPE
    ),
    "cnn-rnn": Recipe(lambda classes: CnnRnn(classes, nn.RNN), LAYOUT, SHAPE),
    "loop-gru": Recipe(CnnLoop, LAYOUT, SHAPE),
}
