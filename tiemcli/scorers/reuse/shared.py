"""What may be computed once for many clips, and whether it answers as the whole network does."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnx.inliner
import onnxruntime as ort
from onnx import helper

from tiemcli.errors import ModelError, first_line
from tiemcli.kernels.arrays import Bytes, Doubles, Floats
from tiemcli.kernels.fuse import OutputKind, Port
from tiemcli.kernels.subgraph import subnetwork
from tiemcli.kernels.work import Run
from tiemcli.model import OnnxModel
from tiemcli.scorers import Scorer
from tiemcli.scorers.fused import FusedScorer
from tiemcli.scorers.session import make_session

# How far scores may be apart with and without reuse.
SAME = 1e-5
# What counts as the range of values that hardly vary, as a share of the largest.
STILL = 0.1


class AnsweringScorer(Scorer, Protocol):
    """A scorer that tells every output."""

    def outputs(self, keep: Floats) -> Doubles:
        """Every output, softmaxed if the network gives logits, under N masks: (N, K) float64."""
        ...


class Reuse(Protocol):
    """A way to score a network's clips without computing everything anew for each."""

    @property
    def description(self) -> str:
        """What is saved, in a line for a user."""
        ...

    @property
    def saved(self) -> float:
        """The share of the work of a clip's windows that is saved."""
        ...

    @property
    def given_up(self) -> str:
        """What is not done where it changes the answer, for a user."""
        ...

    def scorer(
        self, plain: FusedScorer, clip: Floats, base: Floats, target: int
    ) -> AnsweringScorer:
        """The scorer of one output under masks between clip and base, (C, T, H, W) float32; `plain`
        is the same without reuse."""
        ...


@dataclass(frozen=True)
class Whole:
    """A network whose work is to be saved.

    graph: the one that its session runs. looped: the batch that could not be freed, None where it is
    free. batch_size: clips a run, None to find the best. memory: bytes that tables may take.
    """

    model: OnnxModel
    graph: onnx.ModelProto
    port: Port
    device: str
    looped: int | None
    batch_size: int | None
    memory: int

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """What the output needs of the graph, the functions of its own file written out."""
        functions = self.graph.functions
        plain = onnx.inliner.inline_local_functions(self.graph) if functions else self.graph
        return subnetwork(plain, [self.port.output])

    @property
    def folder(self) -> Path:
        """Where the weights lie that are in files of their own."""
        return self.model.path.parent

    def clips(self, frames: Bytes) -> np.ndarray:
        """What the network is fed for clips of frames (N, T, H, W, 3)."""
        return self.model.tensor(np.stack([*map(self.model.preprocessing.clip, frames)]))

    def fed(self, clips: np.ndarray) -> onnx.ModelProto:
        """The graph, told what it is fed: of known sizes the runtime infers shapes."""
        sized = onnx.ModelProto()
        sized.CopyFrom(self.proto)
        kind, name = self.port.element_type, self.port.input
        (value,) = (value for value in sized.graph.input if value.name == name)
        value.CopyFrom(helper.make_tensor_value_info(name, kind, clips.shape))
        return sized

    def session(self, proto: onnx.ModelProto, device: str) -> ort.InferenceSession:
        """Of a part of the network. Raises ModelError, DeviceError."""
        return make_session(proto, self.folder, device, self.model.custom_ops)

    @property
    def run(self) -> Run:
        """Runs parts of the network on the CPU, where the same numbers give the same numbers."""

        def run(proto: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
            session = self.session(proto, "cpu")
            try:
                return [session.run(None, {self.port.input: value}) for value in inputs]
            except Exception as error:
                raise ModelError(f"what it computes by frames: {first_line(error)}") from error

        return run


def difference(
    reuse: Reuse, plain: FusedScorer, kind: OutputKind, clip: Floats, base: Floats
) -> float:
    """How far any output is apart with and without reuse, in units of a probability or, for values,
    of their range.

    Compared under windows and under a mask that hides half of each frame. plain: without reuse,
    between this clip and base. Raises TiemError where one of the two does not answer.
    """
    keep = _trials(*clip.shape[1:])
    expected = plain.outputs(keep)
    gap = np.abs(reuse.scorer(plain, clip, base, 0).outputs(keep) - expected).max()
    # Of what does not vary float32 rounds off the last digits.
    unit = np.ptp(expected) + STILL * np.abs(expected).max() if kind == "value" else 1
    return float(gap / unit) if gap else 0.0


def _trials(frames: int, height: int, width: int) -> Floats:
    """Three masks (3, T, H, W): a window at the start, others in the middle and at the end, and half
    of each frame, another half in its neighbour."""
    keep = np.ones((3, frames, height, width), dtype=np.float32)
    keep[0, : (frames + 3) // 4] = 0
    keep[1, frames // 3] = 0
    keep[1, frames - (frames + 3) // 4 :] = 0
    keep[2, ::2, : height // 2] = 0
    keep[2, 1::2, :, width // 2 :] = 0
    return keep
