"""A stranger's network is data: which files its weights may lie in."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.model_file import read_network
from tiemcli.scorers.network import load_network
from tiemcli.settings import Precision

Build = Callable[..., Path]
CLIP = np.random.default_rng(0).random((3, 4, 12, 16), dtype=np.float32)
# Where ONNX has tensors.
PLACES = ("initializer", "sparse", "attribute", "body", "function", "training")


def apart(tensor: TensorProto, location: str, **more: object) -> TensorProto:
    """The tensor, its numbers said to be in a file."""
    for field in ("raw_data", "int64_data", "float_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def save_apart(build: Build, folder: Path, location: str = "w.bin") -> Path:
    """A network whose large weights lie in a file of that name."""
    whole = onnx.load(build())
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        whole, folder / "net.onnx", save_as_external_data=True, location="w", size_threshold=99
    )
    proto = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "w").rename(folder / location)
    onnx.save(proto, folder / "net.onnx")
    return folder / "net.onnx"


def put(model: onnx.ModelProto, place: str, tensor: TensorProto) -> None:
    """A tensor in one of the places."""
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor)]
    body = helper.make_graph(nodes, "body", [], [helper.make_tensor_value_info("c", 1, None)])
    match place:
        case "initializer":
            model.graph.initializer.append(tensor)
        case "sparse":
            indices = numpy_helper.from_array(np.array([0]))
            model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [9]))
        case "attribute":
            model.graph.node.extend(nodes)
        case "body":
            model.graph.node.append(
                helper.make_node("If", ["c"], ["d"], then_branch=body, else_branch=body)
            )
        case "function":
            opset = [helper.make_opsetid("", 17)]
            model.functions.append(helper.make_function("own", "F", [], ["c"], nodes, opset))
        case "training":
            model.training_info.add().initialization.CopyFrom(body)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../secret", "a/../../secret", "C:\\secret", "..\\secret", "link"]
)
def test_no_tensor_may_lie_outside_of_the_networks_folder(
    build_network: Build, tmp_path: Path, place: str, location: str
) -> None:
    """Wherever in the file the tensor is, and however the path or a link leads out."""
    (tmp_path.parent / "secret").write_bytes(bytes(99))
    (tmp_path / "link").symlink_to(tmp_path.parent / "secret")
    path = build_network()
    proto = onnx.load(path)
    tensor = apart(numpy_helper.from_array(np.zeros(1, np.float32), "w"), location)
    put(proto, place, tensor)
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="outside of its folder"):
        read_network(path)


def test_a_folder_that_is_a_link_leads_no_tensor_out(build_network: Build, tmp_path: Path) -> None:
    """What lies under a link is where the link leads."""
    inside = tmp_path / "inside"
    inside.mkdir()
    path = save_apart(build_network, inside, "sub/w.bin")
    (inside / "sub").rename(tmp_path / "elsewhere")
    (inside / "sub").symlink_to("../elsewhere")
    with pytest.raises(ModelError, match="outside of its folder"):
        read_network(path)


def test_a_tensor_is_no_address_in_memory(build_network: Build, tmp_path: Path) -> None:
    """ONNX Runtime's name for its own memory is refused, though a file be called so."""
    path = build_network()
    proto = onnx.load(path)
    tag = "*/_ORT_MEM_ADDR_/*"
    (tmp_path / tag).parent.mkdir(parents=True)
    (tmp_path / tag).write_bytes(bytes(9999))
    apart(proto.graph.initializer[0], tag, offset=64)
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="outside of its folder"):
        read_network(path)


@pytest.mark.parametrize("location", ["", ".", "pipe", "zero", "sub", "a\0b", "missing", "loop"])
def test_weights_that_are_no_file_are_refused_at_once(
    build_network: Build, tmp_path: Path, location: str
) -> None:
    """A pipe, a device, a folder and a link to itself would be waited for, or read for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "sub").mkdir()
    path = build_network()
    proto = onnx.load(path)
    apart(proto.graph.initializer[0], location)
    onnx.save(proto, path)
    began = time.monotonic()
    with pytest.raises(ModelError, match="the network's weights "):
        read_network(path)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "more",
    [
        {"offset": -1},
        {"offset": 2**62},
        {"offset": "x"},
        {"offset": 1000},
        {"length": 3},
        {"length": 2**40},
        {"length": -5},
    ],
)
def test_a_tensor_that_is_not_all_in_its_file_is_refused(
    build_network: Build, tmp_path: Path, more: dict[str, object]
) -> None:
    """Offset and length must be numbers, within the file, and what the dimensions make."""
    path = build_network()
    proto = onnx.load(path)
    (tmp_path / "w.bin").write_bytes(proto.graph.initializer[0].raw_data)
    apart(proto.graph.initializer[0], "w.bin", **more)
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="weight"):
        read_network(path)


@pytest.mark.parametrize("precision", ["full", "half"])
@pytest.mark.parametrize("location", ["w.bin", "sub/deep/w.bin"])
def test_weights_in_a_folder_below_are_read(
    build_network: Build, tmp_path: Path, location: str, precision: Precision
) -> None:
    """Weights apart answer as weights inside, in half precision and in torch too."""
    inside = load_network(load_model(build_network(), Facts()), "cpu", precision=precision)
    (tmp_path / "apart").mkdir()
    model = load_model(save_apart(build_network, tmp_path / "apart", location), Facts())
    network = load_network(model, "cpu", precision=precision)
    np.testing.assert_allclose(network.outputs(CLIP), inside.outputs(CLIP), atol=1e-6)
    for whole, given in zip(
        model.with_weights().graph.initializer, inside.model.proto.graph.initializer, strict=True
    ):
        np.testing.assert_array_equal(numpy_helper.to_array(whole), numpy_helper.to_array(given))


def test_the_cache_of_hugging_face_is_read(build_network: Build, tmp_path: Path) -> None:
    """There the network and its weights are links into one folder, under other names."""
    expected = load_network(load_model(build_network(), Facts()), "cpu").outputs(CLIP)
    blobs, snapshot = tmp_path / "m/blobs", tmp_path / "m/snapshots/1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_apart(build_network, blobs)
    for name, blob in (("net.onnx", "aaa"), ("w.bin", "bbb")):
        (blobs / name).rename(blobs / blob)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    model = load_model(snapshot / "net.onnx", Facts())
    np.testing.assert_allclose(load_network(model, "cpu").outputs(CLIP), expected, atol=1e-6)
    assert model.with_weights().graph.initializer[0].raw_data
    # A network that is no link is not laid out so.
    (snapshot / "net.onnx").unlink()
    shutil.copy(blobs / "aaa", snapshot / "net.onnx")
    with pytest.raises(ModelError, match="outside of its folder"):
        read_network(snapshot / "net.onnx")


def test_the_hash_is_also_that_of_the_weights_apart(build_network: Build, tmp_path: Path) -> None:
    """Other weights are another network; what else their file holds is not."""
    path = save_apart(build_network, tmp_path)
    first = read_network(path)[1]
    with (tmp_path / "w.bin").open("r+b") as file:
        file.seek(0, 2)
        file.write(b"another network's")
        assert read_network(path)[1] == first
        file.seek(8)
        file.write(b"????")
    assert read_network(path)[1] != first


@pytest.mark.parametrize(
    ("dims", "problem"),
    [
        ([-1, 5], "has the dimensions"),
        ([2**40, 2**40], "holds"),
        ([2**62, 2**62, 2**62], "holds"),
        ([6, 4], "holds 120 of the 96"),
    ],
)
def test_a_weight_of_other_dimensions_is_refused(
    build_network: Build, dims: list[int], problem: str
) -> None:
    """Dimensions are compared with the bytes that are there, before anything is made of them."""
    path = build_network()
    proto = onnx.load(path)
    dense = next(w for w in proto.graph.initializer if w.name == "dense")
    del dense.dims[:]
    dense.dims.extend(dims)
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=problem):
        read_network(path)


def test_weights_that_memory_does_not_hold_are_not_read(
    build_network: Build, tmp_path: Path
) -> None:
    """A file of weights with nothing in it may be of any size."""
    path = build_network()
    proto = onnx.load(path)
    apart(proto.graph.initializer[0], "w.bin").dims[:] = [1 << 20, 1 << 20]
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4 << 40)
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"weights take 4,398\.0 GB"):
        read_network(path)
