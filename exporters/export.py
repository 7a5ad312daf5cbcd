"""From a source to an ONNX file that answers as the original does and says how it is fed."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from tiemcli.errors import ModelError, OutputError
from tiemcli.exporters import metadata, registry
from tiemcli.exporters.finish import TOLERANCES, Finish, opset_of, rework, save
from tiemcli.exporters.original import Form, Original, Wanted
from tiemcli.exporters.verify import Agreement, verify
from tiemcli.facts import Facts
from tiemcli.outputs.atomic import replacing

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """What was written and how well it agrees.

    converter: None where the source has but one. agreement: with the original. tolerance: of the
    differences there. bytes: of the network and its weights. notes: what was assumed or given up,
    a line each.
    """

    source: str
    path: Path
    converter: str | None
    opset: int
    finish: Finish
    agreement: Agreement
    tolerance: float
    bytes: int
    notes: tuple[str, ...]


def export(
    source: str,
    wanted: Wanted,
    form: Form,
    *,
    out: Path,
    finish: Finish,
    tolerance: float | None = None,
    tell: Tell = lambda stage: None,
) -> Exported:
    """Write a source's network to `out`, once it has answered as the original does.

    Weights of 2 GB or more go to `out` with .data behind its name. tolerance: of differences in
    units of the answers' range, None for the usual one. tell: is told each stage. Until all is well
    nothing is seen in the folder but hidden files, which go away on any error or interrupt.
    Raises UsageError for what is wrongly asked, ModelError for a network that cannot be loaded,
    traced or verified, OutputError where `out` cannot be written.
    """
    if os.path.isdir(out):  # pathlib's raises where one may not look
        raise OutputError(f"{out} is a folder", "name the file, such as -o net.onnx")
    if not os.path.isdir(out.parent):
        raise OutputError(f"{out.parent}: no such folder", "create it first")
    allowed = TOLERANCES[finish.precision] if tolerance is None else tolerance
    tell(f"loading {source}")
    original = registry.load(source, wanted)
    original.answer(np.zeros(original.shape, original.dtype))  # what fails here is told plainly
    draft = _Draft(original, wanted.facts.over(original.facts), form, finish, allowed, tell)
    with replacing(out) as part, tempfile.TemporaryDirectory(dir=out.parent, prefix=".tiem") as at:
        made, notes = draft.first_that_agrees(Path(at), out.name)
        size = sum(file.stat().st_size for file in made.files)
        for weights in made.files[1:]:
            os.replace(weights, out.with_name(weights.name))
        os.replace(made.files[0], part)
    beside = out.with_suffix(".toml")
    if beside.exists():
        notes += (f"{beside.name} beside it wins over what the file says",)
    return Exported(
        source=source,
        path=out,
        converter=made.converter,
        opset=made.opset,
        finish=finish,
        agreement=made.agreement,
        tolerance=allowed,
        bytes=size,
        notes=original.notes + notes + made.agreement.notes,
    )


@dataclass(frozen=True)
class _Made:
    """A file that agrees and is not yet where it belongs. files: it, and that of its weights."""

    files: tuple[Path, ...]
    converter: str | None
    opset: int
    agreement: Agreement


@dataclass(frozen=True)
class _Draft:
    """All that decides how a network is written."""

    original: Original
    facts: Facts
    form: Form
    finish: Finish
    allowed: float
    tell: Tell

    def first_that_agrees(self, folder: Path, name: str) -> tuple[_Made, tuple[str, ...]]:
        """The file in the form that is asked for, and what there is to say of it.

        Where the choice of the converter is free and dynamo's file is refused, it is TorchScript's.
        """
        converter = self._write(folder / "first", self.form)
        try:
            return self._finished(folder / "first", name, converter), ()
        except ModelError as refused:
            if self.form.converter != "auto" or converter != "dynamo":
                raise
            try:
                self._write(folder / "second", replace(self.form, converter="torchscript"))
                made = self._finished(folder / "second", name, "torchscript")
            except ModelError:
                raise refused from None
            return made, (f"dynamo's file was refused: {refused.message}",)

    def _write(self, folder: Path, form: Form) -> str | None:
        self.tell("writing")
        folder.mkdir()
        return self.original.write(folder / "raw.onnx", form)

    def _finished(self, folder: Path, name: str, converter: str | None) -> _Made:
        network = rework(onnx.load(folder / "raw.onnx"), self.finish)
        if not network.graph.input:
            raise ModelError(
                f"what {converter or 'the converter'} traced does not depend on the clip",
                "compute the answer by the framework's own functions alone",
            )
        opset = opset_of(network)
        if self.form.opset not in (None, opset):
            raise ModelError(
                f"opset {opset} was written where {self.form.opset} is asked for",
                "give another --opset or --converter",
            )
        metadata.write(network, self.facts.model_dump(exclude_none=True))
        (path, *_) = save(network, folder / name)
        self.tell("comparing")
        agreement = verify(path, self.original, self.allowed)
        metadata.write(network, agreement.facts.model_dump(exclude_none=True))
        return _Made(save(network, path), converter, opset, agreement)
