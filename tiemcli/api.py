"""`tiemcli.explain`, for programs and notebooks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from tiemcli import pipeline
from tiemcli.batch import require_fit
from tiemcli.connection import Connection
from tiemcli.errors import UsageError
from tiemcli.facts import Facts, facts_from_flags
from tiemcli.fingerprint import fingerprint, sha256
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.outputs import document, report
from tiemcli.outputs.folder import check_folder
from tiemcli.outputs.saving import SUFFIX, save
from tiemcli.progress import Progress
from tiemcli.result import Result
from tiemcli.scorers.loading import load as load_network
from tiemcli.scorers.network import Network
from tiemcli.settings import Precision, Preset, Settings, Style, with_preset

# How high a notebook shows the page, in pixels: down to the time importance.
_HEIGHT = 900
_SETTINGS = {field.name for field in fields(Settings)}


def load(
    model: str | os.PathLike[str],
    *,
    device: str = "auto",
    batch_size: int | None = None,
    memory: int | None = None,
    reuse: bool = True,
    precision: Precision = "full",
    connection: Connection | None = None,
    custom_ops: tuple[Path, ...] = (),
    **facts: Any,
) -> Network:
    """Load a network once, to explain several clips by it.

    model: an ONNX file, python:FILE:FUNCTION or a server's URL. facts: what it must say of itself and
    does not, by the names of the flags: layout, frames, size, mean, std, labels and so on.
    batch_size: clips evaluated at once, None to find the best. memory: bytes for work that clips
    share, None for a quarter of what is free; reuse=False shares none. custom_ops: libraries of
    operators that you trust.
    Raises ModelError, DeviceError or UsageError.
    """
    return load_network(
        os.fspath(model),
        _facts(facts),
        device,
        batch_size,
        memory,
        reuse,
        precision,
        connection,
        custom_ops,
    )


def explain(
    clip: str | os.PathLike[str],
    model: str | os.PathLike[str] | Network,
    *,
    preset: Preset = "paper",
    device: str = "auto",
    batch_size: int | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> "Explanation":
    """Find which moments and which pixels of a clip made a network answer as it does.

    model: what `load` takes, or what it gave. options: the fields of `Settings`, as the command line
    calls them, such as target="jump", areas=(0.05, 0.1), method="rise", backend="finite-difference";
    and unless the network is loaded already, the facts that `load` takes. progress: is told how far it is.
    Raises ClipError, ModelError, DeviceError or UsageError, all of them TiemError.
    """
    chosen = {name: options.pop(name) for name in _SETTINGS & options.keys()}
    settings = with_preset(Settings(**chosen), preset, chosen.keys())
    if isinstance(model, (str, os.PathLike)):
        network = load(
            model,
            device=device,
            batch_size=batch_size,
            memory=memory,
            reuse=settings.reuse == "auto",
            precision=settings.precision,
            **options,
        )
    elif options:
        raise UsageError(f"{', '.join(options)}: the network is loaded", "say it to tiemcli.load")
    else:
        network = model
    require_fit(settings, network)
    path = Path(clip)
    whole = sha256(path)
    source = pipeline.read_clip(path, network.model, settings)
    return Explanation(pipeline.explain(source, network, settings, progress), whole)


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
        written = replace(
            self.found, settings=replace(self.found.settings, formats=formats, style=style)
        )
        check_folder(Path(folder))
        saved = replace(self, found=written)
        target = Path(folder) / f"{self.found.source.timeline.path.stem}{SUFFIX}"
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


def _facts(given: Mapping[str, Any]) -> Facts:
    unknown = sorted(given.keys() - Facts.model_fields.keys())
    if unknown:
        raise UsageError(
            f"no option {', '.join(unknown)}",
            f"there are {', '.join(sorted(_SETTINGS | Facts.model_fields.keys()))}",
        )
    return facts_from_flags(given)
