"""Which of a network's inputs is the clip, and what feeds the others."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tiemcli.errors import ModelError, first_line
from tiemcli.kernels.free_batch import dims_of
from tiemcli.kernels.wire import pathway_frames, wire

CLIP = "clip"
FEWEST_AXES = 4  # of frames that are a network's batch: NT, C, H, W
INPUT_TYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}
_FORMS = "a number, numbers with commas between, a .npy file, or clip:8 for 8 of the clip's frames"
_FEED = f"feed the others by --input NAME=VALUE: {_FORMS}"

Inputs = dict[str, onnx.ValueInfoProto]


def clip_input(proto: onnx.ModelProto, said: Mapping[str, str]) -> onnx.ValueInfoProto:
    """The input that takes the clip.

    It is the one that is said to be `clip`, the only one of four axes or more that nothing is said
    of, or the longest of several pathways. Raises ModelError.
    """
    inputs = _inputs(proto)
    for name in said:
        if name not in inputs:
            raise ModelError(f"the network has no input {name!r}", f"it has {', '.join(inputs)}")
    rest = [name for name in inputs if name not in said]
    videos = [name for name in rest if len(dims_of(inputs[name])) >= FEWEST_AXES] or rest
    named = [name for name, text in said.items() if text == CLIP]
    chosen = named[0] if named else videos[0] if len(videos) == 1 else _longest(inputs, videos)
    source = inputs[chosen]
    kind = source.type.tensor_type.elem_type
    if not source.type.HasField("tensor_type") or kind not in INPUT_TYPES:
        name = TensorProto.DataType.Name(kind) if kind else "no tensor"
        raise ModelError(
            f"the network's input {chosen!r} is {name}; a video is FLOAT, FLOAT16 or UINT8",
            "is this a video classifier?",
        )
    return source


def feed_others(
    proto: onnx.ModelProto,
    source: onnx.ValueInfoProto,
    layout: str,
    frames: int,
    said: Mapping[str, str],
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The network with every input but the clip's fed, and what feeds each, as `--input` says it.

    layout, frames: of the clip's input. A network of one input is returned as it is. Raises
    ModelError.
    """
    pathways, constants, fed = {}, {}, {}
    for name, declared in _inputs(proto).items():
        if name == source.name:
            continue
        fed[name] = said.get(name) or _share(declared, layout)
        if _is_clip(fed[name]):
            count = _pathway_length(declared, source, layout, frames, fed[name])
            pathways[name] = pathway_frames(frames, count)
        else:
            constants[name] = _constant(declared, fed[name])
    if not fed:
        return proto, fed
    try:
        return wire(proto, source.name, layout, pathways, constants), fed
    except ValueError as error:
        raise ModelError(str(error), f"give --input as {_FORMS}") from error


def _inputs(proto: onnx.ModelProto) -> Inputs:
    weights = {initializer.name for initializer in proto.graph.initializer}
    return {value.name: value for value in proto.graph.input if value.name not in weights}


def _longest(inputs: Inputs, names: list[str]) -> str:
    """Of inputs that differ along one axis alone, which must then be time, the longest."""
    if not names:
        what = "every input of the network is fed, and none is the clip"
        raise ModelError(what if inputs else "the network has no input", _FEED)
    shapes = [dims_of(inputs[name]) for name in names]
    lengths = []
    if len({len(shape) for shape in shapes}) == 1:
        lengths = [sizes for sizes in zip(*shapes, strict=True) if len(set(sizes)) > 1]
    if len(lengths) != 1 or None in lengths[0]:
        raise ModelError(
            f"the network has {len(inputs)} inputs ({', '.join(inputs)}); one of them is the clip",
            _FEED,
        )
    return names[lengths[0].index(max(lengths[0]))]


def _share(declared: onnx.ValueInfoProto, layout: str) -> str:
    """How many of the clip's frames a pathway takes by its file, as `--input` says it."""
    dims = dims_of(declared)
    frames = dims[layout.index("T")] if len(dims) == len(layout) else None
    if frames is None:
        kind = TensorProto.DataType.Name(declared.type.tensor_type.elem_type)
        shape = ", ".join("?" if size is None else str(size) for size in dims)
        raise ModelError(
            f"nothing feeds the network's input {declared.name!r}, {kind} of shape [{shape}]",
            f"give --input {declared.name}=VALUE: {_FORMS}",
        )
    return f"{CLIP}:{frames}"


def _is_clip(text: str) -> bool:
    return text == CLIP or text.startswith(f"{CLIP}:")


def _pathway_length(
    declared: onnx.ValueInfoProto,
    source: onnx.ValueInfoProto,
    layout: str,
    frames: int,
    text: str,
) -> int:
    """How many of the clip's frames a pathway takes; raises ModelError where it cannot be one."""
    name, dims, others = declared.name, dims_of(declared), dims_of(source)
    if "N" not in layout:
        raise ModelError(
            f"the input {name!r} cannot take frames of the clip: {layout} stacks them in one axis",
            f"feed it by --input {name}=VALUE: a number, numbers with commas between, a .npy file",
        )
    alike = declared.type.tensor_type.elem_type == source.type.tensor_type.elem_type
    axes = zip(layout, dims, others, strict=False)
    unlike = any(letter != "T" and None not in (a, b) and a != b for letter, a, b in axes)
    if len(dims) != len(layout) or not alike or unlike:
        raise ModelError(
            f"the input {name!r} is no pathway beside {source.name!r}: its shape or type differs",
            _FEED,
        )
    count = text.removeprefix(CLIP).removeprefix(":") or str(frames)
    fixed = dims[layout.index("T")]
    fits = count.isdecimal() and 1 <= int(count) <= frames
    if not fits or fixed not in (None, int(count)):
        raise ModelError(
            f"the input {name!r} cannot take {count} of the clip's {frames} frames",
            f"it takes {fixed}" if fixed else "give fewer",
        )
    return int(count)


def _constant(declared: onnx.ValueInfoProto, text: str) -> np.ndarray:
    """What `--input` says, in the input's own type; raises ModelError where it cannot hold it."""
    try:
        return _in_its_type(_numbers(text), declared.type)
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise ModelError(
            f"--input {declared.name}={text}: {first_line(error)}", f"give {_FORMS}"
        ) from error


def _numbers(text: str) -> np.ndarray:
    """A number, several with commas between, or those of a .npy file."""
    if text.endswith(".npy"):
        with Path(text).open("rb") as file:
            numbers: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    else:
        parts = [_number(part) for part in text.split(",")]
        numbers = np.array(parts if len(parts) > 1 else parts[0])
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f"{numbers.dtype} is no type of numbers")
    return numbers


def _number(text: str) -> int | float:
    """A whole number of 64 bits stays one: float64 does not hold all of them."""
    try:
        number = int(text)
    except ValueError:
        return float(text)
    return number if number.bit_length() < 64 else float(number)


def _in_its_type(numbers: np.ndarray, declared: onnx.TypeProto) -> np.ndarray:
    """The numbers in the declared type; raises ValueError where that would make others of them."""
    number = declared.tensor_type.elem_type
    if number in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise ValueError("it takes no numbers")
    kind: np.dtype[np.generic] = helper.tensor_dtype_to_np_dtype(number)
    with np.errstate(all="ignore"):  # the comparison tells
        cast = numbers.astype(kind)
        kept = cast == numbers if kind.kind in "biu" else np.isfinite(cast) == np.isfinite(numbers)
    if not kept.all():
        raise ValueError(f"{TensorProto.DataType.Name(number)}, its type, does not hold that")
    return cast


def file_hashes(fed: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of each .npy file that feeds an input, by the input's name."""
    return {
        name: hashlib.sha256(Path(text).read_bytes()).hexdigest()
        for name, text in fed.items()
        if text.endswith(".npy")
    }
