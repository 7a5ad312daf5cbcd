"""What may be wrong with a network: seeded, by bytes or by meaning."""

from collections.abc import Callable

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from numpy.random import Generator
from onnx import AttributeProto, TensorProto, ValueInfoProto, helper, numpy_helper

ODD_NUMBERS = (0, 1, -1, 2, 3, 5, 7, 64, 1000, -(2**31), 2**31, 2**40, 2**62, -(2**63))
ODD_FLOATS = (0.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, 3e38)
ODD_NAMES = ("", "clip", "tiem.mask", "a\x1b[31m\r\nb\x00", "ключ 键", "\u202e", "x" * 5000, "../w")
OPERATORS = (
    *("Relu", "Add", "MatMul", "Gemm", "Conv", "ConvTranspose", "MaxPool", "AveragePool", "Concat"),
    *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Gather", "GatherND", "Slice"),
    *("Softmax", "Dropout", "LSTM", "GRU", "RNN", "Loop", "If", "Scan", "Constant", "Identity"),
    *("ConstantOfShape", "Expand", "Tile", "Resize", "Pad", "TopK", "NonZero", "OneHot", "Range"),
    *("RandomNormal", "RandomUniform", "Multinomial", "Bernoulli", "BatchNormalization", "Einsum"),
    *("Cast", "Shape", "Size", "Split", "SequenceAt", "SplitToSequence", "StringNormalizer"),
    *("QuantizeLinear", "DFT", "Optional", "Where", "Attention", "NoSuchOperator", "", "\x1b[2J"),
)


def mutate(content: bytes, random: Generator) -> tuple[str, bytes]:
    """What was done, and the network's file with it."""
    if random.random() < 0.25:
        change = _one(random, (_flip, _cut, _splice))
        return change.__name__, change(content, random)
    model = onnx.load_model_from_string(content)
    done = []
    for _ in range(random.integers(1, 4)):
        mend = _one(random, MEANINGS)
        done.append(mend.__name__)
        try:
            mend(model, random)
        except (IndexError, TypeError, ValueError, onnx.checker.ValidationError):
            done.pop()  # there is nothing of that kind
    try:
        return " ".join(done), model.SerializeToString()
    except (DecodeError, EncodeError):
        return "_cut", _cut(content, random)


def _one(random: Generator, things):  # type: ignore[no-untyped-def]
    return things[int(random.integers(len(things)))]


def _flip(content: bytes, random: Generator) -> bytes:
    array = np.frombuffer(content, np.uint8).copy()
    # What is not a weight lies at the ends.
    near = random.integers(0, min(len(array), 1500), random.integers(1, 9))
    array[np.where(random.random(near.shape) < 0.5, near, len(array) - 1 - near)] = random.integers(
        256
    )
    return array.tobytes()


def _cut(content: bytes, random: Generator) -> bytes:
    return content[: int(random.integers(len(content)))]


def _splice(content: bytes, random: Generator) -> bytes:
    first, second, third = sorted(int(at) for at in random.integers(0, len(content), 3))
    return content[:first] + content[second:third] + content[first:]


def _node(model: onnx.ModelProto, random: Generator) -> onnx.NodeProto:
    nodes = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    for node in model.graph.node:
        nodes.extend(inner for attribute in node.attribute for inner in attribute.g.node)
    return _one(random, nodes)


def _value(model: onnx.ModelProto, random: Generator) -> ValueInfoProto:
    return _one(random, [*model.graph.input, *model.graph.output])


def attribute(model: onnx.ModelProto, random: Generator) -> None:
    chosen: AttributeProto = _one(random, _node(model, random).attribute)
    number, real = _one(random, ODD_NUMBERS), _one(random, ODD_FLOATS)
    match int(random.integers(5)):
        case 0:
            chosen.type = int(random.integers(14))
        case 1:
            chosen.ints.append(number)
        case 2:
            chosen.name = _one(random, ("axis", "axes", "value", "to", *ODD_NAMES))
        case _:
            chosen.i, chosen.f, chosen.s = number, real, _one(random, ODD_NAMES).encode()
            if chosen.ints:
                chosen.ints[int(random.integers(len(chosen.ints)))] = number


def new_attribute(model: onnx.ModelProto, random: Generator) -> None:
    name = _one(random, ("axis", "perm", "kernel_shape", "group", "to", "mode", "direction"))
    value = _one(random, (*ODD_NUMBERS, *ODD_FLOATS, *ODD_NAMES, [-1, 2**40], [1e30]))
    _node(model, random).attribute.append(helper.make_attribute(name, value))


def size(model: onnx.ModelProto, random: Generator) -> None:
    dims = _value(model, random).type.tensor_type.shape.dim
    _one(random, dims).dim_value = _one(random, ODD_NUMBERS)


def rank(model: onnx.ModelProto, random: Generator) -> None:
    dims = _value(model, random).type.tensor_type.shape.dim
    if random.random() < 0.5:
        del dims[int(random.integers(len(dims)))]
    else:
        dims.add(dim_param=_one(random, ODD_NAMES))


def kind(model: onnx.ModelProto, random: Generator) -> None:
    _value(model, random).type.tensor_type.elem_type = int(random.choice([*range(27), 1000]))


def weight_size(model: onnx.ModelProto, random: Generator) -> None:
    dims = _one(random, model.graph.initializer).dims
    dims[int(random.integers(len(dims)))] = _one(random, ODD_NUMBERS)


def weight_kind(model: onnx.ModelProto, random: Generator) -> None:
    _one(random, model.graph.initializer).data_type = int(random.integers(27))


def weight_values(model: onnx.ModelProto, random: Generator) -> None:
    weight = _one(random, model.graph.initializer)
    values = numpy_helper.to_array(weight).copy()
    odd = ODD_NUMBERS if values.dtype.kind == "i" else ODD_FLOATS
    values.reshape(-1)[int(random.integers(values.size))] = _one(random, odd)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def weight_bytes(model: onnx.ModelProto, random: Generator) -> None:
    weight = _one(random, model.graph.initializer)
    weight.raw_data = weight.raw_data[: int(random.integers(len(weight.raw_data)))]


def weight_apart(model: onnx.ModelProto, random: Generator) -> None:
    weight = _one(random, model.graph.initializer)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    files = ("mutant.onnx", "/etc/passwd", "../clip.mp4", "*/_ORT_MEM_ADDR_/*", *ODD_NAMES)
    for key, text in (
        ("location", _one(random, files)),
        ("offset", str(_one(random, ODD_NUMBERS))),
    ):
        weight.external_data.add(key=key, value=text)


def operator(model: onnx.ModelProto, random: Generator) -> None:
    _node(model, random).op_type = _one(random, OPERATORS)


def domain(model: onnx.ModelProto, random: Generator) -> None:
    _node(model, random).domain = _one(random, ("own", "com.microsoft", "ai.onnx.ml", *ODD_NAMES))


def wire(model: onnx.ModelProto, random: Generator) -> None:
    node, other = _node(model, random), _node(model, random)
    names = node.input if random.random() < 0.7 else node.output
    known = [*other.output, *other.input, *(weight.name for weight in model.graph.initializer)]
    names[int(random.integers(len(names)))] = _one(random, [*known, *ODD_NAMES])


def order(model: onnx.ModelProto, random: Generator) -> None:
    nodes = [model.graph.node[int(at)] for at in random.permutation(len(model.graph.node))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def delete(model: onnx.ModelProto, random: Generator) -> None:
    parts = _parts(model, random)
    del parts[int(random.integers(len(parts)))]


def duplicate(model: onnx.ModelProto, random: Generator) -> None:
    parts = _parts(model, random)
    parts.append(_one(random, parts))


def _parts(model: onnx.ModelProto, random: Generator):  # type: ignore[no-untyped-def]
    graph, node = model.graph, _node(model, random)
    whole = (graph.node, graph.initializer, graph.input, graph.output, model.opset_import)
    return _one(random, (*whole, model.functions, node.input, node.output, node.attribute))


def version(model: onnx.ModelProto, random: Generator) -> None:
    number = int(random.choice([0, -1, 1, 6, 7, 8, 11, 13, 18, 21, 26, 99, 2**40]))
    if random.random() < 0.8:
        _one(random, model.opset_import).version = number
    else:
        model.ir_version = number


def metadata(model: onnx.ModelProto, random: Generator) -> None:
    key = _one(random, ("layout", "frames", "size", "mean", "scale", "labels", "output", "input"))
    odd = ("NTHWC", "TCHW", "1e9", "1000000000", "[]", "0", "1/0", "nan", '{"x": "1"}', "[[", "8x8")
    model.metadata_props.add(key=f"tiem.{key}", value=_one(random, (*odd, *ODD_NAMES)))


def rename(model: onnx.ModelProto, random: Generator) -> None:
    parts = (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output)
    _one(random, _one(random, parts)).name = _one(random, ODD_NAMES)


def enormous(model: onnx.ModelProto, random: Generator) -> None:
    """A value of 2^40 numbers in the way of another."""
    node = _node(model, random)
    huge = helper.make_tensor("shape", TensorProto.INT64, [2], [2**20, 2**20])
    model.graph.initializer.append(huge)
    maker = helper.make_node("ConstantOfShape", ["shape"], ["huge"])
    total = helper.make_node("ReduceMean", ["huge"], ["mean"])
    node.input[0], source = "moved", node.input[0]
    added = helper.make_node("Add", [source, "mean"], ["moved"])
    nodes = [maker, total, added, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


MEANINGS: tuple[Callable[[onnx.ModelProto, Generator], None], ...] = (
    *(attribute, attribute, new_attribute, size, rank, kind, weight_size, weight_kind),
    *(weight_values, weight_values, weight_bytes, weight_apart, operator, operator, domain),
    *(wire, wire, order, delete, delete, duplicate, version, metadata, rename, enormous),
)
