"""Half precision is asked for, and never silent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.half import in_half_precision
from tiemcli.scorers.network import load_network


def test_scores_in_half_precision_are_close(build_network: Callable[..., Path]) -> None:
    """All weights are in half precision, and scores move by less than a hundredth of their range."""
    model = load_model(build_network(), Facts())
    weights = in_half_precision(model.proto, model.path.parent).graph.initializer
    kinds = {weight.data_type for weight in weights}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert onnx.TensorProto.FLOAT not in kinds
    clip, base = np.random.default_rng(0).random((2, *model.shape), dtype=np.float32)
    keep = np.tri(model.shape[1], dtype=np.float32)
    full, half = (
        load_network(model, "cpu", precision=precision).scorer(clip, base).score(keep)
        for precision in ("full", "half")
    )
    assert 0 < np.abs(full - half).max() < 0.01


def test_a_network_that_half_precision_breaks_is_refused(
    build_network: Callable[..., Path],
) -> None:
    """Where a weight is one that float16 has not, the answer differs, and that is an error."""
    path = build_network()
    proto = onnx.load(path)
    name = proto.graph.node[0].input[0]
    for place, (operator, value) in enumerate((("Add", 3001.0), ("Sub", 3000.0))):
        constant = onnx.numpy_helper.from_array(np.float32(value), f"constant{place}")
        proto.graph.initializer.append(constant)
        node = onnx.helper.make_node(operator, [name, constant.name], [f"step{place}"])
        proto.graph.node.insert(place, node)
        name = f"step{place}"
    proto.graph.node[2].input[0] = name
    onnx.save(proto, path)
    model = load_model(path, Facts())
    load_network(model, "cpu")
    with pytest.raises(ModelError, match="half precision"):
        load_network(model, "cpu", precision="half")


def test_nodes_stay_behind_what_they_read(build_network: Callable[..., Path]) -> None:
    """So that parts of the network can be cut out, as reuse does."""
    model = load_model(build_network(), Facts())
    onnx.checker.check_model(in_half_precision(model.proto, model.path.parent))
