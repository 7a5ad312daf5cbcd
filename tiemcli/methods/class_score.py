"""The number that a gradient is taken of, and its slopes at pixels and inside the network."""

import math
from typing import TYPE_CHECKING

from tiemcli.methods.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from tiemcli.extremal.torch_clip import TorchClip
    from tiemcli.methods.layer import Layer


def class_score(scene: Scene, scores: "Tensor") -> "Tensor":
    """The target's score before any softmax, a scalar that is larger the more speaks for the answer.

    scores: (K,), as `TorchClip.activations` gives them. Of a regression that answers below 0 it is
    the opposite.
    """
    score = scores[scene.target]
    return score * math.copysign(1.0, scene.clean) if scene.objective.regression else score


def pixel_slopes(scene: Scene, clip: "TorchClip") -> "Tensor":
    """∂S/∂x of the class's score S by the pixels x as the network is fed: (C, T, H, W)."""
    pixels = clip.pixels
    scores, _ = clip.activations([], pixels)
    (slopes,) = clip.slopes(class_score(scene, scores), pixels)
    return slopes


def layer_slopes(scene: Scene, clip: "TorchClip", layer: "Layer") -> "tuple[Tensor, Tensor]":
    """A layer's map A and ∂S/∂A of the class's score S: (C, t, h, w) each."""
    scores, inner = clip.activations([layer.name])
    value = inner[layer.name]
    (slopes,) = clip.slopes(class_score(scene, scores), value)
    return layer.volume(value.detach()), layer.volume(slopes)
