"""Metrics of explanations that are stored: results, the arrays beside them, and what is known."""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tiemcli.connection import Connection
from tiemcli.errors import ClipError, UsageError, first_line
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.layout import from_layout
from tiemcli.methods.scene import ENOUGH
from tiemcli.metrics.faithfulness import average_drop
from tiemcli.metrics.measures import CURVE_BASES, Measures, measure
from tiemcli.metrics.pointing import temporal_pointing
from tiemcli.metrics.region import Viewing
from tiemcli.metrics.signature import signature_frames
from tiemcli.metrics.truth import Truth, TruthFile, read_truth_file
from tiemcli.preprocess import Preprocessing
from tiemcli.progress import Progress
from tiemcli.result import ENDING, MaskRecord, Result, readable
from tiemcli.scorers import Scorer
from tiemcli.scorers.loading import is_outside, load
from tiemcli.scorers.network import Network
from tiemcli.settings import CURVE_STEPS, Base


@dataclass(frozen=True)
class Evaluation:
    """What one command asks for. results: files, or folders of them. model: where the network lies now,
    None for where each result says. signature: of every clip, as text. truth: a truth file. steps: of
    the curves, 0 to leave them out. Raises UsageError."""

    results: tuple[Path, ...]
    model: str | None = None
    signature: str | None = None
    truth: Path | None = None
    steps: int = CURVE_STEPS
    device: str = "auto"
    batch_size: int | None = None
    custom_ops: tuple[Path, ...] = ()
    connection: Connection = field(default_factory=Connection)

    def __post_init__(self) -> None:
        if self.steps < 0 or self.steps == 1:
            raise UsageError(f"--steps {self.steps}", "give 2 or more, or 0 for none")

    @cached_property
    def known(self) -> TruthFile | None:
        """The truth file, read once."""
        return None if self.truth is None else read_truth_file(self.truth)


@dataclass(frozen=True)
class Evaluated:
    """One mask of one result, measured. missing: why some metrics are not there."""

    path: Path
    result: Result
    mask: MaskRecord
    measures: Measures
    missing: str


def result_files(given: Sequence[Path]) -> tuple[Path, ...]:
    """The results among files and folders, each once. Raises UsageError where there are none."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += sorted(path.rglob(f"*{ENDING}"))
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{readable(path)}: no such file", "give CLIP.tiem.json or a folder")
    if not found:
        raise UsageError(
            f"{', '.join(map(readable, given))}: no {ENDING} in there",
            "explain clips into it first",
        )
    return tuple(dict.fromkeys(found))


def read_result(path: Path) -> Result:
    """Raises ClipError for a file that is no result."""
    try:
        return Result.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ClipError(f"{readable(path)}: {error.strerror}", "give CLIP.tiem.json") from error
    except ValueError as error:
        raise ClipError(
            f"{readable(path)} is no result of this version of tiem",
            "give CLIP.tiem.json, or explain the clip again with -f",
        ) from error


def evaluate(
    evaluation: Evaluation, path: Path, networks: "Networks", progress: Progress
) -> Iterator[Evaluated]:
    """Measure every mask of one result. Raises ClipError, UsageError or ModelError."""
    result = read_result(path)
    truth, untold = _truth(evaluation, result)
    if result.files.arrays is None:
        bare = "no arrays beside it: explain with --format npz for the metrics of pixels"
        for mask in result.masks:
            measures = _without_pixels(result, mask, truth)
            yield Evaluated(path, result, mask, measures, _joined(untold, bare))
        return
    arrays = _arrays(path.with_name(result.files.arrays), result)
    network, unscored = networks.of(result) if evaluation.steps else (None, "")
    curves: dict[Base, Scorer] = {}
    if network is not None:
        model = network.model
        clip = from_layout(arrays["input"], model.layout, model.sizes)[0].astype(np.float32)
        curves = {
            kind: network.scorer(clip, model.preprocessing.base(kind, clip), result.target.index)
            for kind in CURVE_BASES
        }
    wished = result.settings.get("target_score")
    for mask, hard in zip(result.masks, arrays["keep_hard"], strict=True):
        progress.stage(f"measuring {path.name}", 2 * len(curves) * (evaluation.steps + 1))
        measures = measure(
            arrays["saliency"],
            hard,
            clean=result.target.score,
            score=mask.score,
            enough=ENOUGH * result.target.score if wished is None else wished,
            regression=result.model.output_kind == "value",
            truth=truth,
            curves=curves,
            random=np.random.default_rng(result.seed),
            steps=evaluation.steps,
            progress=progress.advance,
        )
        yield Evaluated(path, result, mask, measures, _joined(untold, unscored))
        curves = {}  # they are the saliency's, not the mask's


class Networks:
    """The networks of results, each loaded once."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._load = lru_cache(maxsize=2)(self._loaded)

    def of(self, result: Result) -> tuple[Network | None, str]:
        """The network that a result is of, or why there is none."""
        source = self._evaluation.model or result.model.path
        if not (is_outside(source) or Path(source).exists()):
            return None, f"{source} is not there: give -m for insertion and deletion"
        network = self._load(source, json.dumps(result.model.reading, sort_keys=True))
        if network.model.sha256 != result.model.sha256:
            return None, f"{source} is not the network that was explained"
        return network, ""

    def _loaded(self, source: str, reading: str) -> Network:
        facts = facts_of(json.loads(reading))
        evaluation = self._evaluation
        return load(
            source,
            facts,
            evaluation.device,
            evaluation.batch_size,
            connection=evaluation.connection,
            custom_ops=evaluation.custom_ops,
        )


def facts_of(reading: dict[str, Any]) -> Facts:
    """What a result says of how its network was fed and read (`Model.reading`)."""
    same = ("layout", "frames", "stride", "mean", "std", "scale", "color", "resize", "aggregate")
    return Facts(
        **{name: reading[name] for name in same},
        size=(reading["height"], reading["width"]),
        output=reading["output_kind"],
        output_name=reading["output"],
        input=reading["input"] or None,
        labels=reading["labels"] or None,
    )


def _without_pixels(result: Result, mask: MaskRecord, truth: Truth) -> Measures:
    """What can be said of a mask by its frames' areas alone."""
    pointing = None
    if truth.signature is not None:
        pointing = temporal_pointing(np.array(mask.frame_areas), truth.signature)
    drop = average_drop(np.array([result.target.score]), np.array([mask.score]))
    return Measures(score=mask.score, average_drop=drop, temporal_pointing=pointing)


def _arrays(path: Path, result: Result) -> dict[str, Floats]:
    """What lies beside a result. Raises ClipError, also where it is another explanation's."""
    again = "explain the clip again with -f --format npz"
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in ("areas", "input", "keep_hard", "saliency")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ClipError(f"{readable(path)}: {first_line(error)}", again) from error
    if arrays["areas"].tolist() != [mask.area for mask in result.masks]:
        raise ClipError(f"{readable(path)} has other masks than its result", again)
    return arrays


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def _truth(evaluation: Evaluation, result: Result) -> tuple[Truth, str]:
    """What is known of a result's clip, and what to say where the truth file does not name it."""
    seen, clip = _viewing(result), Path(result.clip.path)
    truth, untold = Truth(None, None), ""
    if evaluation.known is not None:
        found = evaluation.known.of(clip, seen)
        if found is None:
            untold = f"{readable(evaluation.known.path)} does not name {clip.name}"
        else:
            truth = found
    if evaluation.signature is not None:
        truth = replace(truth, signature=signature_frames(evaluation.signature, seen.timestamps))
    return truth, untold


def _viewing(result: Result) -> Viewing:
    reading = result.model.reading
    names = ("height", "width", "color", "resize", "scale", "mean", "std")
    return Viewing(
        frames=result.clip.frames,
        width=result.clip.width,
        height=result.clip.height,
        sampled=tuple(result.clip.sampled_frames),
        timestamps=np.array(result.clip.timestamps),
        preprocessing=Preprocessing(**{name: reading[name] for name in names}),
    )
