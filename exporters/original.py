"""What an exporter finds: somebody's network, ready to be written as ONNX and compared with it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from tiemcli.errors import ModelError, UsageError
from tiemcli.facts import Facts
from tiemcli.kernels.layout import network_shape

Converter = Literal["auto", "dynamo", "torchscript"]
PerFrame = Literal["mean", "max", "gru", "lstm"]


@dataclass(frozen=True)
class Wanted:
    """What the user asks of the network before it is written.

    weights: a file, "DEFAULT" for the ones published with the architecture, "none" for random ones.
    classes: K, None for the source's own. per_frame: how an image network answers for a clip.
    facts: what the user says of the input and the answer, which wins over what the source says.
    seed: of random weights.
    """

    weights: str = "DEFAULT"
    classes: int | None = None
    per_frame: PerFrame | None = None
    facts: Facts = field(default_factory=Facts)
    seed: int = 0


@dataclass(frozen=True)
class Form:
    """How the ONNX file is written.

    opset: None for the converter's own. batch: None leaves it free.
    """

    converter: Converter = "auto"
    opset: int | None = None
    batch: int | None = None


class Original(Protocol):
    """A network in its own framework, one tensor in and one out.

    facts: layout, frames, size, mean, std, scale, output, labels … as its ONNX file will say them.
    shape: of one input, its batch 1, in `facts.layout`. dtype: of that input. notes: what its user
    should know, a line each.
    """

    @property
    def facts(self) -> Facts: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[np.generic]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def answer(self, inputs: np.ndarray) -> np.ndarray:
        """What the original itself answers: (N, K) float32 for inputs of `shape` times N."""

    def write(self, path: Path, form: Form) -> str | None:
        """Write the ONNX file, and name the converter that did, where there is a choice.

        Weights too large for one file go into others beside it. Raises ModelError where the network
        cannot be traced.
        """


def input_shape(facts: Facts) -> tuple[int, ...]:
    """The shape of one input, its batch 1, as its facts tell it; NCTHW where they name no layout.

    A layout without C, and one of gray pictures, has one channel, any other three. Raises
    UsageError that names the flag of what is not known.
    """
    layout = facts.layout or "NCTHW"
    if facts.frames is None or facts.size is None:
        missing = [name for name in ("frames", "size") if getattr(facts, name) is None]
        raise UsageError(
            f"nothing says the network's {' and '.join(missing)}",
            f"give {' and '.join(f'--{name}' for name in missing)}",
        )
    channels = 1 if facts.color == "gray" or "C" not in layout else 3
    height, width = facts.size
    sizes = {"C": channels, "T": facts.frames, "H": height, "W": width}
    return tuple(network_shape(layout, sizes, batch=1))


def settled(wanted: Facts, own: Facts, layout: str) -> Facts:
    """The user's facts over the source's own, of a network that can be fed in one layout only."""
    if wanted.layout not in (None, layout):
        raise UsageError(
            f"--layout {wanted.layout}: this network is fed {layout}", "leave out --layout"
        )
    return Facts(layout=layout).over(wanted).over(own)


def file_of(name: str, hint: str) -> Path:
    """The path of a source that is a file; raises ModelError where there is none."""
    if not os.path.isfile(name):  # pathlib's raises where one may not look
        raise ModelError(f"{name}: no such file", hint)
    return Path(name)


def refuse_choices(wanted: Wanted, what: str) -> None:
    """Raise UsageError where the user chooses what the source alone decides."""
    choices = {
        "weights": None if wanted.weights == "DEFAULT" else wanted.weights,
        "classes": wanted.classes,
        "per-frame": wanted.per_frame,
    }
    for flag, value in choices.items():
        if value is not None:
            raise UsageError(f"--{flag} {value}: {what} decides it", f"leave out --{flag}")
