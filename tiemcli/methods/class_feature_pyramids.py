"""Class feature pyramids: kernels that tell the class, by layers (Stergiou et al., ICCVW 2019)."""

import numpy as np
import torch
from torch import Tensor

from tiemcli.extremal.torch_clip import TorchClip
from tiemcli.methods.class_score import class_score
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.layer import Layer, to_clip
from tiemcli.methods.layers import chosen, watchable
from tiemcli.methods.scene import Scene

# Our choices: how many layers down the pyramid goes, where the paper shows depth by depth, and how
# large a contribution must be beside its layer's largest.
DEPTH = 3
THRESHOLD = 0.5


def find(scene: Scene) -> Evidence:
    """The mean over layers of Σ_k z_k A_k, each set to 1 where it is largest: (T, H, W), 0 to 1.

    A_k are the activations above 0 of a layer's chosen kernels, z_k their contributions. Layers are
    the outcomes of convolutions, the last with a map (or --layer) and those before it.
    """
    clip = scene.torch_clip()
    total = np.zeros(scene.shape, np.float32)
    with scene.gradient_stage(DEPTH):
        layers = pyramid(clip, scene.settings.layer)
        scores, inner = clip.activations([layer.name for layer in layers])
        looked_for = class_score(scene, scores)
        for layer in layers:
            value = inner[layer.name]
            (slope,) = clip.slopes(looked_for, value)
            parts = contributions(layer, value, slope)
            chosen_ones = chosen_kernels(parts.detach())
            looked_for = (parts * (chosen_ones > 0)).sum()
            seen = (chosen_ones[:, None, None, None] * layer.volume(value).detach().relu()).sum(0)
            total += to_clip(seen / seen.max().clamp_min(1e-30), clip.shape)
            scene.progress.advance(1)
    return attributed(scene, total / np.float32(len(layers)), "autograd", len(layers))


def pyramid(clip: TorchClip, wish: str | None) -> list[Layer]:
    """The layer that is looked at first, then the outcomes of the convolutions before it.

    An outcome is the last value before the next convolution or pooling, as a rule behind a ReLU.
    """
    top = chosen(clip, wish)
    outcomes: list[Layer] = []
    fine = False
    for layer in watchable(clip):
        if "Conv" in layer.op_type:
            outcomes.append(layer)
        elif fine and "Pool" not in layer.op_type:
            outcomes[-1] = layer
        fine = bool(outcomes) and "Pool" not in layer.op_type and (fine or "Conv" in layer.op_type)
        if layer.name == top.name:
            break
    below = outcomes[:-1] if fine else outcomes
    return [top, *reversed(below)][:DEPTH]


def contributions(layer: Layer, value: Tensor, slope: Tensor) -> Tensor:
    """What each kernel adds to what is looked for: its pooled activation times its slope, (C,).

    slope: of what is looked for, the class's score at first and below it the contributions of the
    kernels chosen above. Behind an average and a linear layer the slopes of a map add up to the
    class's weight w_k, and the product is the paper's w_k · mean(A_k); further down it is the
    same to first order, whatever lies between. Frames convolved alone are pooled one by one.
    """
    cells = (2, 3) if layer.by_frame else (1, 2, 3)
    activation = layer.volume(value).mean(dim=cells, keepdim=True)
    return (activation * layer.volume(slope).sum(dim=cells, keepdim=True)).sum(dim=(1, 2, 3))


def chosen_kernels(parts: Tensor) -> Tensor:
    """Contributions (C,) as shares of the largest, 0 below THRESHOLD or where none is above 0."""
    shares = parts.relu() / parts.max().clamp_min(1e-30)
    return torch.where(shares >= THRESHOLD, shares, 0.0)
