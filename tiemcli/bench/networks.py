"""Which files can be explained with gradients: architectures × converters × what follows export.

Each network of the zoo is written by each converter, compared with the module that it comes from,
loaded as anybody's file would be, and differentiated on a clip; so is what its export becomes.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from tiemcli.bench.derive import derive
from tiemcli.bench.network_cases import CASES, Case
from tiemcli.errors import TiemError, first_line
from tiemcli.exporters import registry
from tiemcli.exporters.original import Form, Original, Wanted
from tiemcli.extremal.backend import differentiate
from tiemcli.extremal.objective import Objective
from tiemcli.kernels.arrays import Bytes, Doubles, Floats
from tiemcli.kernels.windows import enumerate_windows, window_membership, window_sizes
from tiemcli.model import Model, OnnxModel, load_model
from tiemcli.scorers.network import Network, load_network
from tiemcli.scorers.reuse.frame_wise import FrameWise
from tiemcli.scorers.session import make_session

CALIBRATION_CLIPS = 4
# Colours across a clip's frame, with all between interpolated.
COARSE = 5


@dataclass(frozen=True)
class Row:
    """One file, and how far it came.

    kind: written by a converter, or made of such a file in the way that `derived` names. opset: as
    it was asked of the converter. exported: tiem reads the file. difference: the largest between
    the file's answer and the original module's, in units of the range of its answers. batch: the
    file takes any, a rewritten one does, or clips go one by one. reuse: what windows share, frames
    that are encoded or stretches of frames that are convolved. apart: the largest difference between
    their scores with that and without, in units of a probability or of a value. autograd: its gradient is there,
    and verified on a clip. gap: the largest difference between its answers in torch and in ONNX
    Runtime, in units of their range. reason: why it came no further, or the doubt that was raised.
    seconds: of all that. None where it did not come so far.
    """

    network: str
    converter: str
    opset: int
    kind: Literal["export", "derived"]
    derived: str
    exported: bool = False
    difference: float | None = None
    batch: Literal["free", "rewritten", "looped"] | None = None
    reuse: Literal["frames", "stretches"] | None = None
    apart: float | None = None
    autograd: bool = False
    gap: float | None = None
    reason: str = ""
    seconds: float = 0.0


def rows(only: str = "", progress: Callable[[str], None] = lambda what: None) -> Iterator[Row]:
    """A row for each case whose name has `only` in it; a file that fails says why in its row."""
    chosen = [case for case in CASES if only in str(case)]
    for network, cases in groupby(chosen, key=lambda case: case.network):
        with tempfile.TemporaryDirectory() as folder:
            files = _Files(network, Path(folder))
            for case in cases:
                progress(str(case))
                yield _row(files, case)


class _Files:
    """One network of the zoo, and the files that are made of it; exports are kept to derive from."""

    def __init__(self, network: str, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._original: Original | None = None
        self._exports: dict[Form, Path] = {}

    def original(self) -> Original:
        """The network; loaded here, so that each row says why it is not there."""
        if self._original is None:
            self._original = registry.load(f"zoo:{self._network}", Wanted())
        return self._original

    def make(self, case: Case) -> Path:
        """The file of a case. Raises ModelError where a converter or another tool fails."""
        original = self.original()
        if case.form not in self._exports:
            path = self._folder / f"export{len(self._exports)}.onnx"
            original.write(path, case.form)
            self._exports[case.form] = path
        source = self._exports[case.form]
        if not case.transformed:
            return source
        target = self._folder / f"{case.derived}.onnx"
        model = load_model(source, original.facts)
        clips = [smooth_clip(model, seed) for seed in range(1, CALIBRATION_CLIPS + 1)]
        samples = [model.tensor(clip[None]) for clip in clips]
        derive(case.derived, source, target, {model.input: samples})
        return target


def _row(files: _Files, case: Case) -> Row:
    started = time.perf_counter()
    opset = case.form.opset or 0
    row = Row(case.network, case.form.converter, opset, case.kind, case.derived)
    try:
        for further in _steps(row, files, case):
            row = further
    except TiemError as error:
        row = replace(row, reason=error.message)
    except Exception as error:  # noqa: BLE001  a bug is a row as well, and says its name
        row = replace(row, reason=f"{type(error).__name__}: {first_line(error)}")
    return replace(row, seconds=round(time.perf_counter() - started, 2))


def _steps(row: Row, files: _Files, case: Case) -> Iterator[Row]:
    """The row after each step that succeeded."""
    original = files.original()
    path = files.make(case)
    model = load_model(path, original.facts)
    yield (row := replace(row, exported=True))
    clip = smooth_clip(model, seed=0)
    yield (row := replace(row, difference=_difference(model, original, clip)))
    network = load_network(model, "cpu")
    if network.looped is not None:
        row = replace(row, batch="looped")
    else:
        row = replace(row, batch="rewritten" if network.rewritten else "free")
    yield row
    yield (row := _reused(row, network, clip))
    yield _differentiated(row, network, clip)


def smooth_clip(model: Model, seed: int) -> Floats:
    """A clip of smooth random colours (C, T, H, W); on noise any network answers much the same."""
    random = np.random.default_rng(seed)
    _, frames, height, width = model.shape
    coarse = random.uniform(0, 255, size=(frames, COARSE, COARSE, 3))
    between = (_interpolation(height), _interpolation(width))
    pixels: Bytes = np.einsum("hi,tijc,wj->thwc", between[0], coarse, between[1]).astype(np.uint8)
    return model.preprocessing.clip(pixels)


def _interpolation(size: int) -> Doubles:
    """(size, COARSE) linear weights, corners aligned."""
    places = np.linspace(0, COARSE - 1, size)
    weights: Doubles = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(COARSE)))
    return weights


def _difference(model: OnnxModel, original: Original, clip: Floats) -> float:
    """How far the file's answer is from the module's, in units of the range of the module's."""
    fed = model.tensor(np.repeat(clip[None], model.batch or 1, axis=0))
    session = make_session(model.proto, model.path.parent, "cpu")
    (found,) = session.run([model.output], {model.input: fed})
    expected = original.answer(fed.astype(original.dtype))
    return float(np.abs(found.astype(np.float64) - expected).max() / np.ptp(expected))


def _reused(row: Row, network: Network, clip: Floats) -> Row:
    """The row with what the windows of the clip share, if they do."""
    if network.reuse is None:
        return row
    base = network.model.preprocessing.base("black", clip)
    frames = clip.shape[1]
    keep = 1 - window_membership(frames, enumerate_windows(frames, window_sizes(frames)))
    alone = network.whole(clip, base).score(keep)
    apart = float(np.abs(network.scorer(clip, base).score(keep) - alone).max())
    kind: Literal["frames", "stretches"] = (
        "frames" if isinstance(network.reuse, FrameWise) else "stretches"
    )
    return replace(row, reuse=kind, apart=apart)


def _differentiated(row: Row, network: Network, clip: Floats) -> Row:
    """The row with what there is to say of the gradient of the likeliest class."""
    base = network.model.preprocessing.base("blur", clip)
    answers = network.outputs(clip)
    target = int(answers.argmax())
    objective = Objective(float(answers[target]), regression=network.port.output_kind == "value")
    outcome = differentiate(network, clip, base, target, objective, "auto")
    if outcome.clip is None:
        return replace(row, reason=outcome.reason)
    import torch  # it is installed, or there would be no clip

    with torch.no_grad():
        keep = torch.ones(clip.shape[1:], device=outcome.clip.device)
        theirs = outcome.clip.answers(keep).cpu().numpy()
    gap = float(np.abs(theirs - answers).max() / np.ptp(answers))
    return replace(row, autograd=True, gap=gap, reason=outcome.warning)
