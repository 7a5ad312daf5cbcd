"""The JSON result of an explanation."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tiemcli.extremal.mask import AreaMask
from tiemcli.pipeline import Explanation
from tiemcli.result import (
    AskedRecord,
    BaseRecord,
    ClipRecord,
    CostRecord,
    FilesRecord,
    MaskRecord,
    ModelRecord,
    Result,
    TargetRecord,
    TemporalRecord,
    WindowRecord,
    readable,
)
from tiemcli.scorers.endpoint import Asked
from tiemcli.temporal import WindowSize

_PACKAGES = (
    "tiem",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnx",
    "numpy",
    "opencv-python",
    "av",
    "torch",
)


def describe(
    explanation: Explanation, fingerprint: str, clip_sha256: str, files: Mapping[str, str]
) -> Result:
    """The result of an explanation whose `files`, by kind, lie beside it."""
    source, network, settings = explanation.source, explanation.network, explanation.settings
    timeline, model = source.timeline, network.model
    return Result(
        schema="tiem/1",
        fingerprint=fingerprint,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        warnings=list(explanation.warnings),
        clip=ClipRecord(
            path=readable(timeline.path),
            sha256=clip_sha256,
            frames=timeline.frames,
            fps=f"{timeline.fps.numerator}/{timeline.fps.denominator}",
            width=timeline.width,
            height=timeline.height,
            sampled_frames=list(source.sampled),
            timestamps=timeline.timestamps[list(source.sampled)].tolist(),
        ),
        model=ModelRecord(
            path=model.name,
            sha256=model.sha256,
            input=model.input,
            layout=model.layout,
            output=model.output,
            output_kind=network.port.output_kind,
            batch=model.batch,
            looped=network.looped is not None,
            reuse=network.reuse.description if network.reuse else None,
            reading=model.reading(),
            providers=list(network.providers),
            assumed=list(network.notes),
        ),
        target=TargetRecord(
            index=explanation.target, label=explanation.label, score=explanation.clean
        ),
        base=BaseRecord(kind=settings.base, score=explanation.base_score),
        method=settings.method,
        backend=explanation.evidence.backend,
        backend_reason=explanation.evidence.backend_reason,
        seed=settings.seed,
        settings=settings.to_record(),
        temporal=TemporalRecord(
            importance=explanation.temporal.importance.tolist(),
            alpha=explanation.temporal.alpha,
            aggregate=settings.tis_aggregate,
            base=BaseRecord(kind=settings.window_base, score=explanation.window_base_score),
            second_base=settings.second_window_base,
            agreement=explanation.temporal.agreement,
            degenerate=explanation.temporal.degenerate,
            windows=[_window(size) for size in explanation.temporal.windows],
        ),
        masks=[_mask(mask) for mask in explanation.masks],
        cost=CostRecord(
            forwards=explanation.forwards,
            computed=round(explanation.computed, 2),
            backwards=explanation.backwards,
            asked=_asked(explanation.asked),
            seconds={stage: round(value, 3) for stage, value in explanation.seconds.items()},
        ),
        files=FilesRecord(**{kind: readable(Path(name)) for kind, name in files.items()}),
    )


def _asked(asked: Asked | None) -> AskedRecord | None:
    if asked is None:
        return None
    inside = None if asked.inside is None else round(asked.inside, 3)
    return AskedRecord(**asdict(replace(asked, seconds=round(asked.seconds, 3), inside=inside)))


def _window(size: WindowSize) -> WindowRecord:
    return WindowRecord(
        size=size.size,
        valid=size.valid,
        degenerate=size.degenerate,
        drop=size.drop.tolist(),
        importance=size.importance.tolist(),
        variation=size.variation,
    )


def _mask(mask: AreaMask) -> MaskRecord:
    return MaskRecord(
        area=mask.area,
        effective_area=mask.effective_area,
        frame_areas=mask.frame_areas.tolist(),
        score=mask.score,
        smallest=mask.smallest,
        evaluations=mask.evaluations,
    )


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
