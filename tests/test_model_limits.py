"""What a small file may ask for, and what a name may say: found out before it does harm."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.memory import resident_memory
from tiemcli.model import load_model
from tiemcli.model_file import read_network
from tiemcli.scorers.network import load_network

Build = Callable[..., Path]
CLIP = np.random.default_rng(0).random((3, 4, 12, 16), dtype=np.float32)


def enormous(nodes: list[tuple], proto: onnx.ModelProto) -> None:
    """Put nodes in front that make a value of 2^40 numbers, of which the mean is added to x."""
    big = numpy_helper.from_array(np.array([1, 1, 1, 2**20, 2**20]), "big")
    one = numpy_helper.from_array(np.zeros((1, 1, 1, 1, 1), np.float32), "one")
    proto.graph.initializer.extend([big, one])
    made = [helper.make_node(*node, name=f"m{index}") for index, node in enumerate(nodes)]
    made.append(helper.make_node("ReduceMean", ["huge"], ["mean"], keepdims=0))
    proto.graph.node[0].input[0] = "moved"
    made.append(helper.make_node("Add", ["clip", "mean"], ["moved"]))
    kept = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*made, *kept])


@pytest.mark.parametrize(
    "nodes",
    [
        [("ConstantOfShape", ["big"], ["huge"])],
        [("Expand", ["one", "big"], ["huge"])],
        [("Tile", ["one", "big"], ["huge"])],
        [("Cast", ["big"], ["scales"]), ("Resize", ["one", "", "scales"], ["huge"])],
        [("Shape", ["big"], ["five"]), ("ConstantOfShape", ["big"], ["huge"])],
    ],
    ids=lambda nodes: nodes[-1][0] if isinstance(nodes, list) else None,
)
def test_a_value_that_memory_does_not_hold_is_told_before_it_is_made(
    build_network: Build, nodes: list[tuple]
) -> None:
    """The graph tells of most; ONNX Runtime refuses the others, and neither takes the memory."""
    path = build_network()
    proto = onnx.load(path)
    enormous(nodes, proto)
    for node in proto.graph.node:
        if node.op_type == "Cast" and node.output[0] == "scales":
            node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    onnx.save(proto, path)
    began, held = time.monotonic(), resident_memory()
    with pytest.raises(ModelError, match=r"'huge' takes 4,398\.0 GB|memory|alloc"):
        load_network(load_model(path, Facts()), "cpu")
    assert time.monotonic() - began < 5
    assert resident_memory() - held < 300 << 20


@pytest.mark.parametrize(
    ("sizes", "facts"),
    [
        ({"height": 10_000, "width": 10_000, "frames": 100_000}, Facts()),
        ({"batch": 10**9}, Facts()),
        ({"height": 2**62}, Facts()),
        ({"frames": "T"}, Facts(frames=10**9)),
    ],
)
def test_an_input_that_memory_does_not_hold_is_told_at_once(
    build_network: Build, sizes: dict[str, int], facts: Facts
) -> None:
    """The file or --frames may ask for petabytes."""
    path = build_network()
    proto = onnx.load(path)
    dims = dict(zip(["batch", "C", "frames", "height", "width"], range(5), strict=True))
    for name, size in sizes.items():
        dim = proto.graph.input[0].type.tensor_type.shape.dim[dims[name]]
        dim.Clear()
        if isinstance(size, int):
            dim.dim_value = size
    onnx.save(proto, path)
    began, held = time.monotonic(), resident_memory()
    with pytest.raises(ModelError, match=r"clip\(s\) of C 3 × T .* GB are free"):
        load_model(path, facts)
    assert time.monotonic() - began < 1
    assert resident_memory() - held < 50 << 20


def test_a_file_larger_than_onnx_allows_is_not_read(tmp_path: Path) -> None:
    """50 GB of nothing; nor is a pipe waited for."""
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(50 << 30)
    with pytest.raises(ModelError, match="smaller than 2 GiB"):
        read_network(tmp_path / "huge.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="not a file"):
        read_network(tmp_path / "pipe.onnx")


def doubling(calls: list[str]) -> list[onnx.FunctionProto]:
    """Functions F0, F1 …, each of which calls the next twice; the last calls `calls`."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def function(index: int) -> onnx.FunctionProto:
        inside = [f"F{index + 1}"] * 2 if index < 40 else calls
        names = [*(f"v{at}" for at in range(len(inside))), "out"]
        nodes = [
            helper.make_node(
                name, [names[at]], [names[at + 1]], domain="own" if "F" in name else ""
            )
            for at, name in enumerate(inside)
        ]
        return helper.make_function("own", f"F{index}", ["v0"], ["out"], nodes, opsets)

    return [function(index) for index in range(41)]


@pytest.mark.parametrize(
    ("calls", "problem"), [(["Relu"], "1,099,511,627,7.. operators"), (["F7"], "calls itself")]
)
def test_functions_that_grow_without_bound_are_refused(
    build_network: Build, calls: list[str], problem: str
) -> None:
    """By the size of the file they would be nothing."""
    path = build_network()
    proto = onnx.load(path)
    proto.functions.extend(doubling(calls))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "F0", "own"
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=problem):
        read_network(path)


def test_a_loop_that_does_not_end_is_ended(
    build_network: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while that no honest loop takes."""
    monkeypatch.setattr("tiemcli.scorers.session.LONGEST_LOOP", 0.3)
    path = build_network()
    proto = onnx.load(path)
    scalar = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Identity", ["go"], ["on"]),
        helper.make_node("Identity", ["v"], ["same"]),
    ]
    ends = [helper.make_tensor_value_info(n, k, None) for n, k in (("on", 9), ("same", 1))]
    body = helper.make_graph(nodes, "body", [scalar, flag, value], ends)
    for array, name in ((np.array(2**62), "turns"), (np.array(True), "yes")):
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    last = proto.graph.node[-1]
    last.output[0] = "before"
    loop = helper.make_node("Loop", ["turns", "yes", "before"], ["logits"], body=body)
    proto.graph.node.append(loop)
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="a loop of the network has not ended"):
        load_network(load_model(path, Facts()), "cpu")


def test_a_million_labels_are_read(build_network: Build) -> None:
    """They are only of no use to a network of five classes."""
    path = build_network()
    labels = path.with_name("labels.txt")
    labels.write_text("\n".join(f"label {index}" for index in range(10**6)), encoding="utf-8")
    path.with_suffix(".toml").write_text('labels = "labels.txt"\n', encoding="utf-8")
    began = time.monotonic()
    model = load_model(path, Facts())
    with pytest.raises(ModelError, match=r"1000000|1,000,000"):
        load_network(model, "cpu")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("how", ["deep", "cycle", "duplicate", "many", "unnamed"])
def test_a_graph_that_is_no_graph_is_one_line(build_network: Build, how: str) -> None:
    """Bodies 10,000 deep, a cycle, two nodes of one output; but 5,000 nodes are only many."""
    path = build_network()
    proto = onnx.load(path)
    nodes = proto.graph.node
    if how == "deep":
        content = nodes[0].SerializeToString()
        for _ in range(10_000):
            graph = b"\x0a" + _varint(len(content)) + content
            attribute = b"\x0a\x01g\x32" + _varint(len(graph)) + graph + b"\xa0\x01\x05"
            content = b"\x22\x02If\x2a" + _varint(len(attribute)) + attribute
        graph = b"\x0a" + _varint(len(content)) + content
        path.write_bytes(proto.SerializeToString() + b"\x3a" + _varint(len(graph)) + graph)
    else:
        match how:
            case "cycle":
                nodes[0].input[0] = "logits"
            case "duplicate":
                nodes.append(nodes[-1])
            case "many":
                for index in range(5000):
                    nodes.append(helper.make_node("Relu", [nodes[-1].output[0]], [f"m{index}"]))
            case "unnamed":
                nodes[0].input[0] = ""
        onnx.save(proto, path)
    if how == "many":
        assert len(load_model(path, Facts()).proto.graph.node) > 5000
        return
    with pytest.raises(ModelError) as error:
        load_network(load_model(path, Facts()), "cpu")
    assert "\n" not in error.value.message


def _varint(number: int) -> bytes:
    """As protobuf writes lengths."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def test_names_cannot_speak_to_the_terminal(build_network: Build) -> None:
    """Control characters in names and labels are shown as what they are; the network still runs."""
    path = build_network()
    proto = onnx.load(path)
    for index, node in enumerate(proto.graph.node):
        node.name = f"{index}\x1b]0;owned\x07"
        node.output[:] = [name.replace("x3", "x\x1b[2J\u202e") for name in node.output]
        node.input[:] = [name.replace("x3", "x\x1b[2J\u202e") for name in node.input]
    proto.metadata_props.add(key="tiem.labels", value='["a\\u001b[31m", "b\\n", "ключ", "d", "e"]')
    onnx.save(proto, path)
    model = load_model(path, Facts())
    assert model.labels == ("a\\x1b[31m", "b\\n", "ключ", "d", "e")
    assert "\x1b" not in str(model.proto.graph)
    assert load_network(model, "cpu").outputs(CLIP).shape == (5,)


def test_a_name_that_is_no_text_is_refused(build_network: Build) -> None:
    """protobuf lets any bytes through where ONNX has names."""
    path = build_network()
    path.write_bytes(path.read_bytes().replace(b"logits", b"log\xff\xfes"))
    with pytest.raises(ModelError, match="is no UTF-8 text"):
        read_network(path)
