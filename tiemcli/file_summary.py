"""What a network's file holds, whatever it is for."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.inliner
from onnx import TensorProto

from tiemcli.inspection_document import File, Value
from tiemcli.kernels.free_batch import dims_of
from tiemcli.kernels.subgraph import every_node
from tiemcli.result import readable


def summarise(path: Path, sha256: str, proto: onnx.ModelProto) -> File:
    """Its size, weights, origin and operators."""
    names = {weight.name for weight in proto.graph.initializer}
    weights = [*proto.graph.initializer, *_constants(proto)]
    entries = [entry for weight in weights for entry in weight.external_data]
    beside = {path.parent / entry.value for entry in entries if entry.key == "location"}
    nodes = every_node(without_functions(proto).graph)
    return File(
        path=readable(path),
        sha256=sha256,
        bytes=sum(file.stat().st_size for file in [path, *beside]),
        parameters=sum(math.prod(w.dims) for w in weights if w.data_type != TensorProto.INT64),
        opsets={entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        inputs=tuple(summary(value) for value in proto.graph.input if value.name not in names),
        operators=dict(Counter(node.op_type for node in nodes).most_common()),
    )


def summary(value: onnx.ValueInfoProto) -> Value:
    """Name, type and shape as the file declares them."""
    kind, tensor = value.type.WhichOneof("value"), value.type.tensor_type
    if kind not in ("tensor_type", None):
        return Value(value.name, kind.removesuffix("_type").upper(), None)
    name = TensorProto.DataType.Name(tensor.elem_type)
    if not tensor.HasField("shape"):
        return Value(value.name, name, None)
    sizes = zip(dims_of(value), tensor.shape.dim, strict=True)
    shape = tuple(dim.dim_param or None if size is None else size for size, dim in sizes)
    return Value(value.name, name, shape)


def without_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The network with the functions of its own file written out."""
    return onnx.inliner.inline_local_functions(proto) if proto.functions else proto


def _constants(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for node in proto.graph.node:
        if node.op_type == "Constant":
            yield from (a.t for a in node.attribute if a.name == "value")
