"""Read a network's file and the weights beside it: data, never code."""

import hashlib
import math
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from tiemcli.errors import ModelError, first_line

# Constants of so few numbers may be shapes.
LARGEST_SHAPE = 64


def read_network(path: Path) -> tuple[onnx.ModelProto, str]:
    """The graph, large weights left in the files beside it, and the SHA-256 of all of it.

    Raises ModelError for a file that is missing, empty or no ONNX, and for missing weights.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"{path}: no such file", "give the path of the network's ONNX file"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}", "give the path of an ONNX file") from error
    if not content:
        raise ModelError(f"{path}: the file is empty", "export or copy the network again")
    try:
        proto = onnx.load_model_from_string(content)
    except DecodeError:
        proto = onnx.ModelProto()
    if not proto.graph.node or not proto.opset_import:
        raise ModelError(
            f"{path}: not an ONNX network, or cut short", "export it to ONNX, or copy it again"
        ) from None
    digest = hashlib.sha256(content)
    for name in _external_files(proto):
        _take_in(proto, path.parent, name, digest)
    return proto, digest.hexdigest()


def _external_files(proto: onnx.ModelProto) -> list[str]:
    """The files, beside the network's, that hold its weights."""
    entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def _take_in(proto: onnx.ModelProto, folder: Path, name: str, digest: "hashlib._Hash") -> None:
    """Hash a file of weights, and load the few that the runtime must see to infer shapes."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(
            f"the network's weights lie outside of its folder, in {name}", "copy them beside it"
        )
    try:
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
        for tensor in proto.graph.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if entries.get("location") == name and math.prod(tensor.dims) <= LARGEST_SHAPE:
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
                tensor.data_location = TensorProto.DEFAULT
                del tensor.external_data[:]
    except (OSError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"the network's weights {name} cannot be read: {first_line(error)}",
            "copy them beside the network's file",
        ) from error
