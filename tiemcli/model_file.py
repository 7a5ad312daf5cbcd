"""Read a network's file and the weights beside it: data, never code."""

import hashlib
import stat
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import SparseTensorProto, TensorProto

from tiemcli.errors import ModelError, shown
from tiemcli.kernels.subgraph import every_node
from tiemcli.memory import available_memory
from tiemcli.weights import Apart, byte_count, checked_place, lies_apart, opened, take_in

# Bytes of a constant that may be a shape.
_LARGEST_SHAPE = 512
# Bytes of a file, by protobuf.
_LARGEST_FILE = 2 << 30
_BLOCK = 1 << 24
# What functions that call each other may grow to, in operators.
_MOST_OPERATORS = 1_000_000
_KINDS = frozenset(TensorProto.DataType.values())


def read_network(path: Path) -> tuple[onnx.ModelProto, str]:
    """The graph, large weights left in the files beside it, and the SHA-256 of all of it.

    Control characters in its names are replaced by what `shown` makes of them. Raises ModelError for
    a file that is missing, empty, too large or no ONNX, and for weights that are not all there, lie
    outside of the file's folder or take more memory than there is.
    """
    content = _content(path)
    try:
        proto = onnx.load_model_from_string(content)
    except DecodeError:
        proto = onnx.ModelProto()
    if not proto.graph.node or not proto.opset_import:
        raise ModelError(
            f"{path}: not an ONNX network, or cut short", "export it to ONNX, or copy it again"
        ) from None
    messages = list(_messages(proto))
    for message in messages:
        _make_readable(message)
        if isinstance(message, onnx.TypeProto.Tensor) and message.elem_type not in _KINDS:
            raise ModelError(
                f"the network has a tensor of type {message.elem_type}, which ONNX does not have",
                "export it again",
            )
    _check_functions(proto)
    tensors = [m for m in messages if isinstance(m, (TensorProto, SparseTensorProto))]
    _check_memory(sum(map(byte_count, tensors)))
    digest = hashlib.sha256(content)
    own = {id(tensor) for tensor in proto.graph.initializer}
    for tensor in tensors:
        if isinstance(tensor, TensorProto) and lies_apart(tensor):
            apart = checked_place(tensor, path)
            _hash(apart, digest)
            # The runtime must see shapes to infer others, and leaves to files only what lies here.
            if id(tensor) not in own or byte_count(tensor) <= _LARGEST_SHAPE:
                take_in(tensor, apart)
    return proto, digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path}: not a file", "give the path of an ONNX file")
        if status.st_size >= _LARGEST_FILE:
            raise ModelError(
                f"{path}: {status.st_size:,} bytes, and ONNX's files are smaller than 2 GiB",
                "export it with its weights in another file",
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"{path}: no such file", "give the path of the network's ONNX file"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}", "give the path of an ONNX file") from error
    if not content:
        raise ModelError(f"{path}: the file is empty", "export or copy the network again")
    return content


def _messages(model: onnx.ModelProto) -> Iterator[Message]:
    """All that the model is made of, wherever ONNX has it: bodies, functions, training and more."""
    waiting: list[Message] = [model]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                waiting.extend([value] if isinstance(value, Message) else value)


def _make_readable(message: Message) -> None:
    """Escape what a terminal would obey in its names. Raises ModelError for what is no text."""
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_STRING or field.name == "doc_string":
            continue
        several = not isinstance(value, (str, bytes))
        for index, text in enumerate(value if several else [value]):
            if isinstance(text, bytes):  # protobuf's way of saying so
                raise ModelError(
                    f"the network's {field.name} {text[:99]!r} is no UTF-8 text", "export it again"
                )
            if isinstance(message, onnx.StringStringEntryProto) or text == shown(text):
                continue
            if several:
                value[index] = shown(text)
            else:
                setattr(message, field.name, shown(text))


def _check_functions(model: onnx.ModelProto) -> None:
    """Raises ModelError for functions that call themselves, or that a small file makes huge."""
    if not model.functions:
        return
    called = {
        (function.domain, function.name): Counter(
            (node.domain, node.op_type) for node in every_node(function)
        )
        for function in model.functions
    }
    sizes: dict[tuple[str, str], int] = {}
    try:
        for key in TopologicalSorter(called).static_order():
            calls = called.get(key, Counter())
            sizes[key] = sum(times * sizes[other] for other, times in calls.items()) or 1
    except CycleError as error:
        raise ModelError("a function of the network calls itself", "export it again") from error
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in every_node(model.graph))
    if total > _MOST_OPERATORS:
        raise ModelError(
            f"the network has {total:,} operators, its functions written out", "export it again"
        )


def _check_memory(wanted: int) -> None:
    free = available_memory()
    if wanted > free:
        raise ModelError(
            f"the network's weights take {wanted / 1e9:,.1f} GB, {free / 1e9:,.1f} GB are free",
            "give the machine more memory, or is the file damaged?",
        )


def _hash(apart: Apart, digest: "hashlib._Hash") -> None:
    with opened(apart.file) as file:
        file.seek(apart.offset)
        left = apart.length
        while left and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
