"""How fast a network runs, whether it can be differentiated, and what an explanation would cost."""

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from tiemcli.errors import ClipError
from tiemcli.extremal.backend import CELLS, Differentiation, differentiate, make_fitter
from tiemcli.extremal.mask import Fitter, MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.stopping import CHECK_EVERY
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.windows import enumerate_windows, window_membership, window_sizes
from tiemcli.methods.scene import DEFAULT_AREA
from tiemcli.scorers import Scorer
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.network import Network
from tiemcli.settings import Settings

# How long to look for the best batch, and how many gradients and queries to time.
SEARCH_SECONDS = 3.0
GRADIENTS, QUERIES = 5, 8
# What an explanation asks beside windows and fits: the clip, and what hides it in either stage.
ANCHORS = 3


@dataclass(frozen=True)
class Speed:
    """The best batch that was found, in clips, and the evaluations a second in it."""

    batch: int
    evaluations_per_second: float


@dataclass(frozen=True)
class Autograd:
    """Whether the network can be differentiated. reason: why not. warning: what to doubt if it can.

    seconds, cpu_seconds: of one gradient, on the clock and summed over processors; None without.
    """

    works: bool
    reason: str
    warning: str
    seconds: float | None
    cpu_seconds: float | None


@dataclass(frozen=True)
class Cost:
    """What one explanation takes, at most. forwards: evaluations of the whole network, those in front
    of a gradient and those of masks on the way included; what windows share is not taken off."""

    forwards: int
    backwards: int
    seconds: float


@dataclass(frozen=True)
class RunningCost:
    """Measured on one clip. windows: of stage 1. autograd: None where there are no gradients."""

    speed: Speed
    gradient: Autograd
    windows: int
    autograd: Cost | None
    queries: Cost


def measure(network: Network, clip: Floats, settings: Settings) -> RunningCost:
    """Run the network on a clip (C, T, H, W) float32, and count what `settings` ask for.

    Raises ClipError where the clip's answer is 0 or no number.
    """
    outputs = network.outputs(clip)
    target = int(outputs.argmax())
    clean = float(outputs[target])
    if clean == 0:
        raise ClipError("the network's answer to the sample clip is 0: its cost is not measured")
    objective = Objective(clean, network.port.output_kind == "value")
    base = network.model.preprocessing.base(settings.base, clip)
    scorer = network.whole(clip, base, target)
    speed = measure_speed(scorer, network.batching)
    gradients = differentiate(network, clip, base, target, objective, "auto")

    def fitter(found: Differentiation, iterations: int | None) -> Fitter:
        return make_fitter(
            found.clip,
            scorer,
            target,
            objective,
            constraint=settings.constraint or "exact",
            iterations=iterations,
            queries=settings.queries,
            estimator=settings.estimator,
            random=np.random.default_rng(settings.seed),
        )

    frames = clip.shape[1]
    windows = len(enumerate_windows(frames, window_sizes(frames, settings.window_choice)))
    areas = settings.areas or (DEFAULT_AREA,)
    asked = ANCHORS + windows + len(areas)
    rate = speed.evaluations_per_second
    shared = windows * network.reuse.saved if network.reuse else 0.0

    def budgets(fitter: Fitter) -> list[int]:
        return [fitter.budget(warm=index > 0) for index in range(len(areas))]

    queries = sum(budgets(fitter(Differentiation(None), settings.iterations)))
    seconds = (asked - shared) / rate + queries * _time_of_a_query(scorer)
    by_queries = Cost(asked + queries, 0, seconds)
    if gradients.clip is None:
        gradient = Autograd(False, gradients.reason, "", None, None)
        return RunningCost(speed, gradient, windows, None, by_queries)
    seconds, cpu_seconds = _time_of_a_gradient(fitter(gradients, 1 + GRADIENTS), frames)
    asked += gradients.forwards
    steps = budgets(fitter(gradients, settings.iterations))
    if settings.constraint != "penalty":
        asked += sum(-(-count // CHECK_EVERY) for count in steps)
    backwards = sum(steps)
    spent = (asked - shared) / rate + backwards * seconds
    by_autograd = Cost(asked + backwards, backwards, spent)
    gradient = Autograd(True, "", gradients.warning, seconds, cpu_seconds)
    return RunningCost(speed, gradient, windows, by_autograd, by_queries)


def measure_speed(scorer: Scorer, batching: Batching) -> Speed:
    """Score windows, as stage 1 does, while `batching` looks for the best batch."""
    frames = scorer.shape[0]
    keep = 1 - window_membership(frames, enumerate_windows(frames, window_sizes(frames)))
    taken: dict[int, list[float]] = {}
    end = time.perf_counter() + SEARCH_SECONDS
    while time.perf_counter() < end or max(map(len, taken.values()), default=0) < 2:
        clips = batching.size
        began = time.perf_counter()
        scorer.score(np.resize(keep, (clips, frames)))
        taken.setdefault(clips, []).append(time.perf_counter() - began)
    # The first run at a new size pays for its allocations.
    rates = {clips: clips / median(seconds[1:]) for clips, seconds in taken.items() if seconds[1:]}
    best = max(rates, key=lambda clips: rates[clips])
    return Speed(best, rates[best])


def _time_of_a_gradient(fitter: Fitter, frames: int) -> tuple[float, float]:
    """Seconds on the clock, and of processors, that a step of a fit takes once it is under way.

    Each step waits for the one before, on a GPU too: it sends the upsampling there.
    """
    marks: list[tuple[float, float]] = []

    def mark(done: int) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    fitter.fit(np.full(frames, DEFAULT_AREA), None, mark)
    steps = np.diff(np.array(marks), axis=0)
    wall, cpu = np.median(steps, axis=0)
    return float(wall), float(cpu)


def _time_of_a_query(scorer: Scorer) -> float:
    """Seconds that it takes to make a mask of the exact area, as the search does, and to score it."""
    space = MaskSpace.across(scorer.shape, CELLS["finite-difference"])
    cells = np.random.default_rng(0).standard_normal((QUERIES, *space.cells), np.float32)
    began = time.perf_counter()
    masks = space.hard(cells, space.counts(np.full(scorer.shape[0], DEFAULT_AREA)))
    scorer.score(masks)
    return (time.perf_counter() - began) / QUERIES
