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
    """

    timeline: Timeline
    sampled: tuple[int, ...]
    input: Floats
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Which moments and which pixels made a network answer as it does.

    target: the index of the explained output, whose scores all numbers are. clean: Φ(X).
    base: (C, T, H, W) float32 in the network's units, what masks reveal instead of the clip;
    base_score, window_base_score: Φ of it, and of what hid the windows. backend: why it was this
    one and no other is its reason. seconds: by stage.
    """

    source: Source
    network: Network
    settings: Settings
    target: int
    clean: float
    base: Floats
    base_score: float
    window_base_score: float
    temporal: TemporalImportance
    masks: tuple[ExtremalMask, ...]
    backend: Literal["autograd", "finite-difference"]
    backend_reason: str
    warnings: tuple[str, ...]
    forwards: int
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
    path: Path, network: Network, settings: Settings, progress: Progress | None = None
) -> Explanation:
    """Explain one clip. Raises ClipError, UsageError or ModelError."""
    progress = progress or Silent()
    seconds: dict[str, float] = {}
    with _timed(seconds, "read"):
        source = read_clip(path, network.model, settings)
    clip, prepare = source.input, network.model.preprocessing
    outputs = network.outputs(clip)
    target = resolve_target(settings.target, outputs, network.model.labels)
    clean = float(outputs[target])
    regression = network.port.output_kind == "value"
    if clean == 0:
        raise ClipError(
            f"{readable(path)}: the network's answer is 0, of which nothing can be lost",
            "choose another --target",
        )
    hidden = np.zeros((1, clip.shape[1]), np.float32)

    with _timed(seconds, "temporal"):
        window_scorer = network.scorer(clip, prepare.base(settings.window_base, clip), target)
        window_base_score = float(window_scorer.score(hidden)[0])
        sizes = window_sizes(clip.shape[1], settings.window_choice)
        progress.stage("when", len(enumerate_windows(clip.shape[1], sizes)))
        temporal = measure_importance(
            window_scorer,
            clean,
            sizes,
            alpha=settings.alpha,
            aggregate=settings.tis_aggregate,
            unit=clean if regression else 1.0,
            progress=progress.advance,
        )

    with _timed(seconds, "masks"):
        base = prepare.base(settings.base, clip)
        scorer = network.scorer(clip, base, target)
        base_score = float(scorer.score(hidden)[0])
        objective = Objective(clean, regression)
        gradients = differentiate(network, clip, base, target, objective, settings.backend)
        areas = settings.areas or (
            (DEFAULT_AREA,) if settings.target_score is None else AREA_LADDER
        )
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
        progress.stage("where", sum(fitter.budget(warm=index > 0) for index in range(len(areas))))
        enough = ENOUGH * clean if settings.target_score is None else settings.target_score
        masks = fit_areas(
            fitter,
            scorer,
            temporal.importance,
            areas,
            lambda score: score / clean >= enough / clean,
            stop_when_too_small=settings.areas is None,
            progress=progress.advance,
        )

    torch_clip = gradients.clip
    return Explanation(
        source=source,
        network=network,
        settings=settings,
        target=target,
        clean=clean,
        base=base,
        base_score=base_score,
        window_base_score=window_base_score,
        temporal=temporal,
        masks=masks,
        backend="finite-difference" if torch_clip is None else "autograd",
        backend_reason=gradients.reason,
        warnings=(
            *source.warnings,
            *_doubts(settings, clean, base_score, window_base_score, temporal, gradients),
            *_shortfalls(masks),
            *([] if any(mask.smallest for mask in masks) else [_too_small(masks, clean, enough)]),
        ),
        forwards=1
        + window_scorer.forwards
        + gradients.forwards
        + scorer.forwards
        + getattr(torch_clip, "forwards", 0),
        backwards=getattr(torch_clip, "backwards", 0),
        seconds=seconds,
    )


def read_clip(path: Path, model: Model, settings: Settings) -> Source:
    """Decode, sample and preprocess a clip for a network; only sampled frames are ever held."""
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
    return Source(timeline, sampled, model.preprocessing.clip(frames), (*damage, *warnings))


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
                f"the {kind} clip alone scores {score:.2f} where the clip scores {clean:.2f}: the "
                f"network is not blind to it; try another --{flag}"
            )
    if temporal.degenerate:
        yield "no window changes the score: the temporal importance is uniform"
    if gradients.warning:
        yield gradients.warning


def _shortfalls(masks: tuple[ExtremalMask, ...]) -> Iterator[str]:
    for mask in masks:
        if mask.effective_area < 0.98 * mask.area:
            yield (
                f"{mask.effective_area:.0%} is kept where {mask.area:.0%} was asked for: the other "
                "frames have no importance"
            )


def _too_small(masks: tuple[ExtremalMask, ...], clean: float, enough: float) -> str:
    best = max((mask.score for mask in masks), key=lambda score: score / clean)
    share = f"{enough / clean:.0%} of the answer, {enough:.2f}"
    return f"no mask of these areas keeps {share}; the best scores {best:.2f}"


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
