"""The values of `--input`: what an input's type and shape hold is fed as it is said, and what they do
not hold is an error of one line."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.model import Model, load_model


def network(tmp_path: Path, gate: str) -> Path:
    """Mean colours times a gate, the second input, which is declared as `gate` says."""
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[N,3,4,8,8] clip, {gate} gate) => (float[N,3] answer) {{
            colors = ReduceMean<axes=[2,3,4], keepdims=0>(clip)
            factor = Cast<to=1>(gate)
            answer = Mul(colors, factor)
        }}"""
    )
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def loaded(path: Path, text: str) -> Model:
    return load_model(path, Facts.model_validate({"input": {"gate": text}}))


def gate_of(model: Model) -> np.ndarray:
    """What the network is fed there."""
    (fed,) = (weight for weight in model.proto.graph.initializer if weight.name == "gate")
    return numpy_helper.to_array(fed)


@pytest.mark.parametrize(
    ("gate", "text", "value"),
    [
        ("int64", "9007199254740993", np.int64(2**53 + 1)),
        ("uint8", "255", np.uint8(255)),
        ("int32[3]", "1,2.0,-3", np.array([1, 2, -3], np.int32)),
        ("bool[2]", "1,0", np.array([True, False])),
        ("float16", "0.1", np.float16(0.1)),
        ("float", "1" + "0" * 30, np.float32(1e30)),
        ("float[2,2]", "-inf", np.full((2, 2), -np.inf, np.float32)),
    ],
)
def test_numbers_are_fed_in_the_inputs_own_type(
    gate: str, text: str, value: np.ndarray, tmp_path: Path
) -> None:
    """None of them becomes another; one number fills a shape."""
    fed = gate_of(loaded(network(tmp_path, gate), text))
    assert (fed.dtype, fed.shape) == (value.dtype, value.shape)
    np.testing.assert_array_equal(fed, value)


def test_an_input_without_a_shape_takes_any(tmp_path: Path) -> None:
    """Some exporters declare none."""
    path = network(tmp_path, "float")
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    assert gate_of(loaded(path, "1,2,3")).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("gate", "text", "reason"),
    [
        ("int64", "1.5", "INT64"),
        ("int64", "nan", "INT64"),
        ("int32", "3000000000", "INT32"),
        ("uint8", "-1", "UINT8"),
        ("bool", "2", "BOOL"),
        ("float16", "1e6", "FLOAT16"),
        ("float", "1e", "could not convert"),
        ("string", "1", "takes no numbers"),
        ("float[100000,100000]", "1", "10,000,000,000 numbers, which are too many"),
    ],
)
def test_numbers_that_an_input_does_not_hold_are_an_error(
    gate: str, text: str, reason: str, tmp_path: Path
) -> None:
    """Nothing is rounded, wrapped round or cut off."""
    with pytest.raises(ModelError, match=reason) as error:
        loaded(network(tmp_path, gate), text)
    assert "give" in error.value.hint


def test_an_input_that_is_no_tensor_takes_no_numbers(tmp_path: Path) -> None:
    """Such as a sequence."""
    path = network(tmp_path, "float")
    model = onnx.load(path)
    model.graph.input[1].CopyFrom(helper.make_tensor_sequence_value_info("gate", 1, None))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="takes no numbers"):
        loaded(path, "1")


@pytest.mark.parametrize("form", ["empty", "zip", "text", "complex", "immense", "folder"])
def test_a_file_without_numbers_is_an_error(form: str, tmp_path: Path) -> None:
    """Whatever it is that bears the name."""
    path = tmp_path / "gate.npy"
    match form:
        case "empty":
            path.touch()
        case "zip":
            with path.open("wb") as file:
                np.savez(file, gate=np.ones(3))
        case "text":
            np.save(path, np.array("one"))
        case "complex":
            np.save(path, np.array(1j))
        case "immense":
            header = "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
            path.write_bytes(b"\x93NUMPY\x01\x00v\x00" + header.ljust(117).encode() + b"\n")
        case "folder":
            path.mkdir()
    with pytest.raises(ModelError, match=r"--input gate=.*gate\.npy: "):
        loaded(network(tmp_path, "float"), str(path))


def test_another_file_of_the_same_name_is_another_reading(tmp_path: Path) -> None:
    """By it a finished clip is recognised."""
    path, values = network(tmp_path, "float"), tmp_path / "gate.npy"
    np.save(values, np.float32(1))
    before = loaded(path, str(values)).reading()
    assert loaded(path, str(values)).reading() == before
    np.save(values, np.float32(2))
    assert loaded(path, str(values)).reading() != before


def test_a_file_of_facts_may_say_true(tmp_path: Path) -> None:
    """TOML's own word for a flag of the network."""
    path = network(tmp_path, "bool")
    path.with_suffix(".toml").write_text("[input]\ngate = true\n")
    assert gate_of(load_model(path, Facts())).tolist() is True


@pytest.mark.parametrize(
    "text", ["size = 1.5", "size = 2026-11-23", 'input = [["gate"]]', "input = 1"]
)
def test_facts_of_the_wrong_type_are_an_error(text: str, tmp_path: Path) -> None:
    """Which fact it is, and in which file."""
    path = network(tmp_path, "float")
    path.with_suffix(".toml").write_text(text)
    with pytest.raises(ModelError, match=rf"net\.toml: {text.split()[0]}: "):
        load_model(path, Facts())


@pytest.mark.parametrize("fact", ["input", "labels"])
def test_metadata_too_deep_to_read_is_an_error(fact: str, tmp_path: Path) -> None:
    """A stranger's file may hold anything."""
    path = network(tmp_path, "float")
    model = onnx.load(path)
    helper.set_model_props(model, {f"tiem.{fact}": "[" * 100_000})
    onnx.save(model, path)
    with pytest.raises(ModelError, match="nested too deeply"):
        load_model(path, Facts())
