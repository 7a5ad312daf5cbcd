"""Facts about a network travel in its ONNX file."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tiemcli.exporters import metadata


def identity() -> onnx.ModelProto:
    shape = ["batch", 3, 4, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["clip"], ["logits"])],
        "identity",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph)


def props(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def test_every_fact_is_written_in_the_form_the_reader_wants() -> None:
    """Numbers, pairs, triples and lists become text under keys that start with `tiem.`."""
    model = identity()
    metadata.write(
        model,
        {
            "layout": "NCTHW",
            "frames": 16,
            "stride": 2,
            "size": (64, 96),
            "mean": (0.43, 0.39, 0.38),
            "std": 0.25,
            "scale": 1 / 255,
            "color": "rgb",
            "resize": "stretch",
            "output": "logits",
            "labels": ["wave", 'a "quoted", name', "Rückwärts"],
        },
    )
    assert props(model) == {
        "tiem.layout": "NCTHW",
        "tiem.frames": "16",
        "tiem.stride": "2",
        "tiem.size": "64x96",
        "tiem.mean": "0.43,0.39,0.38",
        "tiem.std": "0.25",
        "tiem.scale": "0.00392156862745098",
        "tiem.color": "rgb",
        "tiem.resize": "stretch",
        "tiem.output": "logits",
        "tiem.labels": '["wave", "a \\"quoted\\", name", "Rückwärts"]',
    }


def test_text_is_written_as_it_stands() -> None:
    """A fact that is text already passes through untouched, labels too."""
    model = identity()
    facts = {"size": "112x112", "mean": "0.5", "labels": '["a", "b"]'}
    metadata.write(model, facts)
    assert props(model) == {f"tiem.{key}": value for key, value in facts.items()}


def test_the_facts_survive_the_file(tmp_path: Path) -> None:
    """What was written is read back from the saved file, and the file is a valid model."""
    model = identity()
    metadata.write(model, {"labels": ["jump", "spin"], "frames": 16})
    onnx.save(model, tmp_path / "net.onnx")
    loaded = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(loaded)
    assert json.loads(props(loaded)["tiem.labels"]) == ["jump", "spin"]
    assert props(loaded)["tiem.frames"] == "16"


def test_a_second_write_replaces_and_keeps_the_rest() -> None:
    """A fact written again has one value; other facts and foreign metadata stay."""
    model = identity()
    helper.set_model_props(model, {"author": "someone"})
    metadata.write(model, {"frames": 16, "color": "rgb"})
    metadata.write(model, {"frames": 8})
    assert props(model) == {"author": "someone", "tiem.frames": "8", "tiem.color": "rgb"}
    assert len(model.metadata_props) == 3


def test_an_unknown_fact_is_refused() -> None:
    """A misspelt key is a ValueError that names it, and nothing is written."""
    model = identity()
    with pytest.raises(ValueError, match="colour"):
        metadata.write(model, {"frames": 16, "colour": "rgb"})
    assert not model.metadata_props
