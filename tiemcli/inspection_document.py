"""What an inspection of a network says; the JSON of `tiem inspect` has these keys."""

from dataclasses import dataclass
from typing import Literal

from tiemcli.kernels.fuse import OutputKind
from tiemcli.preprocess import Preprocessing
from tiemcli.running_cost import RunningCost

# Who says something of a network: the user, net.toml beside net.onnx, its metadata or what else it
# says of itself, its graph; or nobody, and it is told from the graph and its answers, or assumed.
Origin = Literal["flag", "toml", "metadata", "file", "inferred", "assumed"]


@dataclass(frozen=True)
class Value:
    """An input or output of the network. type: ONNX's name of a tensor's numbers, else SEQUENCE or
    OPTIONAL, None where only its numbers are known. shape: a name, or None, where an axis is free; None where nothing is said of it."""

    name: str
    type: str | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class File:
    """What the file says of itself. bytes: with the weights beside it. parameters: numbers in it,
    whole ones of 64 bits, which are shapes, left out. operators: how many of each, the commonest
    first, those in bodies of loops included."""

    path: str
    sha256: str
    bytes: int
    parameters: int
    opsets: dict[str, int]
    producer: str
    inputs: tuple[Value, ...]
    operators: dict[str, int]


@dataclass(frozen=True)
class Elsewhere:
    """What is known of a network that is no file. identity: a hash of that. largest_batch: clips that
    it takes at once, None where it does not say."""

    name: str
    identity: str
    input: Value
    largest_batch: int | None


@dataclass(frozen=True)
class Output(Value):
    """An output, and what its numbers are if it is explained. kind_from: who says so. classes, rows:
    numbers in a row, and rows for a clip. problem: why it cannot be explained."""

    kind: OutputKind | None = None
    kind_from: Origin | None = None
    classes: int | None = None
    rows: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Feeding:
    """How the network is fed. layout_from: who says so. free: the axes that the file leaves open.
    preprocessing_from: who says each part of it. others: what feeds other inputs."""

    input: str
    layout: str
    layout_from: Origin
    sizes: dict[str, int]
    free: tuple[str, ...]
    stride: int | None
    preprocessing: Preprocessing
    preprocessing_from: dict[str, Origin]
    others: dict[str, str]


@dataclass(frozen=True)
class Batch:
    """Whether clips can be scored together. declared: what the file fixes it at, None where free."""

    declared: int | None
    state: Literal["free", "rewritten", "looped"]
    reason: str


@dataclass(frozen=True)
class CutReport:
    """A tensor that holds all that is computed for each frame on its own, along one axis."""

    name: str
    frame_axis: int
    bytes_per_frame: int


@dataclass(frozen=True)
class PrefixReport:
    """What is computed for each frame on its own, up to some tensors. share: of the multiply-adds
    outside of loops. uniform: every place is computed alike."""

    share: float
    uniform: bool
    cut: tuple[CutReport, ...]


@dataclass(frozen=True)
class Problem:
    """What stands in the way of explaining, or of finding out. hint: what to type."""

    message: str
    hint: str


@dataclass(frozen=True)
class Inspection:
    """A network as far as it can be known; None where `problems` say why it is not, or where nothing
    is known but its answers.

    file: None where it is `elsewhere`. output: the one that is explained, of `outputs`. multiply_adds: for one clip, outside of loops.
    reuse: how the windows of a clip share work, None where they do not. assumed: what nobody said.
    providers: where it ran.
    """

    file: File | None
    elsewhere: Elsewhere | None
    feeding: Feeding | None
    outputs: tuple[Output, ...]
    output: str | None
    labels: tuple[str, ...]
    labels_from: Origin | None
    multiply_adds: int | None
    prefix: PrefixReport | None
    reuse: str | None
    batch: Batch | None
    cost: RunningCost | None
    providers: tuple[str, ...]
    assumed: tuple[str, ...]
    problems: tuple[Problem, ...]
