"""Read somebody's ONNX file and settle how it is fed and read, or say which flag would settle it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from tiemcli.errors import ModelError
from tiemcli.facts import Facts, facts_beside, facts_in_metadata
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.layout import to_layout
from tiemcli.preprocess import Preprocessing

Dims = tuple[int | None, ...]

_INPUT_TYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}


@dataclass(frozen=True)
class Model:
    """A network's file with all that its graph, its metadata and the user say of its input.

    batch: the size that the file fixes, None where it is free. shape C, T, H, W as it is fed.
    output: the name of the output to explain. labels: empty where unknown. assumed: one line for
    each thing that nobody said.
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
    output: str
    output_kind: str
    labels: tuple[str, ...]
    assumed: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.sizes["C"], self.sizes["T"], self.sizes["H"], self.sizes["W"]

    def tensor(self, clips: Floats) -> np.ndarray:
        """A batch (N, C, T, H, W) float32 in the network's own axes and type."""
        kind = _INPUT_TYPES[self.element_type]
        exact = np.floor(clips + 0.5).clip(0, 255) if kind is np.uint8 else clips
        return to_layout(exact, self.layout).astype(kind)

    def with_weights(self) -> onnx.ModelProto:
        """The graph with the weights that lie in files beside it."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        onnx.load_external_data_for_model(proto, str(self.path.parent))
        return proto


def load_model(path: Path, said: Facts) -> Model:
    """Read a network; `said` are the user's own facts. Raises ModelError."""
    proto, sha256 = _read(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    facts = said.over(facts_beside(path)).over(facts_in_metadata(metadata))
    source = _video_input(proto)
    dims = _dims(source)
    assumed: list[str] = []
    layout = facts.layout or infer_layout(dims, facts, source.name, assumed)
    if len(layout) != len(dims):
        raise ModelError(
            f"layout {layout} has {len(layout)} axes, the network's input {source.name!r} {len(dims)}",
            "give another --layout",
        )
    sizes = _sizes(layout, dims, facts)
    channels = sizes["C"]
    if facts.color is None and channels == 3:
        assumed.append("color rgb")
    color = facts.color or ("rgb" if channels == 3 else "gray")
    if (color == "gray") != (channels == 1):
        raise ModelError(
            f"the network takes {channels} channels, not {color}", "give another --color"
        )
    element_type = source.type.tensor_type.elem_type
    preprocessing = Preprocessing(
        height=sizes["H"],
        width=sizes["W"],
        color=color,
        resize=facts.resize or "stretch",
        scale=_scale(facts, element_type, assumed),
        mean=_per_channel("mean", facts.mean or (0.0,), channels),
        std=_per_channel("std", facts.std or (1.0,), channels),
    )
    batch = dims[layout.index("N")] if "N" in layout else _folded_batch(dims[0], sizes["T"])
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
        output=_output(proto, facts.output_name),
        output_kind=facts.output or "auto",
        labels=facts.labels or (),
        assumed=tuple(assumed),
    )


def _read(path: Path) -> tuple[onnx.ModelProto, str]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"{path}: no such file", "give the network's ONNX file to --model"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}", "give an ONNX file to --model") from error
    if not content:
        raise ModelError(f"{path}: the file is empty", "export or copy the network again")
    try:
        proto = onnx.load_model_from_string(content)
    except DecodeError:
        proto = onnx.ModelProto()
    if not proto.graph.node or not proto.opset_import:
        raise ModelError(f"{path}: not an ONNX network", "export it to ONNX first") from None
    return proto, hashlib.sha256(content).hexdigest()


def _video_input(proto: onnx.ModelProto) -> onnx.ValueInfoProto:
    weights = {initializer.name for initializer in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(
            f"the network has {len(inputs)} inputs ({names}); one video is what can be explained",
            "export it with its other inputs as constants",
        )
    source = inputs[0]
    kind = source.type.tensor_type.elem_type
    if not source.type.HasField("tensor_type") or kind not in _INPUT_TYPES:
        name = TensorProto.DataType.Name(kind) if kind else "no tensor"
        raise ModelError(
            f"the network's input {source.name!r} is {name}; a video is FLOAT, FLOAT16 or UINT8",
            "is this a video classifier?",
        )
    return source


def _dims(value: onnx.ValueInfoProto) -> Dims:
    return tuple(d.dim_value or None for d in value.type.tensor_type.shape.dim)


def _shown(dims: Dims) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in dims) + "]"


def infer_layout(dims: Dims, facts: Facts, name: str, assumed: list[str]) -> str:
    """The layout that the dimensions tell, or ModelError naming --layout.

    The channel axis is the one of 3, or else of 1; of the other three the time axis is the one of
    --frames, or the odd one out of a square frame, or the shortest, or else the first.
    """
    wanted = f"give --layout, for instance NCTHW, for input {name!r} of shape {_shown(dims)}"
    if len(dims) == 4 and (facts.frames or 0) > 1 and dims[1] in (1, 3):
        assumed.append("layout TCHW (the batch holds N·T frames)")
        return "TCHW"
    if len(dims) != 5:
        raise ModelError(
            f"the network's input {name!r} has shape {_shown(dims)}; a video has five axes",
            "an image network that takes the frames as its batch needs --frames; otherwise "
            "give --layout",
        )
    channels = [axis for axis in (1, 2, 4) if dims[axis] == 3]
    channels = channels or [axis for axis in (1, 2, 4) if dims[axis] == 1]
    if len(channels) != 1:
        raise ModelError("the network's channel axis cannot be told", wanted)
    (channel,) = channels
    rest = [axis for axis in range(1, 5) if axis != channel]
    time = _time_axis(dims, rest, facts)
    letters = {0: "N", channel: "C", time: "T"}
    height, width = (axis for axis in rest if axis != time)
    letters |= {height: "H", width: "W"}
    layout = "".join(letters[axis] for axis in range(5))
    assumed.append(f"layout {layout}")
    return layout


def _time_axis(dims: Dims, axes: Sequence[int], facts: Facts) -> int:
    matching = [axis for axis in axes if dims[axis] == facts.frames]
    if facts.frames is not None and len(matching) == 1:
        return matching[0]
    known = [dims[axis] for axis in axes]
    if None in known:
        return axes[0]
    odd = [axis for axis in axes if known.count(dims[axis]) == 1]
    if len(odd) == 1:
        return odd[0]
    return min(axes, key=lambda axis: dims[axis] or 0)


def _sizes(layout: str, dims: Dims, facts: Facts) -> dict[str, int]:
    """C, T, H and W, from the file where it fixes them and from the facts where it does not."""
    fixed: dict[str, int | None] = {"C": 1, **dict(zip(layout, dims, strict=True))}
    height, width = facts.size or (None, None)
    told = {"C": {"gray": 1, "rgb": 3, "bgr": 3}.get(facts.color or ""), "T": facts.frames}
    told |= {"H": height, "W": width}
    if "N" not in layout:
        fixed["T"] = facts.frames or fixed["T"]
    flags = {"C": "--color", "T": "--frames", "H": "--size", "W": "--size"}
    sizes = {}
    for letter, flag in flags.items():
        size, wish = fixed[letter], told[letter]
        if size is None and wish is None:
            raise ModelError(f"the network leaves {letter} of {layout} open", f"give {flag}")
        if size is not None and wish is not None and size != wish:
            raise ModelError(
                f"the network fixes {letter} at {size}, not {wish}", f"leave out {flag}"
            )
        sizes[letter] = size or wish or 0
    if sizes["C"] not in (1, 3):
        raise ModelError(
            f"the network takes {sizes['C']} channels; a video has 1 or 3", "check --layout"
        )
    return sizes


def _folded_batch(first: int | None, frames: int) -> int | None:
    """How many clips a fixed leading axis of N·T frames holds."""
    if first is None:
        return None
    if first % frames:
        raise ModelError(
            f"{first} stacked frames are no multiple of {frames}", "give another --frames"
        )
    return first // frames


def _scale(facts: Facts, element_type: int, assumed: list[str]) -> float:
    if facts.scale is not None:
        return facts.scale
    if element_type == TensorProto.UINT8:
        return 1.0
    if facts.mean is None and facts.std is None:
        assumed.append("pixels scaled to 0..1, no mean or std")
    return 1 / 255


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise ModelError(
            f"{len(values)} numbers for {name}, {channels} channels", f"give --{name} anew"
        )
    if name == "std" and min(values) <= 0:
        raise ModelError(f"std {min(values)} is not positive", "give another --std")
    return values * channels if len(values) == 1 else values


def _output(proto: onnx.ModelProto, wanted: str | None) -> str:
    names: list[str] = [value.name for value in proto.graph.output]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None or wanted not in names:
        what = "several outputs" if wanted is None else f"no output {wanted!r}"
        raise ModelError(f"the network has {what}: {', '.join(names)}", "give --output-name")
    return wanted
