"""Several methods on one clip, measured alike."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from tiemcli.batch import prepare
from tiemcli.errors import ClipError, TiemError, UsageError
from tiemcli.kernels.arrays import Doubles
from tiemcli.methods import METHODS
from tiemcli.methods.scene import DEFAULT_AREA
from tiemcli.metrics.faithfulness import realised_areas
from tiemcli.metrics.measures import CURVE_BASES, Measures, measure
from tiemcli.metrics.randomisation import randomised, similarity
from tiemcli.metrics.region import Viewing
from tiemcli.metrics.signature import signature_frames
from tiemcli.metrics.summary import Spread, spread
from tiemcli.metrics.truth import Truth, read_truth_file
from tiemcli.model import Model
from tiemcli.outputs.folder import check_folder
from tiemcli.pipeline import Explanation, Source, explain, read_clip
from tiemcli.progress import Progress
from tiemcli.request import Request
from tiemcli.result import readable
from tiemcli.scorers import Scorer
from tiemcli.scorers.network import Network, load_network
from tiemcli.settings import CURVE_STEPS, PRESETS, Base, Method, Settings
from tiemcli.target import resolve_target

UNKNOWN = Truth(None, None)


@dataclass(frozen=True)
class Comparison:
    """What one command asks for. folder: of what is written. contestants: methods, or presets of tiem.
    signature: text that names frames. truth: a truth file. seeds: runs of each method. steps: of the
    curves. randomise: whether to explain the network with its weights shuffled, too."""

    request: Request
    clip: Path
    folder: Path
    contestants: tuple[str, ...]
    signature: str | None = None
    truth: Path | None = None
    seeds: int = 1
    steps: int = CURVE_STEPS
    randomise: bool = False

    def __post_init__(self) -> None:
        known = (*METHODS, *PRESETS)
        for name in self.contestants:
            if name not in known:
                raise UsageError(f"--methods {name}", f"choose from {', '.join(known)}")
        for flag, value, least in (("seeds", self.seeds, 1), ("steps", self.steps, 2)):
            if value < least:
                raise UsageError(f"--{flag} {value}", f"give {least} or more")
        if len(self.request.settings.areas or ()) > 1:
            raise UsageError("methods are compared at one area", "give one --area")

    @property
    def area(self) -> float:
        """The share of the clip that every method keeps."""
        return (self.request.settings.areas or (DEFAULT_AREA,))[0]


@dataclass(frozen=True)
class Entry:
    """One method's outcome. explanation: of the first seed, with the one mask that is compared.
    measures: a seed each. seconds: that a seed took. similarity: the rank correlation of its saliency
    with that of the network with shuffled weights; None if nobody asked, NaN of a flat saliency."""

    name: str
    explanation: Explanation
    measures: tuple[Measures, ...]
    seconds: float
    similarity: float | None

    def spreads(self) -> dict[str, Spread]:
        """Each metric over the seeds, by name; without those that a seed could not say."""
        told = [measures.known() for measures in self.measures]
        names = [name for name in told[0] if all(name in known for known in told)]
        return {name: spread([known[name] for known in told]) for name in names}


@dataclass(frozen=True)
class Refusal:
    """A method that cannot explain this network or this clip, or not as it was asked to, and why."""

    name: str
    error: TiemError


def begin(comparison: Comparison) -> tuple[Network, Source, Truth]:
    """Load the network, read the clip, and see what is known of it. Raises TiemError."""
    request = comparison.request
    network = prepare(request)
    check_folder(comparison.folder)
    clip = comparison.clip
    source = read_clip(clip, network.model, request.settings)
    return network, source, _truth(comparison, source, network.model)


def viewing(source: Source, model: Model) -> Viewing:
    """What the network is shown of a clip, for truth that is drawn on the source."""
    timeline = source.timeline
    return Viewing(
        frames=timeline.frames,
        width=timeline.width,
        height=timeline.height,
        sampled=source.sampled,
        timestamps=timeline.timestamps[list(source.sampled)],
        preprocessing=model.preprocessing,
    )


def entries(
    comparison: Comparison, network: Network, source: Source, truth: Truth, progress: Progress
) -> Iterator[Entry | Refusal]:
    """Explain the clip by each method in turn, and measure what it finds.

    Raises UsageError for a target that there is not; what one method cannot do is its refusal.
    """
    settings = comparison.request.settings
    answers = network.outputs(source.input)
    # The same for all, whatever a shuffled network answers.
    settings = replace(
        settings, target=common_target(settings.target, answers, network.model.labels)
    )
    stranger = _shuffled(network, comparison.request) if comparison.randomise else None
    curves: dict[Base, Scorer] = {}
    for name in comparison.contestants:
        began = time.perf_counter()
        try:
            explanations = [
                _explained(name, seed, comparison, settings, source, network, progress)
                for seed in range(settings.seed, settings.seed + comparison.seeds)
            ]
            first, seconds = explanations[0], time.perf_counter() - began
        except TiemError as error:
            yield Refusal(name, error)
            continue
        alike = None
        if stranger is not None:
            # Shuffled weights often saturate the answer, which then has no gradient to look at.
            with suppress(ClipError):
                other = _explained(
                    name, settings.seed, comparison, settings, source, stranger, progress
                )
                alike = similarity(first.evidence.saliency, other.evidence.saliency)
        if not curves:
            curves = curve_scorers(network, first)
        progress.stage(
            f"measuring {name}", 2 * len(curves) * (comparison.steps + 1) * len(explanations)
        )
        yield Entry(
            name,
            first,
            tuple(
                _measured(explanation, truth, curves, comparison.steps, progress)
                for explanation in explanations
            ),
            seconds / len(explanations),
            alike,
        )


def common_target(wanted: str | None, answers: Doubles, labels: Sequence[str]) -> str:
    """What all explain, by number unless that is a label. answers: (K,). Raises UsageError."""
    index = resolve_target(wanted, answers, labels)
    return labels[index] if str(index) in labels else str(index)


def curve_scorers(network: Network, explanation: Explanation) -> dict[Base, Scorer]:
    """The explained clip over each base of the curves."""
    clip = explanation.source.input
    return {
        kind: network.scorer(clip, network.model.preprocessing.base(kind, clip), explanation.target)
        for kind in CURVE_BASES
    }


def contestants(text: str) -> tuple[str, ...]:
    """The names in a list such as `tiem,rise`, each once; `all` stands for every method."""
    names = [name.strip() for name in text.split(",")]
    every = [name for given in names for name in (METHODS if given == "all" else (given,))]
    return tuple(dict.fromkeys(every))


def settings_of(name: str, settings: Settings, area: float) -> Settings:
    """A contestant's settings: a method as everything else was asked for, or a preset of tiem."""
    if name in METHODS:
        return replace(settings, method=cast(Method, name), areas=(area,))
    preset = PRESETS[name]
    areas = tuple(sorted({area, *preset.get("areas", ())}))
    return replace(settings, **{**preset, "method": "tiem", "areas": areas})


def _explained(
    name: str,
    seed: int,
    comparison: Comparison,
    settings: Settings,
    source: Source,
    network: Network,
    progress: Progress,
) -> Explanation:
    """The clip explained, its masks left out but the one of the area that is compared."""
    chosen = replace(settings_of(name, settings, comparison.area), seed=seed)
    explanation = explain(source, network, chosen, progress)
    (mask,) = (mask for mask in explanation.masks if mask.area == comparison.area)
    return replace(explanation, evidence=replace(explanation.evidence, masks=(mask,)))


def _measured(
    explanation: Explanation,
    truth: Truth,
    curves: Mapping[Base, Scorer],
    steps: int,
    progress: Progress,
) -> Measures:
    mask = explanation.shown
    return measure(
        explanation.evidence.saliency,
        mask.hard,
        clean=explanation.clean,
        score=mask.score,
        enough=explanation.enough,
        regression=explanation.network.port.output_kind == "value",
        truth=truth,
        curves=curves,
        random=np.random.default_rng(explanation.settings.seed),
        steps=steps,
        progress=progress.advance,
    )


def _truth(comparison: Comparison, source: Source, model: Model) -> Truth:
    """What the command and its truth file say; the command's signature wins."""
    seen = viewing(source, model)
    truth = UNKNOWN
    if comparison.truth is not None:
        clip = comparison.clip
        found = read_truth_file(comparison.truth).of(clip, seen)
        if found is None:
            raise UsageError(f"{comparison.truth} does not name {clip.name}", "add the clip to it")
        truth = found
    if comparison.signature is not None:
        truth = replace(truth, signature=signature_frames(comparison.signature, seen.timestamps))
    return truth


def _shuffled(network: Network, request: Request) -> Network:
    model = randomised(network.model, np.random.default_rng(request.settings.seed))
    return load_network(model, request.device, request.batch_size, request.memory)


def record(
    comparison: Comparison, outcomes: list[Entry | Refusal], files: Mapping[str, str]
) -> dict[str, Any]:
    """The comparison as JSON holds it; there is an entry at least."""
    request = comparison.request
    entries = [outcome for outcome in outcomes if isinstance(outcome, Entry)]
    first = entries[0].explanation
    return {
        "clip": readable(comparison.clip),
        "model": request.model,
        "target": {"index": first.target, "label": first.label, "score": first.clean},
        "area": comparison.area,
        "seeds": comparison.seeds,
        "rows": [_entry_record(entry) for entry in entries],
        "failures": [
            {"method": refusal.name, "error": refusal.error.message, "hint": refusal.error.hint}
            for refusal in outcomes
            if isinstance(refusal, Refusal)
        ],
        "files": dict(files),
    }


def _entry_record(entry: Entry) -> dict[str, Any]:
    explanation, similar = entry.explanation, entry.similarity
    metrics = {
        name: {"mean": found.mean, "std": None if found.count == 1 else found.std}
        for name, found in entry.spreads().items()
    }
    return {
        "method": entry.name,
        "metrics": metrics,
        "similarity_to_random_weights": None if similar is None or math.isnan(similar) else similar,
        "importance": explanation.temporal.importance.tolist(),
        "frame_areas": realised_areas(explanation.shown.hard).tolist(),
        "cost": {
            "forwards": explanation.forwards,
            "computed": round(explanation.computed, 2),
            "backwards": explanation.backwards,
            "seconds": round(entry.seconds, 3),
        },
    }
