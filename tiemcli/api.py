"""`tiemcli.explain`, for programs and notebooks."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tiemcli import pipeline
from tiemcli.batch import require_fit
from tiemcli.clip_file import require_unchanged, version_of
from tiemcli.errors import UsageError
from tiemcli.facts import Facts, facts_from_flags
from tiemcli.fingerprint import fingerprint, sha256
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.outputs import document, report
from tiemcli.outputs.folder import check_folder
from tiemcli.outputs.saving import save
from tiemcli.progress import Progress
from tiemcli.result import ENDING, Result
from tiemcli.scorers.loading import load as load_network
from tiemcli.scorers.network import Network
from tiemcli.settings import Preset, Settings, Style, with_preset

# How high a notebook shows the page, in pixels: down to the time importance.
_HEIGHT = 900
_SETTINGS = TypeAdapter(Settings)
_CHOICES = {field.name for field in fields(Settings)}
_LOADING = {"device", "batch_size", "memory", "connection", "custom_ops"}


def load(model: str | os.PathLike[str], **options: Any) -> Network:
    """Load a network once, to explain several clips by it.

    model: an ONNX file, python:FILE:FUNCTION or a server's URL. options: what it must say of itself
    and does not, by the names of the flags: layout, frames, size, mean, std, labels and so on; device;
    batch_size, clips evaluated at once, found if left out; memory, bytes for work that clips share;
    connection, a `Connection` to a server; custom_ops, libraries of operators that you trust.
    Raises ModelError, DeviceError or UsageError.
    """
    return _load(model, options, Settings())


def explain(
    clip: str | os.PathLike[str],
    model: str | os.PathLike[str] | Network,
    *,
    preset: Preset = "paper",
    progress: Progress | None = None,
    **options: Any,
) -> "Explanation":
    """Find which moments and which pixels of a clip made a network answer as it does.

    model: what `load` takes, or what it gave. options: the fields of `Settings`, as the command line
    calls them, such as target="jump", areas=(0.05, 0.1), method="rise", backend="finite-difference";
    and unless the network is loaded already, the options of `load`. progress: is told how far it is.
    Raises ClipError, ModelError, DeviceError or UsageError, all of them TiemError.
    """
    chosen = {name: options.pop(name) for name in _CHOICES & options.keys()}
    settings = with_preset(_settings(chosen), preset, chosen.keys())
    if isinstance(model, (str, os.PathLike)):
        network = _load(model, options, settings)
    elif late := sorted(options.keys() | ({"precision", "reuse"} & chosen.keys())):
        raise UsageError(f"{', '.join(late)}: the network is loaded", "give its file instead")
    else:
        network = model
    require_fit(settings, network)
    path = Path(clip)
    version, clip_sha256 = version_of(path), sha256(path)
    source = pipeline.read_clip(path, network.model, settings)
    require_unchanged(path, version)
    return Explanation(pipeline.explain(source, network, settings, progress), clip_sha256)


@dataclass(frozen=True)
class Explanation:
    """Which moments and which pixels made a network answer; what `explain` gives.

    found: all that was found, in the program's own terms. clip_sha256: of the clip's file.
    """

    found: pipeline.Explanation
    clip_sha256: str

    @property
    def target(self) -> int:
        """The index of the output that is explained."""
        return self.found.target

    @property
    def label(self) -> str | None:
        """Its label, if the network has labels."""
        return self.found.label

    @property
    def score(self) -> float:
        """Φ(X), the score of the whole clip: a probability, or a regression's value."""
        return self.found.clean

    @property
    def timestamps(self) -> Doubles:
        """(T,) float64, the seconds of the frames that the network saw."""
        times: Doubles = self.found.source.timeline.timestamps[list(self.found.source.sampled)]
        return times

    @property
    def importance(self) -> Doubles:
        """(T,) float64, the time importance of those frames, of sum 1 (Eq. 4 of the paper)."""
        return self.found.temporal.importance

    @property
    def areas(self) -> tuple[float, ...]:
        """The shares of the clip that the masks were to keep."""
        return tuple(mask.area for mask in self.found.masks)

    @property
    def masks(self) -> Floats:
        """(A, T, H, W) float32 in the network's frames, a mask an area; 1 keeps, 0 hides."""
        return np.stack([mask.hard for mask in self.found.masks])

    @property
    def scores(self) -> tuple[float, ...]:
        """Φ under each mask."""
        return tuple(mask.score for mask in self.found.masks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before believing it."""
        return self.found.warnings

    @cached_property
    def result(self) -> Result:
        """All that CLIP.tiem.json would say, without the files beside it."""
        return document.describe(self.found, self._fingerprint, self.clip_sha256, {})

    def save(
        self,
        folder: str | os.PathLike[str] = ".",
        *,
        formats: tuple[str, ...] = ("mp4", "json"),
        style: Style = "mask",
        signature: tuple[float, float] | None = None,
    ) -> Result:
        """Write into a folder what `tiem explain` writes: CLIP.tiem.json, CLIP.masked.mp4 and so on.

        formats: of mp4, json, html, png, gif, svg and npz; the JSON always is. style: of the MP4.
        signature: the seconds (start, end) that are known to decide, for the page to mark.
        Raises OutputError, UsageError, or ClipError if the clip cannot be read any more.
        """
        settings = _settings(asdict(self.found.settings) | {"formats": formats, "style": style})
        written = replace(self.found, settings=settings)
        check_folder(Path(folder))
        saved = replace(self, found=written)
        target = Path(folder) / f"{self.found.source.timeline.path.stem}{ENDING}"
        return save(written, target, saved._fingerprint, self.clip_sha256, signature=signature)

    @property
    def _fingerprint(self) -> str:
        return fingerprint(self.clip_sha256, self.found.network.model, self.found.settings)

    def _repr_html_(self) -> str:
        """The page, as a notebook shows it."""
        page = report.page(self.found, self.result, Path())
        return (
            f'<iframe srcdoc="{escape(page)}" title="Why the network answers as it does" '
            f'style="width: 100%; height: {_HEIGHT}px; border: 0"></iframe>'
        )


def _load(model: str | os.PathLike[str], options: Mapping[str, Any], settings: Settings) -> Network:
    unknown = sorted(options.keys() - _LOADING - Facts.model_fields.keys())
    if unknown:
        known = sorted(_CHOICES | _LOADING | Facts.model_fields.keys())
        raise UsageError(f"no option {', '.join(unknown)}", f"there are {', '.join(known)}")
    facts = {name: value for name, value in options.items() if name not in _LOADING}
    loading = {name: value for name, value in options.items() if name in _LOADING}
    return load_network(
        os.fspath(model),
        facts_from_flags(facts),
        precision=settings.precision,
        reuse=settings.reuse == "auto",
        **({"device": "auto"} | loading),
    )


def _settings(chosen: Mapping[str, Any]) -> Settings:
    """The settings, of kinds that a program may have mistaken. Raises UsageError."""
    target = chosen.get("target")
    if isinstance(target, int):
        chosen = {**chosen, "target": str(target)}
    try:
        return _SETTINGS.validate_python(dict(chosen))
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        raise UsageError(f"{name}={chosen[str(name)]!r}", first["msg"]) from error
