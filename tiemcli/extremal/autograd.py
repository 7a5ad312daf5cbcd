"""Fit masks by gradients through the network itself."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tiemcli.extremal.adam import Adam
from tiemcli.extremal.mask import FINAL_TEMPERATURE, WARM_SHARE, Fit, MaskSpace, top
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.penalty import (
    AREA_GROWTH,
    AREA_WEIGHT,
    REWARD_WEIGHT,
    SIGMOID_FLOOR,
    STEEPNESS,
)
from tiemcli.extremal.smoothness import BEGINS, Smoothness
from tiemcli.extremal.stopping import CHECK_EVERY, promises_more
from tiemcli.extremal.torch_clip import TorchClip, memory_for_gradients
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import gaussian_matrix
from tiemcli.scorers import Progress, Scorer
from tiemcli.settings import Constraint

# Exact: Adam on the cells while the mask's edge hardens.
EXACT_RATE, EXACT_MOMENTS = 0.1, (0.9, 0.99)
SOFT_START = 0.5
PENALTY_RATE, PENALTY_MOMENTS = 0.05, (0.9, 0.999)
DEFAULT_ITERATIONS: dict[Constraint, int] = {"exact": 60, "penalty": 400}


@dataclass(frozen=True)
class AutogradFitter:
    """A `Fitter` that differentiates the network.

    scorer: of the same clip, base and target, asked about hard masks. iterations: of a cold fit, at
    most. continuity: the σ, in frames, of a Gaussian by which a frame's cells are mixed with those of
    the frames about it; 0 leaves every frame to itself. Areas are each frame's own whatever it is, so
    that nothing spills over. random: breaks ties in the penalty's sort. smoothness: STEP's term, beside
    the score under exact areas.
    """

    clip: TorchClip
    scorer: Scorer
    target: int
    objective: Objective
    space: MaskSpace
    constraint: Constraint
    iterations: int
    continuity: float
    random: np.random.Generator
    smoothness: Smoothness | None = None

    def budget(self, warm: bool) -> int:
        return max(1, round(self.iterations * WARM_SHARE)) if warm else self.iterations

    def fit(self, areas: Doubles, start: Floats | None, progress: Progress) -> Fit:
        fit = self._fit_exact if self.constraint == "exact" else self._fit_penalty
        with memory_for_gradients("use --backend finite-difference"):
            return fit(areas, start, progress)

    def _fit_exact(self, areas: Doubles, start: Floats | None, progress: Progress) -> Fit:
        """Ascend on masks that meet the areas at every step, from soft to hard.

        The best of the hard masks scored on the way is the result; its soft form is hard-edged
        however early the fit ends, since it is made at the final temperature.
        """
        counts = self.space.counts(areas)
        wanted = self._tensor(counts)
        cells = self._parameters(np.zeros(self.space.cells, np.float32) if start is None else start)
        adam = Adam(EXACT_RATE, EXACT_MOMENTS)
        temperatures = _hardening(self.budget(start is not None))
        best, shares = cells, list[float]()
        for done, temperature in enumerate(temperatures, 1):
            mask = soft_top(self._values(cells), wanted, temperature)
            gain = self.clip.reward(mask, self.target, self.objective)
            if self.smoothness and done > BEGINS * len(temperatures):
                gain = gain - self.smoothness(mask, int(counts.sum()), self.random)
            self._ascend(adam, cells, gain)
            progress(1)
            if done % CHECK_EVERY and done < len(temperatures):
                continue
            share = self._share(cells, counts)
            if not shares or share >= shares[-1]:
                best = cells.detach().clone()
            shares.append(max([share, *shares]))
            if not promises_more(shares, len(temperatures)):
                progress(len(temperatures) - done)
                break
        with torch.no_grad():
            soft = soft_top(self._values(best), wanted, FINAL_TEMPERATURE)
        return self._result(best, soft, counts, done)

    def _fit_penalty(self, areas: Doubles, start: Floats | None, progress: Progress) -> Fit:
        """Descend on Eq. 7: λΣ‖vecsort(m_t) − r‖² − Φ, the area only asked for."""
        counts = self.space.counts(areas)
        cells = self._parameters(np.ones(self.space.cells, np.float32) if start is None else start)
        adam = Adam(PENALTY_RATE, PENALTY_MOMENTS)
        steps = self.budget(start is not None)
        for step in range(steps):
            mask = steep_sigmoid(self._values(cells))
            distance = area_distance(mask, counts, self.random)
            reward = self.clip.reward(mask, self.target, self.objective)
            area_weight = AREA_WEIGHT * AREA_GROWTH**step
            self._ascend(adam, cells, REWARD_WEIGHT * reward - area_weight * distance)
            with torch.no_grad():
                cells.clamp_(0, 1)
            progress(1)
        with torch.no_grad():
            soft = steep_sigmoid(self._values(cells))
        return self._result(cells, soft, counts, steps)

    def _ascend(self, adam: Adam, cells: Tensor, gain: Tensor) -> None:
        """One step of the cells. Making torch's own Adam imports 900 modules for a second."""
        (slope,) = torch.autograd.grad(gain, cells)
        step = adam.step(slope.double().cpu().numpy())
        with torch.no_grad():
            cells += self._tensor(step)
        self.clip.backwards += 1

    def _share(self, cells: Tensor, counts: Ints) -> float:
        """What the hard mask keeps of Φ(X), less what it lacks in smoothness."""
        hard = self.space.hard(self._mixed(cells.detach()).cpu().numpy(), counts)
        share = float(self.scorer.score(hard[None])[0]) / self.objective.clean
        if self.smoothness:
            share -= float(self.smoothness(self._tensor(hard), int(counts.sum()), self.random))
        return share

    def _values(self, cells: Tensor) -> Tensor:
        rows, columns = self._grids
        return rows @ self._mixed(cells) @ columns.T

    def _mixed(self, cells: Tensor) -> Tensor:
        """The cells with those of the frames about each, (T, h, w)."""
        return cells if self._over_time is None else torch.tensordot(self._over_time, cells, 1)

    @cached_property
    def _over_time(self) -> Tensor | None:
        frames = self.space.shape[0]
        if not self.continuity:
            return None
        return self._tensor(gaussian_matrix(frames, 1, self.continuity))

    @cached_property
    def _grids(self) -> tuple[Tensor, Tensor]:
        return self._tensor(self.space.upsampling.rows), self._tensor(self.space.upsampling.columns)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self.clip.device)

    def _parameters(self, cells: Floats) -> Tensor:
        return self._tensor(cells).clone().requires_grad_()

    def _result(self, cells: Tensor, soft: Tensor, counts: Ints, steps: int) -> Fit:
        fitted = cells.detach()
        values = self.space.upsampling(self._mixed(fitted).cpu().numpy())
        hard = top(values, counts)
        return Fit(fitted.cpu().numpy(), values, soft.cpu().numpy(), hard, steps)


def _hardening(steps: int) -> list[float]:
    """Temperatures from soft to hard, in equal ratios."""
    return [float(t) for t in np.geomspace(SOFT_START, FINAL_TEMPERATURE, steps)]


def steep_sigmoid(values: Tensor) -> Tensor:
    """`extremal.penalty.steep_sigmoid`, to be differentiated."""
    sigmoid = torch.sigmoid(STEEPNESS * (values - 0.5))
    mask: Tensor = (sigmoid - SIGMOID_FLOOR) / (1 - 2 * SIGMOID_FLOOR)
    return mask


def area_distance(mask: Tensor, counts: Ints, random: np.random.Generator) -> Tensor:
    """The mean squared distance of a mask (T, H, W) from the nearest that meets the area.

    That is the distance of the sorted mask from its template, Eq. 7's ‖vecsort(m) − r‖², without a
    sort. counts: (T,) pixels a frame, or (1,) of the volume. Of equal pixels those that count as kept
    are drawn by lot: else the gradient of a constant mask would follow the order of its pixels.
    """
    values = mask.detach().cpu().numpy()
    lots = 1e-4 * random.random(values.shape, dtype=np.float32)
    nearest = torch.from_numpy(top(values + lots, counts)).to(mask.device)
    return (mask - nearest).square().mean()


def soft_top(values: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """`kernels.area.soft_top` of (T, H, W) values, to be differentiated.

    counts: (T,) pixels a frame, or (1,) of the volume.
    """
    mask: Tensor = _SoftTop.apply(values, counts, temperature)
    return mask


class _SoftTop(torch.autograd.Function):
    """Its gradient is dm = w(g − ⟨w,g⟩/⟨w,1⟩)/temperature, with w = m(1−m)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: Tensor, temperature: float) -> Tensor:
        flat = values.reshape(len(counts), -1)
        low = flat.amin(1, keepdim=True) - 20 * temperature
        high = flat.amax(1, keepdim=True) + 20 * temperature
        wanted = counts[:, None]
        mask = torch.empty_like(flat)  # one for all steps: fresh memory costs more than arithmetic
        for _ in range(30):
            middle = (low + high) / 2
            torch.sub(flat, middle, out=mask).div_(temperature).sigmoid_()
            excess = mask.sum(1, keepdim=True) > wanted
            low, high = torch.where(excess, middle, low), torch.where(excess, high, middle)
        mask = torch.where(wanted <= 0, 0.0, torch.where(wanted >= flat.shape[1], 1.0, mask))
        ctx.save_for_backward(mask)
        ctx.temperature = temperature
        return mask.reshape(values.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        weight = mask * (1 - mask)
        flat = gradient.reshape(mask.shape)
        mean = (weight * flat).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1e-12)
        return (weight * (flat - mean) / ctx.temperature).reshape(gradient.shape), None, None
