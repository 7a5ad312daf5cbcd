"""The networks of `tiem bench speed`: seeded random weights, exported anew for each run."""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import onnx

from tiemcli.exporters import metadata, registry
from tiemcli.exporters.original import Form, Wanted
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Floats
from tiemcli.model import Model, OnnxModel, load_model
from tiemcli.pipeline import read_clip
from tiemcli.settings import Settings

CLASSES = 7
_OWN = "torch:tiemcli.bench.speed.modules"


@dataclass(frozen=True)
class Case:
    """One network at one T, and what is measured on it besides its windows with and without reuse.

    size: of a side. classes: None where the source decides. rivals: raw ONNX Runtime and eager torch.
    explained: a whole explanation against the paper's recipe. folder: several clips. least: by how
    much reuse is to be faster.
    """

    network: str
    source: str
    frames: int
    size: int
    classes: int | None = CLASSES
    rivals: bool = False
    explained: bool = False
    folder: bool = False
    least: float | None = None


_R2PLUS1D = ("r2plus1d-18", "torchvision:r2plus1d_18")
_SHALLOW = ("r2plus1d-10", f"{_OWN}:r2plus1d_10")

CASES = (
    Case(*_R2PLUS1D, 16, 112, rivals=True, explained=True, least=1.5),
    Case(*_R2PLUS1D, 32, 112, least=2.5),
    Case("r50-lstm", "paper:resnet50-lstm", 16, 112, rivals=True, explained=True, least=40),
    Case("videomae-tiny", f"{_OWN}:videomae_tiny", 16, 112, None, rivals=True, explained=True),
    Case(*_SHALLOW, 16, 56, None),
    Case(*_SHALLOW, 32, 56, None),
    Case(*_SHALLOW, 64, 56, None),
    Case(*_SHALLOW, 8, 56, None, folder=True),
)


@dataclass(frozen=True)
class Subject:
    """A case made ready: the torch module, the ONNX file of its weights, and a clip to explain.

    module: in evaluation mode. clip: (C, T, H, W) float32 in the network's units, of `video`.
    """

    case: Case
    module: Any
    path: Path
    model: OnnxModel
    video: Path
    clip: Floats


def prepare(case: Case, folder: Path) -> Subject:
    """Build and export the network into `folder`. Raises ModelError where a package is missing."""
    facts = Facts(frames=case.frames, size=(case.size, case.size))
    wanted = Wanted(weights="none", classes=case.classes, facts=facts)
    original: Any = registry.load(case.source, wanted)
    path = folder / f"{case.network}-{case.frames}.onnx"
    # Dynamo's converter is the default of `tiem export`; TorchScript's needs a tenth of its time.
    original.write(path, Form("torchscript"))
    proto = onnx.load(path)
    metadata.write(proto, original.facts.model_dump(exclude_none=True))
    onnx.save(proto, path)
    model = load_model(path, Facts())
    video = folder / "clip.mp4"
    with as_file(files("tiemcli.samples") / "clip.mp4") as sample:
        video.write_bytes(sample.read_bytes())
    return Subject(case, original.module, path, model, video, _clip(video, model))


def _clip(video: Path, model: Model) -> Floats:
    return read_clip(video, model, Settings()).input
