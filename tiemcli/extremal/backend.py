"""Which backend fits the masks: gradients where the network verifiably has them, else queries."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tiemcli.errors import ModelError
from tiemcli.extremal import Constraint, Fitter, MaskSpace, Objective
from tiemcli.extremal.finite_difference import Estimator, FiniteDifferenceFitter
from tiemcli.kernels.arrays import Floats
from tiemcli.scorers import Scorer
from tiemcli.scorers.network import Network

if TYPE_CHECKING:
    from tiemcli.extremal.autograd import TorchClip

Backend = Literal["auto", "autograd", "finite-difference"]

# How far the differentiable form may be from ONNX Runtime, in units of the outputs' range:
# quantised networks round, and rounding is where the two differ.
TOLERANCE, QUANTISED_TOLERANCE = 1e-3, 0.1
# A step along the gradient's smooth direction, and how far its slope may be from the gradient's.
PROBE_STEP, SLOPE_TOLERANCE = 0.1, 0.25
# Cells across a frame's shorter side. Queries find fewer of them.
CELLS = {"autograd": 16, "finite-difference": 8}


@dataclass(frozen=True)
class Differentiation:
    """The outcome of trying to differentiate a network on a clip.

    clip: None where it cannot be done. reason: why not. warning: what to tell if it can.
    """

    clip: "TorchClip | None"
    reason: str = ""
    warning: str = ""


def differentiate(
    network: Network,
    clip: Floats,
    base: Floats,
    target: int,
    objective: Objective,
    wanted: Backend,
) -> Differentiation:
    """Try to differentiate the network, and verify it on this clip against ONNX Runtime.

    clip, base: (C, T, H, W) float32. Raises ModelError, with the reason, if autograd was asked for
    by name and cannot be had.
    """
    if wanted == "finite-difference":
        return Differentiation(None, "asked for")
    outcome = _attempt(network, clip, base, target, objective)
    if outcome.clip is None and wanted == "autograd":
        raise ModelError(f"no gradients: {outcome.reason}", "use --backend finite-difference")
    return outcome


def _attempt(
    network: Network, clip: Floats, base: Floats, target: int, objective: Objective
) -> Differentiation:
    try:
        import torch

        from tiemcli.extremal.autograd import TorchClip
        from tiemcli.gradients import Differentiable, Unsupported
    except ImportError:
        return Differentiation(None, "torch is not installed (pip install 'tiem[torch]')")
    device = "cuda" if network.on_cuda and torch.cuda.is_available() else "cpu"
    try:
        module = Differentiable(network.model.with_weights(), device)
    except Unsupported as error:
        return Differentiation(None, str(error))
    torch_clip = TorchClip(module, network.port, clip, base, network.model.batch or 1, device)
    return _verify(torch_clip, network, clip, base, target, objective)


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

    shape = clip.shape[1:]
    half = torch.full(shape, 0.5, device=torch_clip.device, requires_grad=True)
    try:
        reward = torch_clip.reward(half, target, objective)
        (gradient,) = torch.autograd.grad(reward, half)
    except RuntimeError as error:
        return Differentiation(None, f"it does not run under autograd: {error}")
    scorer = network.scorer(clip, base, target)
    quantised = network.quantised
    tolerance = QUANTISED_TOLERANCE if quantised else TOLERANCE
    expected = objective(scorer.score(np.full((1, shape[0]), 0.5, np.float32)))[0]
    gap = abs(float(reward.detach()) - expected)
    if not gap <= tolerance * max(1.0, abs(expected)):
        return Differentiation(None, f"its forward pass differs from ONNX Runtime's by {gap:.2g}")
    if not torch.isfinite(gradient).all() or not gradient.any():
        return Differentiation(None, "its gradient is zero or not finite")
    if _slope_agrees(gradient.cpu().numpy(), scorer, objective):
        return Differentiation(torch_clip)
    doubt = "its gradient and a difference of its scores disagree along a smooth direction"
    return Differentiation(None, doubt) if quantised else Differentiation(torch_clip, warning=doubt)


def _slope_agrees(gradient: Floats, scorer: Scorer, objective: Objective) -> bool:
    """Whether scores rise along the gradient's coarse direction as fast as the gradient says."""
    space = MaskSpace.across(scorer.shape, 8)
    rows, columns = space.upsampling.rows, space.upsampling.columns
    direction = np.sign(rows.T @ gradient @ columns)
    step = PROBE_STEP * space.upsampling(direction.astype(np.float32))
    up, down = objective(scorer.score(np.stack([0.5 + step, 0.5 - step]).astype(np.float32)))
    predicted = 2 * float((gradient * step).sum())
    return bool(abs((up - down) - predicted) <= SLOPE_TOLERANCE * abs(predicted))


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
) -> Fitter:
    """The fitter of the backend that `differentiate` settled on: autograd if it gave a clip."""
    backend = "autograd" if clip is not None else "finite-difference"
    space = MaskSpace.across(scorer.shape, cells or CELLS[backend])
    if clip is None:
        return FiniteDifferenceFitter(
            scorer, objective, space, constraint, estimator, queries, random
        )
    from tiemcli.extremal.autograd import DEFAULT_ITERATIONS, AutogradFitter

    iterations = iterations or DEFAULT_ITERATIONS[constraint]
    return AutogradFitter(clip, target, objective, space, constraint, iterations, random)
