"""What `tiem export` writes can be quantised by ONNX Runtime's own tool, and is explained then."""

from pathlib import Path

import numpy as np
import pytest

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("torchvision", reason="transformers' processors need torchvision")

from onnxruntime.quantization import quantize_dynamic

from tiemcli.exporters.export import export
from tiemcli.exporters.finish import Finish
from tiemcli.exporters.original import Converter, Form, Wanted
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.network import load_network

SMALL = {
    "image_size": 64,
    "num_frames": 8,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
}


@pytest.mark.slow
@pytest.mark.parametrize("converter", ["dynamo", "torchscript"])
def test_an_export_is_quantised_and_scored(converter: Converter, tmp_path: Path) -> None:
    """The tool finds no shape in the file to quarrel with, and a number of eight bits that turns the
    other way is no other answer."""
    transformers.VideoMAEConfig(**SMALL).save_pretrained(tmp_path / "small")
    export(
        f"hf:{tmp_path / 'small'}",
        Wanted(weights="none"),
        Form(converter),
        out=tmp_path / "net.onnx",
        finish=Finish(),
    )
    quantize_dynamic(tmp_path / "net.onnx", tmp_path / "int8.onnx")
    network = load_network(load_model(tmp_path / "int8.onnx", Facts()), "cpu")
    assert network.quantised
    clip = np.random.default_rng(0).random(network.model.shape, dtype=np.float32)
    scores = network.scorer(clip, np.zeros_like(clip)).score(np.eye(8, dtype=np.float32))
    assert np.ptp(scores) > 0
