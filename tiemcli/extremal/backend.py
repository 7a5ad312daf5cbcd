"""Which backend fits the masks: gradients where the network verifiably has them, else queries."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiemcli.errors import ClipError, ModelError, first_line
from tiemcli.extremal.finite_difference import FiniteDifferenceFitter
from tiemcli.extremal.mask import Fitter, MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.kernels.arrays import Floats
from tiemcli.scorers import Scorer
from tiemcli.scorers.network import Network
from tiemcli.settings import Backend, Constraint, Estimator

if TYPE_CHECKING:
    from tiemcli.extremal.torch_clip import TorchClip

# How far the differentiable form may be from ONNX Runtime, in units of the outputs' range:
# quantised networks round, and rounding is where the two differ.
TOLERANCE, QUANTISED_TOLERANCE = 1e-3, 0.1
# Steps along the gradient's smooth direction, and how far a slope may be from the gradient's: a long
# one is above the steps of a quantised network, a short one below the curvature of another.
PROBE_STEPS, SLOPE_TOLERANCE = (0.1, 0.02), 0.25
# Cells across a frame's shorter side. Queries find fewer of them.
CELLS = {"autograd": 16, "finite-difference": 8}


@dataclass(frozen=True)
class Differentiation:
    """The outcome of trying to differentiate a network on a clip.

    clip: None where it cannot be done. reason: why not. warning: what to tell if it can. forwards:
    clips scored to find out.
    """

    clip: "TorchClip | None"
    reason: str = ""
    warning: str = ""
    forwards: int = 0

    @property
    def cost(self) -> tuple[int, int]:
        """Forwards and backwards so far, those of the fits included."""
        if self.clip is None:
            return self.forwards, 0
        return self.forwards + self.clip.forwards, self.clip.backwards


def differentiate(
    network: Network,
    clip: Floats,
    base: Floats,
    target: int,
    objective: Objective,
    wanted: Backend,
) -> Differentiation:
    """Try to differentiate the network, and verify it on this clip against ONNX Runtime.

    clip, base: (C, T, H, W) float32. If autograd was asked for by name and cannot be had, raises
    ModelError where the network is to blame, ClipError where it may be had on another clip.
    """
    if wanted == "finite-difference":
        return Differentiation(None, "asked for")
    hint = "use --backend finite-difference"
    try:
        module = network.differentiable
    except ModelError as error:
        if wanted == "autograd":
            raise ModelError(f"no gradients: {error.message}", hint) from error
        return Differentiation(None, error.message)
    from tiemcli.extremal.torch_clip import TorchClip

    torch_clip = TorchClip(module, network.port, clip, base, network.model.batch or 1)
    outcome = _verify(torch_clip, network, clip, base, target, objective)
    if outcome.clip is None and wanted == "autograd":
        raise ClipError(f"no gradients on this clip: {outcome.reason}", hint)
    return outcome


def _verify(
    torch_clip: "TorchClip",
    network: Network,
    clip: Floats,
    base: Floats,
    target: int,
    objective: Objective,
) -> Differentiation:
    """Outputs against ONNX Runtime's, then the gradient against a difference of its scores."""
    import torch

    scorer = network.scorer(clip, base, target)
    whole, half = (
        np.ones((1, clip.shape[1]), np.float32),
        np.full((1, clip.shape[1]), 0.5, np.float32),
    )
    keep = torch.full(clip.shape[1:], 0.5, device=torch_clip.device, requires_grad=True)
    try:
        answers = [torch_clip.answers(torch.ones_like(keep)), torch_clip.answers(keep)]
        reward = torch_clip.reward(keep, target, objective)
        (gradient,) = torch.autograd.grad(reward, keep)
    except RuntimeError as error:
        return Differentiation(None, f"it does not run under autograd: {first_line(error)}")
    expected = scorer.outputs(np.concatenate([whole, half]))
    gap = np.abs(np.stack([answer.detach().cpu().numpy() for answer in answers]) - expected).max()
    unit = max(1e-12, float(np.abs(expected).max())) if objective.regression else 1.0
    quantised = network.quantised
    tolerance = QUANTISED_TOLERANCE if quantised else TOLERANCE
    reason = doubt = ""
    if not gap <= tolerance * unit:
        reason = f"its answer differs from ONNX Runtime's by {gap / unit:.2g} of the range"
    elif not torch.isfinite(gradient).all() or not gradient.any():
        reason = "its gradient is zero or not finite"
    elif not _slope_agrees(gradient.cpu().numpy(), scorer, objective):
        doubt = "its gradient and a difference of its scores disagree along a smooth direction"
        reason = doubt if quantised else ""
    forwards = scorer.forwards + torch_clip.forwards
    torch_clip.forwards = 0
    return Differentiation(
        None if reason else torch_clip, reason, "" if reason else doubt, forwards
    )


def _slope_agrees(gradient: Floats, scorer: Scorer, objective: Objective) -> bool:
    """Whether scores rise along the gradient's coarse direction as fast as the gradient says."""
    space = MaskSpace.across(scorer.shape, 8)
    rows, columns = space.upsampling.rows, space.upsampling.columns
    direction = np.sign(rows.T @ gradient @ columns)
    smooth = space.upsampling(direction.astype(np.float32))
    for length in PROBE_STEPS:
        step = length * smooth
        up, down = objective(scorer.score(np.stack([0.5 + step, 0.5 - step]).astype(np.float32)))
        predicted = 2 * float((gradient * step).sum())
        if abs((up - down) - predicted) <= SLOPE_TOLERANCE * abs(predicted):
            return True
    return False


def make_fitter(
    clip: "TorchClip | None",
    scorer: Scorer,
    target: int,
    objective: Objective,
    *,
    constraint: Constraint,
    iterations: int | None,
    queries: int,
    estimator: Estimator,
    random: np.random.Generator,
    cells: int | None = None,
    continuity: float = 0.0,
) -> Fitter:
    """The fitter of the backend that `differentiate` settled on: autograd if it gave a clip.

    continuity: of autograd's masks over frames; queries have a prior of their own for that.
    """
    backend = "autograd" if clip is not None else "finite-difference"
    space = MaskSpace.across(scorer.shape, cells or CELLS[backend])
    if clip is None:
        return FiniteDifferenceFitter(
            scorer, objective, space, constraint, estimator, queries, random
        )
    from tiemcli.extremal.autograd import DEFAULT_ITERATIONS, AutogradFitter

    iterations = iterations or DEFAULT_ITERATIONS[constraint]
    return AutogradFitter(
        clip, scorer, target, objective, space, constraint, iterations, continuity, random
    )
