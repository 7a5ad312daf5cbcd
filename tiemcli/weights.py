"""The numbers of a network's tensors: how many bytes they are, and those that lie in other files."""

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

import onnx
from onnx import SparseTensorProto, TensorProto, helper

from tiemcli.errors import ModelError

# Of the types that are packed, how many bits a number takes.
_PACKED = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
# Where this would be a file, ONNX Runtime reads the memory of its own process.
_MEMORY = "_ORT_MEM_ADDR_"
_COPY = "copy or export the network again, with all of its files"
_BESIDE = "weights lie beside the network's file; copy them there"


@dataclass(frozen=True)
class Apart:
    """Where a tensor lies in a file beside the network's: `length` bytes from `offset`."""

    file: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Raises ModelError."""
        with opened(self.file) as file:
            file.seek(self.offset)
            return file.read(self.length)


def lies_apart(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def byte_count(tensor: TensorProto | SparseTensorProto) -> int:
    """What a tensor takes in memory by its dimensions and type; strings by their number.

    Raises ModelError for dimensions and types that there are not, and where a tensor holds another
    number of bytes.
    """
    kind = tensor.data_type if isinstance(tensor, TensorProto) else tensor.values.data_type
    what = f"the network's weight {_name(tensor)!r}"
    if kind not in TensorProto.DataType.values() or kind == TensorProto.UNDEFINED:
        raise ModelError(f"{what} is of type {kind}, which ONNX does not have", _COPY)
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"{what} has the dimensions {list(tensor.dims)}", _COPY)
    count = math.prod(tensor.dims)
    name = TensorProto.DataType.Name(kind)
    bits = _PACKED.get(name) or 8 * helper.tensor_dtype_to_np_dtype(kind).itemsize
    size: int = -(-count * bits // 8)
    if isinstance(tensor, SparseTensorProto) or lies_apart(tensor):
        return size
    if tensor.HasField("raw_data"):
        held, wanted = len(tensor.raw_data), size
    else:
        held = len(getattr(tensor, helper.tensor_dtype_to_field(kind)))
        wanted = size if name in _PACKED else count * (2 if name.startswith("COMPLEX") else 1)
    if held != wanted:
        raise ModelError(
            f"{what} holds {held:,} of the {wanted:,} that make {_shape(tensor)}", _COPY
        )
    return size


def place(tensor: TensorProto, folder: Path) -> Apart:
    """Where it lies, for a network whose files are in `folder`, as far as the network tells.

    Raises ModelError for a place that is no part of any file.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    length = byte_count(tensor)
    location = entries.get("location", "")
    try:
        offset = int(entries.get("offset", 0))
        whole = int(entries.get("length", length)) == length
    except ValueError:
        whole, offset = False, 0
    if not whole or offset < 0:
        raise ModelError(
            f"the network's weight {_name(tensor)!r} lies at {entries.get('offset', 0)} of length "
            f"{entries.get('length')} in {location!r}, {_shape(tensor)} takes {length}",
            _COPY,
        )
    return Apart(folder / location, offset, length)


def checked_place(tensor: TensorProto, path: Path) -> Apart:
    """Where it lies, for the network in the file at `path`, and it is all there.

    Only files in that file's own folder or below are read. A link may lead elsewhere in one case:
    where the network's file itself is a link, into the folder it leads to, which is how Hugging Face
    lays out its cache. Raises ModelError.
    """
    folder = path.parent
    apart = place(tensor, folder)
    location = _location(tensor)
    said = f"the network's weights {location!r}"
    pure = (PurePosixPath(location), PureWindowsPath(location))
    outside = ModelError(f"{said} lie outside of its folder", _BESIDE)
    if any(p.is_absolute() or p.drive or ".." in p.parts for p in pure) or _MEMORY in location:
        raise outside
    try:
        file = apart.file.resolve()
        status = file.stat()
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{said} cannot be read: {reason}", _BESIDE) from error
    if not any(file.is_relative_to(root) for root in (folder.resolve(), path.resolve().parent)):
        raise outside
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{said} are no file", _BESIDE)
    if apart.offset + apart.length > status.st_size:
        raise ModelError(
            f"{said} end at {status.st_size:,} bytes, {_name(tensor)!r} at "
            f"{apart.offset + apart.length:,}",
            _COPY,
        )
    return apart


def opened(file: Path) -> BinaryIO:
    """Raises ModelError."""
    try:
        return file.open("rb")
    except OSError as error:
        raise ModelError(
            f"the network's weights {file.name!r} cannot be read: {error.strerror}", _BESIDE
        ) from error


def take_in(tensor: TensorProto, apart: Apart) -> None:
    """Give the tensor its numbers, from where they lie."""
    tensor.raw_data = apart.read()
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def with_weights(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The model with the weights that lie in files of that folder; itself where it holds them all."""
    if not any(map(lies_apart, model.graph.initializer)):
        return model
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for tensor in whole.graph.initializer:
        if lies_apart(tensor):
            take_in(tensor, place(tensor, folder))
    return whole


def with_links_followed(model: onnx.ModelProto, folder: Path) -> tuple[onnx.ModelProto, Path]:
    """The model, and the folder of its weights, such that no link leads out of that folder.

    ONNX Runtime would follow none.
    """
    names = {_location(tensor) for tensor in model.graph.initializer if lies_apart(tensor)}
    files = {name: (folder / name).resolve() for name in names}
    if all(file == folder.resolve() / name for name, file in files.items()):
        return model, folder
    home = Path(os.path.commonpath([file.parent for file in files.values()]))
    followed = onnx.ModelProto()
    followed.CopyFrom(model)
    for tensor in followed.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = files[entry.value].relative_to(home).as_posix()
    return followed, home


def _location(tensor: TensorProto) -> str:
    return next((e.value for e in tensor.external_data if e.key == "location"), "")


def _name(tensor: TensorProto | SparseTensorProto) -> str:
    name: str = tensor.name if isinstance(tensor, TensorProto) else tensor.values.name
    return name


def _shape(tensor: TensorProto) -> str:
    """Its type and dimensions, as a person reads them."""
    return f"{TensorProto.DataType.Name(tensor.data_type)} {list(tensor.dims)}"
