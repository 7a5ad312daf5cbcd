"""Read somebody's ONNX file and settle how it is fed and read, or say which flag would settle it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tiemcli.axes import folded_batch, infer_layout, settle_sizes
from tiemcli.errors import ModelError
from tiemcli.facts import Facts, facts_beside, facts_in_metadata
from tiemcli.inputs import INPUT_TYPES, clip_input, feed_others, file_hashes
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.free_batch import dims_of
from tiemcli.kernels.fuse import Aggregate, OutputKind
from tiemcli.kernels.layout import to_layout
from tiemcli.model_file import read_network
from tiemcli.preprocess import Preprocessing


@dataclass(frozen=True)
class Model:
    """A network's file with all that its graph, its metadata and the user say of its input.

    batch: the size that the file fixes, None where it is free. shape C, T, H, W as it is fed.
    proto: the graph, its other inputs fed. fed: what feeds them, as `--input` says it. fed_sha256:
    of the files among that, by input. output: the name of the one to explain. output_kind: None if
    nobody said. aggregate: of the rows that it has for a clip, None if nobody said. labels: empty
    where unknown. assumed: one line for each thing that nobody said.
    """

    path: Path
    sha256: str
    proto: onnx.ModelProto
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
    assumed: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.sizes["C"], self.sizes["T"], self.sizes["H"], self.sizes["W"]

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

    def with_weights(self) -> onnx.ModelProto:
        """The graph with the weights that lie in files beside it; itself where it holds them all."""
        weights = self.proto.graph.initializer
        if all(weight.data_location == TensorProto.DEFAULT for weight in weights):
            return self.proto
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        onnx.load_external_data_for_model(proto, str(self.path.parent))
        return proto


def load_model(path: Path, said: Facts) -> Model:
    """Read a network; `said` are the user's own facts. Raises ModelError."""
    proto, sha256 = read_network(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    facts = said.over(facts_beside(path)).over(facts_in_metadata(metadata))
    said_of_inputs = facts.input or {}
    source = clip_input(proto, said_of_inputs)
    dims = dims_of(source)
    layout = facts.layout or infer_layout(dims, facts, source.name)
    if len(layout) != len(dims):
        raise ModelError(
            f"layout {layout} has {len(layout)} axes, the network's input {source.name!r} {len(dims)}",
            "give another --layout",
        )
    sizes = settle_sizes(layout, dims, facts)
    proto, fed = feed_others(proto, source, layout, sizes["T"], said_of_inputs)
    channels = sizes["C"]
    element_type = source.type.tensor_type.elem_type
    preprocessing = Preprocessing(
        height=sizes["H"],
        width=sizes["W"],
        color=facts.color or ("rgb" if channels == 3 else "gray"),
        resize=facts.resize or "stretch",
        scale=facts.scale or (1.0 if element_type == TensorProto.UINT8 else 1 / 255),
        mean=_per_channel("mean", facts.mean or (0.0,), channels),
        std=_per_channel("std", facts.std or (1.0,), channels),
    )
    batch = dims[layout.index("N")] if "N" in layout else folded_batch(dims[0], sizes["T"])
    return Model(
        path=path,
        sha256=sha256,
        proto=proto,
        input=source.name,
        element_type=element_type,
        layout=layout,
        batch=batch,
        sizes=sizes,
        stride=facts.stride,
        preprocessing=preprocessing,
        fed=fed,
        fed_sha256=file_hashes(fed),
        output=_output(proto, facts.output_name),
        output_kind=None if facts.output == "auto" else facts.output,
        aggregate=facts.aggregate,
        labels=facts.labels or (),
        assumed=tuple(_assumed(facts, layout, channels, element_type, fed)),
    )


def _assumed(
    facts: Facts, layout: str, channels: int, element_type: int, fed: dict[str, str]
) -> Iterator[str]:
    """What nobody said of the input, a line each."""
    for name in fed.keys() - (facts.input or {}).keys():
        yield f"input {name} takes {fed[name].partition(':')[2]} of the clip's frames"
    if facts.layout is None:
        yield f"layout {layout}"
    if facts.color is None and channels == 3:
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
