"""Settle how somebody's network is fed and read, or say which flag would settle it."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tiemcli.axes import settle_batch, settle_layout, settle_sizes
from tiemcli.errors import ModelError
from tiemcli.facts import Facts, facts_beside, facts_in_metadata
from tiemcli.inputs import INPUT_TYPES, clip_input, feed_others, file_hashes
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.free_batch import dims_of
from tiemcli.kernels.fuse import Aggregate, OutputKind
from tiemcli.kernels.layout import to_layout
from tiemcli.model_file import read_network
from tiemcli.preprocess import Preprocessing
from tiemcli.result import readable
from tiemcli.weights import with_weights

# Operators behind which numbers stay what they are.
_UNCHANGING = ("Identity", "Reshape", "Squeeze", "Flatten", "Cast")


@dataclass(frozen=True)
class Model:
    """How a network is fed and read, as far as its source, what lies beside it and the user say.

    name: what the user calls it by, a path or a URL. sha256: of all that decides its answers. batch:
    the size that it fixes, None where it is free. shape C, T, H, W as it is fed. fed: what feeds
    inputs beside the clip's, as `--input` says it. fed_sha256: of the files among that, by input.
    output: the name of the one to explain. output_kind: None if nobody said. aggregate: of the rows
    that it has for a clip, None if nobody said. labels: empty where unknown. own: what is said of it
    without the user. assumed: one line for each thing that nobody said.
    """

    name: str
    sha256: str
    input: str
    element_type: int
    layout: str
    batch: int | None
    sizes: dict[str, int]
    stride: int | None
    preprocessing: Preprocessing
    fed: dict[str, str]
    fed_sha256: dict[str, str]
    output: str
    output_kind: OutputKind | None
    aggregate: Aggregate | None
    labels: tuple[str, ...]
    own: Facts
    assumed: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.sizes["C"], self.sizes["T"], self.sizes["H"], self.sizes["W"]

    @property
    def only_output(self) -> str | None:
        """The output's name where it is known that there is no other."""
        return None

    @property
    def declared_kind(self) -> OutputKind | None:
        """What the output's numbers are by the network's own making, None where it does not tell."""
        return None

    def reading(self) -> dict[str, Any]:
        """All that decides what the network is fed and how its answer is read, as JSON holds it."""
        facts = {"layout": self.layout, "frames": self.sizes["T"], "stride": self.stride}
        facts |= asdict(self.preprocessing)
        return facts | {
            "output": self.output,
            "output_kind": self.output_kind,
            "aggregate": self.aggregate,
            "input": self.fed,
            "input_sha256": self.fed_sha256,
            "labels": self.labels,
        }

    def tensor(self, clips: Floats) -> np.ndarray:
        """A batch (N, C, T, H, W) float32 in the network's own axes and type."""
        kind = INPUT_TYPES[self.element_type]
        exact = np.floor(clips + 0.5).clip(0, 255) if kind is np.uint8 else clips
        return to_layout(exact, self.layout).astype(kind)


@dataclass(frozen=True)
class OnnxModel(Model):
    """A network whose graph is known. proto: the graph, its other inputs fed. custom_ops: libraries
    of operators that the user trusts."""

    path: Path
    proto: onnx.ModelProto
    custom_ops: tuple[Path, ...] = ()

    @property
    def only_output(self) -> str | None:
        """The name of the only output, None where there are several."""
        outputs = self.proto.graph.output
        return outputs[0].name if len(outputs) == 1 else None

    @property
    def declared_kind(self) -> OutputKind | None:
        """Probabilities if the graph ends in softmax or sigmoid."""
        producers = {name: node for node in self.proto.graph.node for name in node.output}
        node = producers.get(self.output)
        while node is not None and node.op_type in _UNCHANGING:
            node = producers.get(node.input[0])
        ends = node is not None and node.op_type in ("Softmax", "Sigmoid")
        return "probabilities" if ends else None

    def with_weights(self) -> onnx.ModelProto:
        """The graph with the weights that lie in files beside it; itself where it holds them all."""
        return with_weights(self.proto, self.path.parent)

    def reading(self) -> dict[str, Any]:
        """The same, and the SHA-256 of each library of operators."""
        libraries = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.custom_ops]
        return super().reading() | {"custom_ops_sha256": libraries}


def load_model(path: Path, said: Facts, custom_ops: tuple[Path, ...] = ()) -> OnnxModel:
    """Read a network; `said` are the user's own facts, `custom_ops` libraries of operators that the
    user, and never a file, names. Raises ModelError."""
    proto, sha256 = read_network(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    own = facts_beside(path).over(facts_in_metadata(metadata))
    facts = said.over(own)
    said_of_inputs = facts.input or {}
    source = clip_input(proto, said_of_inputs)
    dims = dims_of(source)
    layout = settle_layout(dims, facts, source.name)
    sizes = settle_sizes(layout, dims, facts)
    proto, fed = feed_others(proto, source, layout, sizes["T"], said_of_inputs)
    element_type = source.type.tensor_type.elem_type
    guessed = (
        f"input {name} takes {fed[name].partition(':')[2]} of the clip's frames"
        for name in fed.keys() - said_of_inputs.keys()
    )
    return OnnxModel(
        name=readable(path),
        path=path,
        custom_ops=custom_ops,
        sha256=sha256,
        proto=proto,
        input=source.name,
        element_type=element_type,
        layout=layout,
        batch=settle_batch(layout, dims, sizes),
        sizes=sizes,
        stride=facts.stride,
        preprocessing=settle_preprocessing(facts, sizes, element_type),
        fed=fed,
        fed_sha256=file_hashes(fed),
        output=_output(proto, facts.output_name),
        output_kind=None if facts.output == "auto" else facts.output,
        aggregate=facts.aggregate,
        labels=facts.labels or (),
        own=own,
        assumed=(*guessed, *assumed(facts, layout, sizes, element_type)),
    )


def settle_preprocessing(facts: Facts, sizes: dict[str, int], element_type: int) -> Preprocessing:
    """How frames become an input of these sizes and this type. Raises ModelError."""
    channels = sizes["C"]
    return Preprocessing(
        height=sizes["H"],
        width=sizes["W"],
        color=facts.color or ("rgb" if channels == 3 else "gray"),
        resize=facts.resize or "stretch",
        scale=facts.scale or (1.0 if element_type == TensorProto.UINT8 else 1 / 255),
        mean=_per_channel("mean", facts.mean or (0.0,), channels),
        std=_per_channel("std", facts.std or (1.0,), channels),
    )


def assumed(facts: Facts, layout: str, sizes: dict[str, int], element_type: int) -> Iterator[str]:
    """What nobody said of how the network is fed, a line each."""
    if facts.layout is None:
        yield f"layout {layout}"
    if facts.color is None and sizes["C"] == 3:
        yield "color rgb"
    if facts.resize is None:
        yield "frames stretched to the network's size"
    if facts.scale is None and facts.mean is None and facts.std is None:
        whole = element_type == TensorProto.UINT8
        yield f"pixels {'0..255' if whole else 'scaled to 0..1'}, no mean or std"


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise ModelError(
            f"{len(values)} numbers for {name}, {channels} channels", f"give --{name} anew"
        )
    if name == "std" and min(values) <= 0:
        raise ModelError(f"std {min(values)} is not positive", "give another --std")
    return values * channels if len(values) == 1 else values


def _output(proto: onnx.ModelProto, wanted: str | None) -> str:
    outputs = {value.name: value for value in proto.graph.output}
    if not outputs:
        raise ModelError("the network has no output", "export it again")
    if wanted is None and len(outputs) == 1:
        (wanted,) = outputs
    if wanted is None or wanted not in outputs:
        what = "several outputs" if wanted is None else f"no output {wanted!r}"
        raise ModelError(f"the network has {what}: {', '.join(outputs)}", "give --output-name")
    if outputs[wanted].type.WhichOneof("value") not in ("tensor_type", None):
        raise ModelError(
            f"the network's output {wanted!r} is no tensor", "choose another by --output-name"
        )
    return wanted
