"""The pipeline: a clip and a network in, an explanation out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tiemcli import sampling, video
from tiemcli.errors import ClipError
from tiemcli.extremal.backend import Differentiation, differentiate, make_fitter
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.search import AREA_LADDER, ExtremalMask, fit_areas
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.windows import enumerate_windows, window_sizes
from tiemcli.model import Model
from tiemcli.progress import Progress, Silent
from tiemcli.result import readable
from tiemcli.scorers import Scorer
from tiemcli.scorers.network import Network
from tiemcli.settings import Settings
from tiemcli.target import resolve_target
from tiemcli.temporal import TemporalImportance, measure_importance
from tiemcli.video import Timeline

DEFAULT_AREA = 0.1
# Φ0 of Eq. 6 where none is given, as a share of Φ(X).
ENOUGH = 0.9
# A base that scores this share of what the clip scores hides little from the network.
TELLING_BASE = 0.5


@dataclass(frozen=True)
class Source:
    """A clip as one network is fed it.

    sampled: (T,) indices of source frames. input: (C, T, H, W) float32. warnings: what was amiss.
    seconds: how long it took to read.
    """

    timeline: Timeline
    sampled: tuple[int, ...]
    input: Floats
    warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Explanation:
    """Which moments and which pixels made a network answer as it does.

    target: the index of the explained output, whose scores all numbers are. clean: Φ(X). enough:
    Φ0, what a mask must score to keep the prediction.
    base: (C, T, H, W) float32 in the network's units, what masks reveal instead of the clip;
    base_score, window_base_score: Φ of it, and of what hid the windows. backend: why it was this
    one and no other is its reason. forwards: clips scored. computed: what they took, in forwards of
    the whole network. seconds: by stage.
    """

    source: Source
    network: Network
    settings: Settings
    target: int
    clean: float
    enough: float
    base: Floats
    base_score: float
    window_base_score: float
    temporal: TemporalImportance
    masks: tuple[ExtremalMask, ...]
    backend: Literal["autograd", "finite-difference"]
    backend_reason: str
    warnings: tuple[str, ...]
    forwards: int
    computed: float
    backwards: int
    seconds: dict[str, float]

    @property
    def label(self) -> str | None:
        labels = self.network.model.labels
        return labels[self.target] if labels else None

    @property
    def shown(self) -> ExtremalMask:
        """The mask to look at: the smallest that is enough, or else the largest."""
        return next((mask for mask in self.masks if mask.smallest), self.masks[-1])


def explain(
    source: Source, network: Network, settings: Settings, progress: Progress | None = None
) -> Explanation:
    """Explain one clip. Raises ClipError, UsageError or ModelError."""
    progress = progress or Silent()
    seconds = {"read": source.seconds}
    clip, prepare = source.input, network.model.preprocessing
    outputs = network.outputs(clip)
    target = resolve_target(settings.target, outputs, network.model.labels)
    clean = float(outputs[target])
    if clean == 0:
        raise ClipError(
            f"{readable(source.timeline.path)}: the network's answer is 0, of which nothing can be lost",
            "choose another --target",
        )
    regression = network.port.output_kind == "value"
    objective = Objective(clean, regression)
    enough = ENOUGH * clean if settings.target_score is None else settings.target_score
    nothing_kept = np.zeros((1, clip.shape[1]), np.float32)

    with _timed(seconds, "temporal"):
        windows = network.scorer(clip, prepare.base(settings.window_base, clip), target)
        window_base_score = float(windows.score(nothing_kept)[0])
        temporal = _find_when(windows, objective, settings, progress)
    with _timed(seconds, "masks"):
        base = prepare.base(settings.base, clip)
        scorer = network.scorer(clip, base, target)
        base_score = float(scorer.score(nothing_kept)[0])
        gradients = differentiate(network, clip, base, target, objective, settings.backend)
        masks = _find_where(
            scorer, target, objective, gradients, temporal, enough, settings, progress
        )

    forwards, backwards = gradients.cost
    return Explanation(
        source=source,
        network=network,
        settings=settings,
        target=target,
        clean=clean,
        enough=enough,
        base=base,
        base_score=base_score,
        window_base_score=window_base_score,
        temporal=temporal,
        masks=masks,
        backend="finite-difference" if gradients.clip is None else "autograd",
        backend_reason=gradients.reason,
        warnings=(
            *source.warnings,
            *_doubts(settings, clean, base_score, window_base_score, temporal, gradients),
            *_shortfalls(masks, clean, enough),
        ),
        forwards=1 + windows.forwards + scorer.forwards + forwards,
        computed=1 + windows.computed + scorer.computed + forwards,
        backwards=backwards,
        seconds=seconds,
    )


def _find_when(
    scorer: Scorer, objective: Objective, settings: Settings, progress: Progress
) -> TemporalImportance:
    """Stage 1."""
    frames = scorer.shape[0]
    sizes = window_sizes(frames, settings.window_choice)
    progress.stage("when", len(enumerate_windows(frames, sizes)))
    return measure_importance(
        scorer,
        objective.clean,
        sizes,
        alpha=settings.alpha,
        aggregate=settings.tis_aggregate,
        unit=objective.clean if objective.regression else 1.0,
        progress=progress.advance,
    )


def _find_where(
    scorer: Scorer,
    target: int,
    objective: Objective,
    gradients: Differentiation,
    temporal: TemporalImportance,
    enough: float,
    settings: Settings,
    progress: Progress,
) -> tuple[ExtremalMask, ...]:
    """Stage 2."""
    fitter = make_fitter(
        gradients.clip,
        scorer,
        target,
        objective,
        constraint=settings.constraint,
        iterations=settings.iterations,
        queries=settings.queries,
        estimator=settings.estimator,
        random=np.random.default_rng(settings.seed),
    )
    searching = settings.areas is None and settings.target_score is not None
    areas = AREA_LADDER if searching else settings.areas or (DEFAULT_AREA,)
    progress.stage("where", sum(fitter.budget(warm=index > 0) for index in range(len(areas))))
    return fit_areas(
        fitter,
        scorer,
        temporal.importance,
        areas,
        lambda score: score / objective.clean >= enough / objective.clean,
        stop_when_too_small=searching,
        progress=progress.advance,
    )


def read_clip(path: Path, model: Model, settings: Settings) -> Source:
    """Decode, sample and preprocess a clip for a network; only sampled frames are ever held.

    Raises ClipError or UsageError.
    """
    began = time.perf_counter()
    timeline = video.scan(path)
    sampled, warnings = sampling.choose(
        timeline.timestamps,
        model.sizes["T"],
        mode=settings.sampling,
        stride=settings.stride or model.stride,
        start=settings.start,
        end=settings.end,
    )
    frames = np.stack(video.read(timeline, sampled, model.preprocessing.fit))
    damage = (f"damaged clip: {timeline.damaged}",) if timeline.damaged else ()
    clip = model.preprocessing.clip(frames)
    seconds = time.perf_counter() - began
    return Source(timeline, sampled, clip, (*damage, *warnings), seconds)


def _doubts(
    settings: Settings,
    clean: float,
    base_score: float,
    window_base_score: float,
    temporal: TemporalImportance,
    gradients: Differentiation,
) -> Iterator[str]:
    """What a reader should know before believing the result."""
    bases = (
        (settings.window_base, window_base_score, "window-base"),
        (settings.base, base_score, "base"),
    )
    for kind, score, flag in bases:
        if score / clean > TELLING_BASE:
            yield (
                f"the {kind} clip alone scores {score:.3g} where the clip scores {clean:.3g}: the "
                f"network is not blind to it; try another --{flag}"
            )
    if temporal.degenerate:
        yield "no window lowers the score: the temporal importance is uniform"
    if gradients.warning:
        yield gradients.warning


def _shortfalls(masks: tuple[ExtremalMask, ...], clean: float, enough: float) -> Iterator[str]:
    """What was asked of the masks and is not so."""
    for mask in masks:
        if mask.effective_area < 0.98 * mask.area:
            yield (
                f"{mask.effective_area:.0%} is kept where {mask.area:.0%} was asked for: the other "
                "frames have no importance"
            )
    if not any(mask.smallest for mask in masks):
        best = max((mask.score for mask in masks), key=lambda score: score / clean)
        share = f"{enough / clean:.0%} of the answer, {enough:.2f}"
        yield f"no mask of these areas keeps {share}; the best scores {best:.2f}"


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
