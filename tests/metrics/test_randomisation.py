import math
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import spearmanr

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.metrics.randomisation import randomised, similarity
from tiemcli.model import Model, load_model
from tiemcli.scorers.network import load_network


@pytest.fixture(scope="module")
def sample() -> Model:
    return load_model(Path(str(files("tiemcli.samples") / "net.onnx")), Facts())


def weights_of(model: Model) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}


def test_a_randomised_network_answers_and_answers_otherwise(sample: Model) -> None:
    """The sample network's loads and is fed as before; what it says has little to do with it."""
    _, frames, height, width = sample.shape
    pixels = np.random.default_rng(0).integers(0, 256, (frames, height, width, 3))
    clip = sample.preprocessing.clip(pixels.astype(np.uint8))
    learned = load_network(sample, "cpu").outputs(clip)
    other = load_network(randomised(sample, np.random.default_rng(1)), "cpu").outputs(clip)
    assert np.isfinite(other).all()
    assert other.sum() == pytest.approx(1)
    assert np.abs(other - learned).max() > 0.05


def test_weights_keep_their_values_and_lose_their_places(sample: Model) -> None:
    """Each tensor of two axes or more holds what it held, elsewhere; the file's own is untouched,
    and so are biases."""
    before = weights_of(sample)
    after = weights_of(randomised(sample, np.random.default_rng(1)))
    for name, learned in weights_of(sample).items():
        np.testing.assert_array_equal(learned, before[name])
        np.testing.assert_array_equal(np.sort(after[name], axis=None), np.sort(learned, axis=None))
        assert after[name].shape == learned.shape
        assert np.array_equal(after[name], learned) == (learned.ndim == 1)


def test_a_seed_repeats_and_another_differs(sample: Model) -> None:
    """All randomness is the generator's."""
    drawn = [
        randomised(sample, np.random.default_rng(seed)).proto.SerializeToString()
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_weights_in_a_file_beside_the_network_are_drawn_anew(sample: Model, tmp_path: Path) -> None:
    """They come into the graph, as those that were in it."""
    path = tmp_path / "apart.onnx"
    onnx.save(
        onnx.load(sample.path), path, save_as_external_data=True, size_threshold=0, location="w"
    )
    apart = load_model(path, Facts())
    assert any(t.external_data for t in apart.proto.graph.initializer)
    drawn = randomised(apart, np.random.default_rng(1))
    inside = weights_of(randomised(sample, np.random.default_rng(1)))
    for name, weight in weights_of(drawn).items():
        np.testing.assert_array_equal(weight, inside[name])


def test_constants_are_weights_too(build_network: Callable[..., Path]) -> None:
    """Of nodes as of initializers; whole numbers, which are shapes, are not."""
    path = build_network()
    proto = onnx.load(path)
    (kernel,) = (t for t in proto.graph.initializer if t.name == "kernel")
    proto.graph.initializer.remove(kernel)
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["kernel"], value=kernel))
    onnx.save(proto, path)
    drawn = randomised(load_model(path, Facts()), np.random.default_rng(1)).proto.graph
    learned, now = (numpy_helper.to_array(t) for t in (kernel, drawn.node[0].attribute[0].t))
    assert not np.array_equal(learned, now)
    np.testing.assert_array_equal(np.sort(learned, axis=None), np.sort(now, axis=None))
    shapes = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    np.testing.assert_array_equal(
        numpy_helper.to_array(next(t for t in drawn.initializer if t.name == "flat")),
        shapes["flat"],
    )


def test_a_mask_of_attention_stays_where_it_is(build_network: Callable[..., Path]) -> None:
    """A tensor with −∞ in it hides, and scattered it would hide all of a row."""
    path = build_network()
    proto = onnx.load(path)
    hiding = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    proto.graph.initializer.append(numpy_helper.from_array(hiding, "hiding"))
    onnx.save(proto, path)
    drawn = weights_of(randomised(load_model(path, Facts()), np.random.default_rng(1)))
    np.testing.assert_array_equal(drawn["hiding"], hiding)


def test_a_network_without_weights_cannot_be_randomised(tmp_path: Path) -> None:
    """That is an error of the network, not a check that it has passed."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["clip"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["value"]),
        ],
        "mean",
        [value("clip", TensorProto.FLOAT, ["N", 3, 4, 8, 8])],
        [value("value", TensorProto.FLOAT, ["N", 3])],
    )
    path = tmp_path / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    model = load_model(path, Facts(layout="NCTHW", output="value"))
    with pytest.raises(ModelError, match="no weights"):
        randomised(model, np.random.default_rng(0))


# Few values, so that many are equal.
COARSE = arrays(np.float32, (3, 4, 5), elements=st.sampled_from([-1.5, 0.0, 0.25, 2.0, 7.0]))


@given(COARSE, COARSE)
def test_similarity_is_spearmans(a: np.ndarray, b: np.ndarray) -> None:
    """As SciPy has it, ties included; of a volume of one value there is none."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert math.isnan(similarity(a, b))
    else:
        assert similarity(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)


def test_similarity_is_of_ranks() -> None:
    """1 of a volume and any rising function of it, −1 of a falling one."""
    volume = np.random.default_rng(0).random((4, 6, 8), dtype=np.float32)
    assert similarity(volume, np.exp(5 * volume)) == pytest.approx(1)
    assert similarity(volume, -volume) == pytest.approx(-1)
