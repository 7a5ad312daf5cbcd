"""Fit masks by gradients through the network itself."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from tiemcli.errors import DeviceError
from tiemcli.extremal.adam import Adam
from tiemcli.extremal.mask import FINAL_TEMPERATURE, WARM_SHARE, Fit, MaskSpace
from tiemcli.extremal.objective import SMALLEST_PROBABILITY, Objective
from tiemcli.extremal.penalty import (
    AREA_GROWTH,
    AREA_WEIGHT,
    REWARD_WEIGHT,
    SIGMOID_FLOOR,
    STEEPNESS,
)
from tiemcli.extremal.stopping import CHECK_EVERY, promises_more
from tiemcli.gradients import Differentiable
from tiemcli.kernels.area import sorted_template
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.fuse import Port
from tiemcli.kernels.layout import axis_order, network_shape
from tiemcli.scorers import Progress, Scorer
from tiemcli.scorers.session import is_out_of_memory
from tiemcli.settings import Constraint

# Exact: Adam on the cells while the mask's edge hardens.
EXACT_RATE, EXACT_MOMENTS = 0.1, (0.9, 0.99)
SOFT_START = 0.5
PENALTY_RATE, PENALTY_MOMENTS = 0.05, (0.9, 0.999)
DEFAULT_ITERATIONS: dict[Constraint, int] = {"exact": 60, "penalty": 400}


class TorchClip:
    """One clip and base between which a differentiable network is masked.

    network: differentiable in its first input. clip, base: (C, T, H, W) float32, in its units.
    batch: how many clips the network must be given at once; all are the same. Counts `forwards`
    and `backwards`.
    """

    def __init__(
        self, network: Differentiable, port: Port, clip: Floats, base: Floats, batch: int
    ) -> None:
        self._network, self._port, self._batch = network, port, batch
        self._output = network.output_names.index(port.output)
        self.device = torch.device(network.device)
        self._base = torch.from_numpy(np.ascontiguousarray(base)).to(self.device)
        self._delta = torch.from_numpy(np.ascontiguousarray(clip - base)).to(self.device)
        self.forwards = self.backwards = 0

    def outputs(self, keep: Tensor) -> Tensor:
        """The network's own numbers (K,) under one keep-mask (T, H, W): logits stay logits."""
        self.forwards += 1
        port = self._port
        clips = (self._base + keep * self._delta).expand(self._batch, *self._base.shape)
        shape = network_shape(port.layout, port.sizes, self._batch)
        answer = self._network(clips.permute(axis_order(port.layout)).reshape(shape))[self._output]
        numbers = answer.float().flatten()[: port.rows * port.classes]
        rows = (
            numbers.reshape(port.classes, port.rows).T
            if port.classes_first
            else numbers.reshape(port.rows, port.classes)
        )
        match port.aggregate:
            case "mean":
                return rows.mean(0)
            case "max":
                return rows.amax(0)
        return rows[port.aggregate % port.rows]

    def answers(self, keep: Tensor) -> Tensor:
        """What ONNX Runtime is asked for: the outputs (K,), softmaxed where they are logits."""
        outputs = self.outputs(keep)
        return outputs.softmax(0) if self._port.output_kind == "logits" else outputs

    def reward(self, keep: Tensor, target: int, objective: Objective) -> Tensor:
        """The objective of one keep-mask, log Φ or Φ/Φ(X), as a scalar to differentiate."""
        outputs = self.outputs(keep)
        if self._port.output_kind == "logits":
            return log_softmax(outputs, 0)[target]
        if objective.regression:
            return outputs[target] / objective.clean
        return outputs[target].clamp_min(SMALLEST_PROBABILITY).log()


@dataclass(frozen=True)
class AutogradFitter:
    """A `Fitter` that differentiates the network.

    scorer: of the same clip, base and target, asked about hard masks. iterations: of a cold fit, at
    most. random: breaks ties in the penalty's sort.
    """

    clip: TorchClip
    scorer: Scorer
    target: int
    objective: Objective
    space: MaskSpace
    constraint: Constraint
    iterations: int
    random: np.random.Generator

    def budget(self, warm: bool) -> int:
        return max(1, round(self.iterations * WARM_SHARE)) if warm else self.iterations

    def fit(self, areas: Doubles, start: Floats | None, progress: Progress) -> Fit:
        fit = self._fit_exact if self.constraint == "exact" else self._fit_penalty
        try:
            return fit(areas, start, progress)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                "there is no memory for a gradient", "use --backend finite-difference"
            ) from error

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
            self._ascend(adam, cells, self.clip.reward(mask, self.target, self.objective))
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
        frames, height, width = self.space.shape
        template = self._tensor(sorted_template(counts, height * width))
        ties = torch.Generator(self.clip.device)
        ties.manual_seed(int(self.random.integers(2**62)))
        cells = self._parameters(np.ones(self.space.cells, np.float32) if start is None else start)
        adam = Adam(PENALTY_RATE, PENALTY_MOMENTS)
        steps = self.budget(start is not None)
        for step in range(steps):
            mask = steep_sigmoid(self._values(cells))
            distance = (vecsort(mask.reshape(frames, -1), ties) - template).square().mean()
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
        """What the hard mask keeps of Φ(X)."""
        hard = self.space.hard(cells.detach().cpu().numpy(), counts)
        return float(self.scorer.score(hard[None])[0]) / self.objective.clean

    def _values(self, cells: Tensor) -> Tensor:
        rows, columns = self._grids
        return rows @ cells @ columns.T

    @cached_property
    def _grids(self) -> tuple[Tensor, Tensor]:
        return self._tensor(self.space.upsampling.rows), self._tensor(self.space.upsampling.columns)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self.clip.device)

    def _parameters(self, cells: Floats) -> Tensor:
        return self._tensor(cells).clone().requires_grad_()

    def _result(self, cells: Tensor, soft: Tensor, counts: Ints, steps: int) -> Fit:
        fitted = cells.detach().cpu().numpy()
        return Fit(fitted, soft.cpu().numpy(), self.space.hard(fitted, counts), steps)


def _hardening(steps: int) -> list[float]:
    """Temperatures from soft to hard, in equal ratios."""
    return [float(t) for t in np.geomspace(SOFT_START, FINAL_TEMPERATURE, steps)]


def steep_sigmoid(values: Tensor) -> Tensor:
    """`extremal.penalty.steep_sigmoid`, to be differentiated."""
    sigmoid = torch.sigmoid(STEEPNESS * (values - 0.5))
    mask: Tensor = (sigmoid - SIGMOID_FLOOR) / (1 - 2 * SIGMOID_FLOOR)
    return mask


def vecsort(masks: Tensor, ties: torch.Generator) -> Tensor:
    """Each row of (T, P) in descending order, equal values in random order.

    Without the random order the gradient of a constant mask would follow the order of its pixels.
    """
    noise = 1e-4 * torch.rand(masks.shape, generator=ties, device=masks.device)
    return masks.gather(-1, (masks.detach() + noise).argsort(-1, descending=True))


def soft_top(values: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """`kernels.area.soft_top` of (T, H, W) values, to be differentiated."""
    mask: Tensor = _SoftTop.apply(values, counts, temperature)
    return mask


class _SoftTop(torch.autograd.Function):
    """Its gradient is dm = w(g − ⟨w,g⟩/⟨w,1⟩)/temperature, with w = m(1−m)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: Tensor, temperature: float) -> Tensor:
        flat = values.flatten(1)
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
        flat = gradient.flatten(1)
        mean = (weight * flat).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1e-12)
        return (weight * (flat - mean) / ctx.temperature).reshape(gradient.shape), None, None
