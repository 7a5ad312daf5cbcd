"""The pipeline: a clip and a network in, an explanation out."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiemcli import sampling, video
from tiemcli.errors import ClipError
from tiemcli.extremal.mask import AreaMask
from tiemcli.kernels.arrays import Floats
from tiemcli.methods import method
from tiemcli.methods.evidence import Evidence
from tiemcli.methods.scene import Scene
from tiemcli.model import Model
from tiemcli.progress import Progress, Silent
from tiemcli.result import readable
from tiemcli.scorers.endpoint import Asked
from tiemcli.scorers.network import Network
from tiemcli.settings import Settings
from tiemcli.target import resolve_target
from tiemcli.temporal import TemporalImportance
from tiemcli.video import Timeline

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
    base_score, window_base_score: Φ of it, and of what hid the windows. forwards: clips scored.
    computed: what they took, in forwards of the whole network. asked: what it took to ask a network
    that is elsewhere. seconds: by stage.
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
    evidence: Evidence
    warnings: tuple[str, ...]
    forwards: int
    computed: float
    backwards: int
    asked: Asked | None
    seconds: dict[str, float]

    @property
    def label(self) -> str | None:
        labels = self.network.model.labels
        return labels[self.target] if labels else None

    @property
    def temporal(self) -> TemporalImportance:
        return self.evidence.temporal

    @property
    def masks(self) -> tuple[AreaMask, ...]:
        return self.evidence.masks

    @property
    def shown(self) -> AreaMask:
        """The mask to look at: the smallest that is enough, or else the largest."""
        return next((mask for mask in self.masks if mask.smallest), self.masks[-1])


def explain(
    source: Source, network: Network, settings: Settings, progress: Progress | None = None
) -> Explanation:
    """Explain one clip. Raises ClipError, UsageError, ModelError or DeviceError."""
    clip, before = source.input, network.asked()
    outputs = network.outputs(clip)
    target = resolve_target(settings.target, outputs, network.model.labels)
    clean = float(outputs[target])
    if clean == 0:
        raise ClipError(
            f"{readable(source.timeline.path)}: the network's answer is 0, of which nothing can be lost",
            "choose another --target",
        )
    scene = Scene(network, settings, clip, target, clean, progress or Silent())
    nothing_kept = np.zeros((1, clip.shape[1]), np.float32)
    base_score, window_base_score = (
        float(scorer.score(nothing_kept)[0]) for scorer in (scene.scorer, scene.windows)
    )
    evidence = method(settings.method).find(scene)
    forwards, computed, backwards = scene.cost
    after = network.asked()
    return Explanation(
        source=source,
        network=network,
        settings=settings,
        target=target,
        clean=clean,
        enough=scene.enough,
        base=scene.base,
        base_score=base_score,
        window_base_score=window_base_score,
        evidence=evidence,
        warnings=(
            *source.warnings,
            *_doubts(settings, clean, base_score, window_base_score, evidence),
            *_shortfalls(evidence.masks, clean, scene.enough),
        ),
        forwards=1 + forwards,
        computed=1 + computed,
        backwards=backwards,
        asked=after.since(before) if before and after else None,
        seconds={"read": source.seconds, **scene.seconds},
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
    evidence: Evidence,
) -> Iterator[str]:
    """What a reader should know before believing the result."""
    bases = [(settings.base, base_score, "base")]
    if evidence.temporal.windows:
        bases.insert(0, (settings.window_base, window_base_score, "window-base"))
    for kind, score, flag in bases:
        if score / clean > TELLING_BASE:
            yield (
                f"the {kind} clip alone scores {score:.3g} where the clip scores {clean:.3g}: the "
                f"network is not blind to it; try another --{flag}"
            )
    if evidence.temporal.degenerate:
        if evidence.temporal.windows:
            yield "no window lowers the score: the temporal importance is uniform"
        else:
            yield "no pixel speaks for the target: the temporal importance is uniform"
    if evidence.warning:
        yield evidence.warning


def _shortfalls(masks: tuple[AreaMask, ...], clean: float, enough: float) -> Iterator[str]:
    """What was asked of the masks and is not so."""
    for mask in masks:
        # Whole pixels may fall short of a small area too, of which nothing is to be told.
        if mask.frame_areas.max() == 1 and mask.effective_area < 0.98 * mask.area:
            yield (
                f"{mask.effective_area:.0%} is kept where {mask.area:.0%} was asked for: the other "
                "frames have no importance"
            )
    if not any(mask.smallest for mask in masks):
        best = max((mask.score for mask in masks), key=lambda score: score / clean)
        share = f"{enough / clean:.0%} of the answer, {enough:.2f}"
        yield f"no mask of these areas keeps {share}; the best scores {best:.2f}"
