"""An image network as a video network: it looks at every frame, and something joins its answers."""

import torch
from torch import Tensor, nn

from tiemcli.exporters import head
from tiemcli.exporters.original import PerFrame

LAYOUT = "NTCHW"
# Frames for an image network, for which any number would do: TSN's segments (Wang et al., 2016).
FRAMES = 8
_RECURRENT = {"gru": nn.GRU, "lstm": nn.LSTM}
_STATE = 256  # numbers that a recurrent head remembers


def per_frame(network: nn.Module, how: PerFrame, frames: int, classes: int) -> nn.Module:
    """A network of (N, T, C, H, W) clips from one of (N, C, H, W) images.

    mean, max: of the images' logits, over time. gru, lstm: an untrained recurrent head, of the
    same classes, on what the images' own head was fed; it draws from torch's generator.
    """
    if how in _RECURRENT:
        width = head.remove(network, classes)
        return RecurrentOverFrames(network, how, frames, width, classes)
    return PooledOverFrames(network, how, frames)


class PooledOverFrames(nn.Module):
    """The mean or the maximum over time of what a network answers for each frame."""

    def __init__(self, network: nn.Module, how: PerFrame, frames: int) -> None:
        super().__init__()
        self.network, self.how, self.frames = network, how, frames

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) from (N, T, C, H, W)."""
        answers = frame_by_frame(self.network, clips, self.frames)
        return answers.mean(1) if self.how == "mean" else answers.amax(1)


class RecurrentOverFrames(nn.Module):
    """A linear layer on the last state of a recurrent one, which reads the frames' features."""

    def __init__(
        self, network: nn.Module, how: PerFrame, frames: int, width: int, classes: int
    ) -> None:
        super().__init__()
        self.network, self.frames = network, frames
        self.recurrent = _RECURRENT[how](width, _STATE, batch_first=True)
        self.head = nn.Linear(_STATE, classes)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) from (N, T, C, H, W)."""
        states, _ = self.recurrent(frame_by_frame(self.network, clips, self.frames))
        answer: Tensor = self.head(states[:, -1])
        return answer


def frame_by_frame(network: nn.Module, clips: Tensor, frames: int) -> Tensor:
    """What the network says of each image, (N, T, …), all fed at once as a batch of N·T."""
    answers: Tensor = network(torch.flatten(clips, 0, 1))
    return answers.reshape(-1, frames, *answers.shape[1:])
