"""What tiem is compared with, each on the same weights and the same masks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.kernels.layout import axis_order, network_shape
from tiemcli.model import Model

# The paper's recipe: the clip and each of 136 windows one by one, and 800 iterations for one mask.
RECIPE_FORWARDS, RECIPE_ITERATIONS = 137, 800
_CELLS = 16  # across a frame, as many as ours
_AREA, _AREA_WEIGHT, _RATE, _MOMENTUM = 0.1, 300.0, 0.05, 0.9


@dataclass(frozen=True)
class RawRuntime:
    """`session.run` on clips that have been masked beforehand, with tiem's own session options.

    ONNX Runtime's default ones let idle threads spin, which would count as time. batches: of clips in
    the network's axes.
    """

    session: ort.InferenceSession
    model: Model
    batches: tuple[np.ndarray, ...]

    def probabilities(self) -> Doubles:
        """The softmaxed answers: (N, K) float64."""
        answers = [
            self.session.run([self.model.output], {self.model.input: batch})[0]
            for batch in self.batches
        ]
        return softmax(np.concatenate(answers))


@dataclass(frozen=True)
class EagerTorch:
    """The module that the ONNX file was exported from, in eager mode, without gradients.

    batches: of masked clips in the network's axes.
    """

    module: Any
    batches: tuple[np.ndarray, ...]

    def probabilities(self) -> Doubles:
        """The softmaxed answers: (N, K) float64."""
        import torch

        with torch.inference_mode():
            answers = [self.module(torch.from_numpy(batch)).numpy() for batch in self.batches]
        return softmax(np.concatenate(answers))


class PaperRecipe:
    """The paper's second stage as a plain loop in eager torch on the module itself, one clip at a time.

    An iteration upsamples the mask's cells bilinearly, blends the clip with its blurred base, runs the
    module, sorts the mask's values to compare them with the area's template (Eq. 7), and goes back to
    the cells for a step with momentum. It neither checks nor records anything, and makes no pyramid of
    blurred clips, which Extremal Perturbations do besides.

    clip, base: (C, T, H, W) float32 in the network's units. target: the output to keep.
    """

    def __init__(self, module: Any, model: Model, clip: Floats, base: Floats, target: int) -> None:
        import torch

        _, frames, height, width = clip.shape
        self._module, self._target = module, target
        self._order = axis_order(model.layout)
        self._shape = network_shape(model.layout, model.sizes, 1)
        self._base = torch.from_numpy(base)
        self._delta = torch.from_numpy(clip - base)
        self._cells = torch.full((frames, 1, _CELLS, _CELLS), 0.5, requires_grad=True)
        self._descent = torch.optim.SGD([self._cells], lr=_RATE, momentum=_MOMENTUM)
        self._template = torch.zeros(frames, height * width)
        self._template[:, : round(_AREA * height * width)] = 1

    def forward(self) -> None:
        """One masked clip, without gradients, as the paper's first stage has them."""
        import torch

        with torch.no_grad():
            self._score(torch.ones(self._delta.shape[1:]))

    def iterate(self) -> None:
        """One forward, one backward and one step."""
        import torch

        size = self._delta.shape[2:]
        masks = torch.nn.functional.interpolate(
            self._cells, size=size, mode="bilinear", align_corners=False
        )[:, 0]
        ordered = masks.flatten(1).sort(dim=1, descending=True).values
        area_loss = (ordered - self._template).square().mean()
        loss = _AREA_WEIGHT * area_loss - self._score(masks)
        self._descent.zero_grad()
        torch.autograd.backward(loss)
        self._descent.step()
        with torch.no_grad():
            self._cells.clamp_(0, 1)

    def _score(self, keep: Any) -> Any:
        clip = (self._base + keep * self._delta)[None]
        answer = self._module(clip.permute(self._order).reshape(self._shape))
        return answer.softmax(1)[0, self._target]


def softmax(logits: np.ndarray) -> Doubles:
    """Over the last axis, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    shares: Doubles = powers / powers.sum(axis=-1, keepdims=True)
    return shares
