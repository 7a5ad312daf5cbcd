"""One contract for every method: whatever it does, what it hands back means the same."""

import ast
import re
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import count, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from tiemcli import settings as declared
from tiemcli.errors import DeviceError, ModelError, UsageError
from tiemcli.facts import Facts
from tiemcli.methods import METHODS, method
from tiemcli.model import load_model
from tiemcli.pipeline import Explanation, Source, _shortfalls, explain
from tiemcli.scorers.network import Network, load_network
from tiemcli.settings import Settings
from tiemcli.video import Timeline

SHAPE = (8, 24, 24)
QUERIES = 48
# Little of everything: what is found need not be good.
SETTINGS = Settings(areas=(0.3, 0.1), queries=QUERIES, iterations=4, seed=3)
NETWORKS = {
    "3-D CNN": """
        a0 = Conv<pads = [1, 1, 1, 1, 1, 1], strides = [1, 2, 2]>(clip, k3d0)
        a1 = Relu(a0)
        a2 = Conv<pads = [1, 1, 1, 1, 1, 1]>(a1, k3d1)
        a3 = Relu(a2)
        pooled = GlobalAveragePool(a3)
        features = Flatten(pooled)
        logits = Gemm(features, dense, bias)
    """,
    "CNN-RNN": """
        turned = Transpose<perm = [0, 2, 1, 3, 4]>(clip)
        images = Reshape(turned, each)
        a0 = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(images, k2d0)
        a1 = Relu(a0)
        a2 = Conv<pads = [1, 1, 1, 1]>(a1, k2d1)
        a3 = Relu(a2)
        pooled = GlobalAveragePool(a3)
        sequence = Reshape(pooled, frames)
        timed = Transpose<perm = [1, 0, 2]>(sequence)
        all, last, cell = LSTM<hidden_size = 6>(timed, lstm_w, lstm_r)
        features = Squeeze(last, first)
        logits = Gemm(features, dense, bias)
    """,
}


# Forms of network that a method cannot do with, and says so.
REFUSED = {("saliency-tubes", "CNN-RNN")}
PAIRS = sorted(set(product(METHODS, NETWORKS)) - REFUSED)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    """A small seeded network of four classes for each form."""
    folder = tmp_path_factory.mktemp("networks")
    return {form: network_of(text, folder / f"{form}.onnx") for form, text in NETWORKS.items()}


def network_of(text: str, path: Path) -> Network:
    header = '<ir_version: 8, opset_import: ["": 13]>\n'
    sizes = ", ".join(map(str, SHAPE))
    signature = f"net (float[N, 3, {sizes}] clip) => (float[N, 4] logits)"
    proto = parser.parse_model(f"{header}{signature} {{ {text} }}")
    random = np.random.default_rng(5)
    shapes = {
        "k3d0": (6, 3, 3, 3, 3),
        "k3d1": (6, 6, 3, 3, 3),
        "k2d0": (6, 3, 3, 3),
        "k2d1": (6, 6, 3, 3),
        "lstm_w": (1, 24, 6),
        "lstm_r": (1, 24, 6),
        "dense": (6, 4),
        "bias": (4,),
    }
    weights = {
        name: (random.normal(size=shape) * 2 / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
        for name, shape in shapes.items()
    }
    weights["dense"] *= 2
    weights |= {
        "each": np.array([-1, 3, *SHAPE[1:]]),
        "frames": np.array([-1, SHAPE[0], 6]),
        "first": np.array([0]),
    }
    read = {name for node in proto.graph.node for name in node.input}
    for name, value in weights.items():
        if name in read:
            proto.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.save(proto, path)
    return load_network(load_model(path, Facts()), "cpu", batch_size=16)


def source_of(network: Network) -> Source:
    """Eight frames of noise before which a bright square moves."""
    random = np.random.default_rng(1)
    frames = random.integers(0, 120, (*SHAPE, 3)).astype(np.uint8)
    for index, frame in enumerate(frames):
        frame[8:16, 2 * index : 2 * index + 8] = (250, 200, 40)
    timeline = Timeline(
        Path("square.mp4"),
        frames=8,
        timestamps=np.arange(8) / 8,
        time_base=Fraction(1, 8),
        fps=Fraction(8),
        width=24,
        height=24,
        pixel_aspect=Fraction(1),
        rotation=0,
        mirrored=False,
        damaged="",
        version=(0, 0),
    )
    return Source(timeline, tuple(range(8)), network.model.preprocessing.clip(frames), (), 0.0)


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: " on ".join(pair))
def explanation(request: pytest.FixtureRequest, networks: dict[str, Network]) -> Explanation:
    """Of a network's own answer by one method."""
    name, form = request.param
    network = networks[form]
    return explain(source_of(network), network, replace(SETTINGS, method=name))


def test_saliency_orders_all_pixels(explanation: Explanation) -> None:
    """It is (T, H, W) float32, finite, and tells pixels apart."""
    saliency = explanation.evidence.saliency
    assert saliency.shape == SHAPE
    assert saliency.dtype == np.float32
    assert np.isfinite(saliency).all()
    assert saliency.min() < saliency.max()


def test_masks_ascend_and_keep_exactly_their_areas(explanation: Explanation) -> None:
    """A binary mask for each area, in order; each frame keeps what it is said to keep, and all frames
    what was asked for, or less where all that matter are full."""
    masks = explanation.masks
    pixels = SHAPE[1] * SHAPE[2]
    assert [mask.area for mask in masks] == [0.1, 0.3]
    for mask in masks:
        assert mask.values.shape == mask.soft.shape == mask.hard.shape == SHAPE
        assert set(np.unique(mask.hard)) == {0, 1}
        assert mask.soft.min() >= 0
        assert mask.soft.max() <= 1
        kept = mask.hard.mean(axis=(1, 2), dtype=np.float64)
        np.testing.assert_allclose(kept, mask.frame_areas, atol=0.5 / pixels + 1e-9)
        asked = mask.frame_areas.mean()
        partial = (mask.frame_areas < 1) & (explanation.temporal.importance > 0)
        assert asked <= mask.area + 1 / mask.hard.size
        assert asked >= mask.area - 1 / mask.hard.size or not partial.any()
        assert mask.effective_area == pytest.approx(kept.mean())


def test_importance_is_a_share_of_each_frame(explanation: Explanation) -> None:
    """(T,) numbers of at least 0 that sum to 1."""
    importance = explanation.temporal.importance
    assert importance.shape == SHAPE[:1]
    assert (importance >= 0).all()
    assert importance.sum() == pytest.approx(1)


def test_scores_are_those_of_the_hard_masks(explanation: Explanation) -> None:
    """Whoever scores a mask again finds what is said of it, and the marked area is the smallest that is
    enough."""
    network = explanation.network
    scorer = network.whole(explanation.source.input, explanation.base, explanation.target)
    scores = scorer.score(np.stack([mask.hard for mask in explanation.masks]))
    np.testing.assert_allclose([mask.score for mask in explanation.masks], scores, atol=1e-5)
    enough = [mask.score >= explanation.enough for mask in explanation.masks]
    expected = [is_enough and not any(enough[:index]) for index, is_enough in enumerate(enough)]
    assert [mask.smallest for mask in explanation.masks] == expected


def test_the_same_seed_gives_the_same_answer(explanation: Explanation) -> None:
    """Masks, saliency and importance are the same numbers again."""
    again = explain(explanation.source, explanation.network, explanation.settings)
    np.testing.assert_array_equal(again.evidence.saliency, explanation.evidence.saliency)
    np.testing.assert_array_equal(again.temporal.importance, explanation.temporal.importance)
    for mask, same in zip(explanation.masks, again.masks, strict=True):
        np.testing.assert_array_equal(mask.hard, same.hard)
        np.testing.assert_array_equal(mask.soft, same.soft)
    assert (again.forwards, again.backwards) == (explanation.forwards, explanation.backwards)


def test_cost_is_counted(explanation: Explanation) -> None:
    """The clip, what hides it, each mask and each query are forwards; gradients are where they must."""
    needs = method(explanation.settings.method).needs
    masks = len(explanation.masks)
    least = 1 + 2 + masks
    if needs == "queries":
        assert explanation.masks[0].evaluations <= QUERIES
        least += explanation.masks[0].evaluations
    assert explanation.forwards >= least
    assert explanation.computed > 0
    # With torch installed what may be either takes the gradient, unless its search has no use for it.
    by_gradients = explanation.evidence.backend == "autograd"
    assert (explanation.backwards > 0) == by_gradients
    assert by_gradients == (needs in ("gradients", "either"))
    wanted = {"queries": "queries", "nothing": "none"}.get(needs, "autograd")
    assert explanation.evidence.backend == wanted


@pytest.mark.parametrize(("name", "form"), sorted(REFUSED))
def test_a_form_that_a_method_cannot_do_with_is_refused(
    name: str, form: str, networks: dict[str, Network]
) -> None:
    """It is an error of the model that names another method."""
    network = networks[form]
    with pytest.raises(ModelError) as caught:
        explain(source_of(network), network, replace(SETTINGS, method=name))
    assert "--method" in caught.value.hint


@pytest.mark.parametrize("form", NETWORKS)
@pytest.mark.parametrize("name", [name for name, each in METHODS.items() if each.needs == "either"])
def test_what_needs_no_gradients_does_without_when_told(
    name: str, form: str, networks: dict[str, Network]
) -> None:
    """--backend finite-difference spends queries alone, on exact areas."""
    asked = replace(SETTINGS, method=name, backend="finite-difference", constraint="exact")
    explanation = explain(source_of(networks[form]), networks[form], asked)
    assert explanation.backwards == 0
    assert explanation.evidence.backend == "finite-difference"


@pytest.mark.parametrize(
    "name", [name for name, each in METHODS.items() if each.needs == "gradients"]
)
def test_what_needs_gradients_says_so(name: str, networks: dict[str, Network]) -> None:
    """--backend finite-difference is refused with what to do instead."""
    network = networks["3-D CNN"]
    asked = replace(SETTINGS, method=name, backend="finite-difference")
    with pytest.raises(UsageError, match=re.escape(name)):
        explain(source_of(network), network, asked)


@pytest.mark.parametrize(
    "name", [name for name, each in METHODS.items() if each.needs == "gradients"]
)
def test_a_gradient_that_memory_does_not_hold_is_an_error_of_the_device(
    name: str, networks: dict[str, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback; the hint names methods that take none."""
    torch = pytest.importorskip("torch")
    network = networks["3-D CNN"]
    scene = source_of(network)
    grad, calls = torch.autograd.grad, count()

    def full(*given: Any, **named: Any) -> Any:
        if next(calls):  # the first is the check before any method
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return grad(*given, **named)

    monkeypatch.setattr(torch.autograd, "grad", full)
    with pytest.raises(DeviceError, match="memory") as raised:
        explain(scene, network, replace(SETTINGS, method=name))
    assert "--method" in raised.value.hint


@pytest.mark.parametrize("name", ["tiem", "random"])
def test_what_hides_windows_is_doubted_where_windows_are_hidden(
    name: str, networks: dict[str, Network]
) -> None:
    """A black clip that scores as the clip does is told of to whom it matters."""
    network = networks["3-D CNN"]
    source = source_of(network)
    target = str(int(network.outputs(np.zeros_like(source.input)).argmax()))
    found = explain(source, network, replace(SETTINGS, method=name, target=target))
    assert found.window_base_score > 0.5 * found.clean
    told = any("--window-base" in warning for warning in found.warnings)
    assert told == bool(found.temporal.windows) == (name == "tiem")


def test_an_area_falls_short_where_frames_are_full_not_where_pixels_are_few(
    networks: dict[str, Network],
) -> None:
    """Of a clip with one frame that matters an eighth can be kept; that 24 x 24 pixels have no
    thousandth is nothing to tell."""
    network = networks["3-D CNN"]
    asked = replace(SETTINGS, method="ep-2d", constraint="exact", backend="finite-difference")
    few = explain(source_of(network), network, replace(asked, areas=(0.004,)))
    assert few.masks[0].effective_area < 0.98 * 0.004
    assert not any("asked for" in warning for warning in few.warnings)
    (mask,) = few.masks
    full = replace(mask, area=0.3, frame_areas=np.eye(8)[2], hard=np.zeros(SHAPE, np.float32))
    full.hard[2] = 1
    told = list(_shortfalls((full,), few.clean, few.enough))
    assert "12% is kept where 30% was asked for" in told[0]


def test_names_are_those_that_settings_declare() -> None:
    """The registry, in its order, is what --method takes; each under its own name."""
    assert tuple(METHODS) == get_args(declared.Method)
    assert all(each.name == name for name, each in METHODS.items())


def test_an_unknown_method_is_told_the_others() -> None:
    """A name that is none lists those that are."""
    with pytest.raises(UsageError) as caught:
        method("gradcam")
    assert "grad-cam++" in caught.value.hint


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_its_source(name: str) -> None:
    """The year that the table of methods gives stands in the docstring of its file; all but our own
    and what looks at nothing have one."""
    spec = find_spec(f"tiemcli.methods.{METHODS[name].module}")
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    assert docstring
    years = re.findall(r"(?:19|20)\d\d", METHODS[name].summary)
    assert bool(years) == (name not in ("tiem", "random", "center"))
    assert all(year in docstring for year in years)
