"""Control flow inside of the graph, by torch's higher-order operators: Scan and If."""

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from tiemcli.exporters.zoo.cnn_rnn import LAYOUT, SHAPE, WIDTH, frame_cnn, frame_features
from tiemcli.exporters.zoo.recipe import Recipe


class ScanCond(nn.Module):
    """A gated cell scanned over the frames; a clip that is nearly black is answered otherwise."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cnn = frame_cnn()
        self.seen = nn.Linear(WIDTH, 2 * WIDTH)
        self.known = nn.Linear(WIDTH, 2 * WIDTH)
        self.answer = nn.Linear(WIDTH, classes)

    def forward(self, clips: Tensor) -> Tensor:
        seen = self.seen(frame_features(self.cnn, clips)).transpose(0, 1)

        def step(state: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
            gate, new = (now + self.known(state)).chunk(2, dim=1)
            gate = torch.sigmoid(gate)
            state = gate * state + (1 - gate) * torch.tanh(new)
            return state, state.clone()

        last, _ = scan(step, clips.new_zeros(clips.shape[0], WIDTH), seen, dim=0)
        (answer,) = torch.cond(
            clips.abs().sum() > 1.0,
            lambda state: (self.answer(state),),
            lambda state: (self.answer(2.0 * state),),
            (last,),
        )
        found: Tensor = answer
        return found


NETWORKS = {"scan-cond": Recipe(ScanCond, LAYOUT, SHAPE)}
