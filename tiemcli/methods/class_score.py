"""The number that a gradient is taken of."""

import math
from typing import TYPE_CHECKING

from tiemcli.methods.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor


def class_score(scene: Scene, scores: "Tensor") -> "Tensor":
    """The target's score before any softmax, a scalar that is larger the more speaks for the answer.

    scores: (K,), as `TorchClip.activations` gives them. Of a regression that answers below 0 it is
    the opposite.
    """
    score = scores[scene.target]
    return score * math.copysign(1.0, scene.clean) if scene.objective.regression else score
