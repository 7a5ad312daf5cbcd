"""Fit masks as extremal perturbations were published, where a penalty asks for the area."""

from dataclasses import dataclass

import numpy as np
import torch

from tiemcli.extremal.autograd import area_distance
from tiemcli.extremal.mask import Fit, top, wanted_pixels
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.recipe import (
    AREA_WEIGHT,
    DAMPENING,
    ITERATIONS,
    MOMENTUM,
    RATE,
    Recipe,
)
from tiemcli.extremal.smooth_max import SmoothMax
from tiemcli.extremal.smoothness import BEGINS, Smoothness
from tiemcli.extremal.torch_clip import Shown, TorchClip, memory_for_gradients
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.scorers import Progress

# Many pixels of a soft mask are equal, near 1 or 0: a lot this large decides between them.
LOT = 1e-5


@dataclass(frozen=True)
class PublishedFitter:
    """A `Fitter` by stochastic gradient descent from a mask that keeps all.

    The area is asked of the canvas, which reaches past the frame: where all that is kept lies within,
    the frame may keep up to 1.4 times as much. The hard mask is the exact share of the soft one that
    is largest. iterations: of every fit, for none goes on from another; the schedules of a shorter
    run are those of the published 2,000, squeezed. shown: the pixels under a mask, None for a blend.
    random: breaks ties.
    """

    clip: TorchClip
    target: int
    objective: Objective
    recipe: Recipe
    iterations: int
    shown: Shown | None
    random: np.random.Generator

    def budget(self, warm: bool) -> int:
        return self.iterations

    def fit(self, areas: Doubles, start: Floats | None, progress: Progress) -> Fit:
        with memory_for_gradients("explain another way: --method tiem --backend finite-difference"):
            return self._fit(areas, progress)

    def _fit(self, areas: Doubles, progress: Progress) -> Fit:
        recipe, device = self.recipe, self.clip.device
        frames, height, width = self.clip.shape
        masks = SmoothMax(height, width, device)
        counts = wanted_pixels(areas, *masks.canvas_size, recipe.volume)
        kept = wanted_pixels(areas, height, width, recipe.volume)
        smoothness = Smoothness(self.clip.shape, recipe.smoothness, device)
        cells = torch.ones(frames, *masks.grid, device=device, requires_grad=True)
        velocity = torch.zeros_like(cells)
        for step in range(self.iterations):
            done = step / self.iterations
            canvas = masks(cells)
            mask = masks.frame(canvas)
            reward = self.clip.reward(mask, self.target, self.objective, self.shown)
            area_weight = AREA_WEIGHT * recipe.growth ** (ITERATIONS * done)
            distance = area_distance(canvas, counts, self.random)
            gain = recipe.reward_weight * reward - area_weight * distance
            if recipe.smoothness and done >= BEGINS:
                gain = gain - smoothness(mask, int(kept.sum()), self.random)
            (slope,) = torch.autograd.grad(gain, cells)
            self.clip.backwards += 1
            velocity = MOMENTUM * velocity + (1 - DAMPENING) * slope
            with torch.no_grad():
                cells.add_(RATE * velocity).clamp_(0, 1)
            progress(1)
        with torch.no_grad():
            soft = masks.frame(masks(cells)).cpu().numpy()
        values = soft + LOT * self.random.random(soft.shape, dtype=np.float32)
        return Fit(cells.detach().cpu().numpy(), values, soft, top(values, kept), self.iterations)
