"""One contract for every scorer: whatever the network's form, Φ is what plain NumPy and plain ONNX
Runtime say of the blended clip."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tiemcli.errors import ClipError, ModelError
from tiemcli.facts import Facts
from tiemcli.kernels.blend import blend
from tiemcli.kernels.fuse import opset_of
from tiemcli.kernels.layout import to_layout
from tiemcli.kernels.upsample import gaussian_upsampling
from tiemcli.model import Model, load_model
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.endpoint import Endpoint
from tiemcli.scorers.network import Network, OnnxNetwork, load_network
from tiemcli.scorers.outside import load_outside

FORMS = [
    pytest.param({}, Facts(), id="free batch"),
    pytest.param({"batch": 1}, Facts(), id="batch declared 1"),
    pytest.param({"batch": 1, "pinned": True}, Facts(), id="batch pinned at 1"),
    pytest.param({"batch": 2, "pinned": True}, Facts(), id="batch pinned at 2"),
    pytest.param({"batch": 3}, Facts(), id="batch declared 3"),
    pytest.param({"layout": "NTCHW"}, Facts(), id="NTCHW"),
    pytest.param({"layout": "NTHWC"}, Facts(), id="NTHWC"),
    pytest.param({"layout": "NCHWT"}, Facts(layout="NCHWT"), id="NCHWT"),
    pytest.param({"layout": "TCHW"}, Facts(frames=4), id="TCHW folded"),
    pytest.param({"layout": "TCHW", "batch": 1}, Facts(frames=4), id="TCHW of one clip"),
    pytest.param({"channels": 1}, Facts(), id="gray"),
    pytest.param({"channels": 1, "layout": "NTHW"}, Facts(layout="NTHW"), id="no channel axis"),
    pytest.param({"kind": onnx.TensorProto.FLOAT16}, Facts(), id="float16"),
    pytest.param({"kind": onnx.TensorProto.UINT8}, Facts(), id="uint8"),
    pytest.param({"ending": "probabilities"}, Facts(), id="probabilities"),
    pytest.param({"ending": "value"}, Facts(), id="value"),
    pytest.param({"opset": 12}, Facts(), id="opset 12"),
    pytest.param({}, Facts(mean=(0.4,), std=(0.2,)), id="normalised"),
    pytest.param({"ir_version": 3, "opset": 12}, Facts(), id="weights as inputs"),
]


def frames_of(model: Model, seed: int) -> np.ndarray:
    """Random frames (T, H, W, 3) uint8."""
    t, h, w = (model.sizes[a] for a in "THW")
    return np.random.default_rng(seed).integers(0, 256, (t, h, w, 3)).astype(np.uint8)


def reference(
    path: Path, model: Model, kind: str, clip: np.ndarray, base: np.ndarray, keep: np.ndarray
):
    """All outputs under one mask (T, H, W): NumPy's blend into the untouched network."""
    mixed = blend(clip, base, keep[None]).repeat(model.batch or 1, axis=0)
    if model.element_type == onnx.TensorProto.UINT8:
        mixed = np.floor(mixed + 0.5)
    fed = to_layout(mixed.astype(np.float32), model.layout)
    session = ort.InferenceSession(str(path))
    dtype = {1: np.float32, 10: np.float16, 2: np.uint8}[model.element_type]
    answer = session.run(None, {"clip": fed.astype(dtype)})[0][0].astype(np.float64)
    if kind != "logits":
        return answer
    exponential = np.exp(answer - answer.max())
    return exponential / exponential.sum()


def load(path: Path, facts: Facts, batch_size: int | None = None) -> OnnxNetwork:
    return load_network(load_model(path, facts), "cpu", batch_size)


@pytest.mark.parametrize("where", ["fused", "outside"])
@pytest.mark.parametrize(("form", "facts"), FORMS)
def test_scores_are_those_of_the_blended_clip(
    form: dict,
    facts: Facts,
    where: str,
    build_network: Callable[..., Path],
    endpoint_of: Callable[..., Endpoint],
) -> None:
    """Windows, full masks and upsampled grids score as the untouched network does, whether its graph
    is known or only its answers."""
    path = build_network(**form)
    network: Network = load(path, facts)
    if where == "outside":
        network = load_outside(endpoint_of(path), facts, Facts())
    model, kind = network.model, network.port.output_kind
    clip, base = (model.preprocessing.clip(frames_of(model, seed)) for seed in (0, 1))
    target = network.port.classes - 1
    scorer = network.scorer(clip, base, target)
    t, h, w = scorer.shape
    random = np.random.default_rng(2)
    whole = (random.random((5, t)) < 0.5).astype(np.float32)
    full = random.random((5, t, h, w), dtype=np.float32)
    grid = gaussian_upsampling(h, w, 3.0, 2.0)
    cells = random.random((5, t, *grid.cells), dtype=np.float32)
    for keep, upsampling, pixels in (
        (whole, None, np.broadcast_to(whole[:, :, None, None], full.shape)),
        (full, None, full),
        (cells, grid, grid(cells)),
    ):
        expected = [reference(path, model, kind, clip, base, mask)[target] for mask in pixels]
        tolerance = 2e-2 if model.element_type == onnx.TensorProto.UINT8 else 2e-4
        np.testing.assert_allclose(
            scorer.score(keep, upsampling), expected, atol=tolerance * max(1, np.ptp(expected))
        )
        choice = random.integers(0, 5, (7, t))
        told: list[int] = []
        np.testing.assert_allclose(
            scorer.score(keep, upsampling, choice, progress=told.append),
            scorer.score(keep[choice, np.arange(t)], upsampling),
            atol=1e-6,
        )
        assert sum(told) == 7
    assert scorer.forwards == 3 * (5 + 7 + 7)
    np.testing.assert_allclose(
        network.outputs(clip),
        reference(path, model, kind, clip, clip, full[0]),
        rtol=1e-3,
        atol=1e-5,
    )


@pytest.mark.parametrize("form", [{"batch": 1, "pinned": True}, {"batch": 1}, {"batch": 3}])
def test_a_fixed_batch_is_freed(form: dict, build_network: Callable[..., Path]) -> None:
    """A batch that the file fixes at 1 becomes free, also where a Reshape pins it."""
    assert load(build_network(**form), Facts()).looped is None


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_cannot_be_freed_is_looped(
    batch: int, build_network: Callable[..., Path]
) -> None:
    """Where freeing changes the answer, clips go one by one, filling a larger batch with copies; the
    scores are right and it is said."""
    path = build_network(batch=batch)
    proto = onnx.load(path)
    # Each clip's answer depends on the whole batch: right at 1, wrong in any larger one.
    graph = proto.graph
    graph.node.extend(
        [
            onnx.helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1),
            onnx.helper.make_node("Add", ["logits", "mean"], ["mixed"]),
        ]
    )
    graph.output[0].name = "mixed"
    onnx.save(proto, path)
    network = load(path, Facts())
    assert network.looped == batch
    assert any("one by one" in note for note in network.notes)
    model = network.model
    clip, base = (model.preprocessing.clip(frames_of(model, seed)) for seed in (0, 1))
    keep = np.random.default_rng(2).random((5, 4, 12, 16), dtype=np.float32)
    scores = network.scorer(clip, base, 0).score(keep)
    expected = [reference(path, model, "logits", clip, base, mask)[0] for mask in keep]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_the_networks_own_graph_is_untouched(build_network: Callable[..., Path]) -> None:
    """Fusing copies: the model in memory is the file's."""
    path = build_network()
    before = path.read_bytes()
    network = load(path, Facts())
    assert network.model.proto.SerializeToString() == onnx.load(path).SerializeToString()
    assert path.read_bytes() == before
    assert opset_of(network.model.proto) == 17


@pytest.mark.parametrize(
    ("ending", "wanted", "kind"),
    [
        ("logits", "auto", "logits"),
        ("probabilities", "auto", "probabilities"),
        ("value", "auto", "value"),
        ("logits", "value", "value"),
    ],
)
def test_the_output_kind_is_told_or_inferred(
    ending: str, wanted: str, kind: str, build_network: Callable[..., Path]
) -> None:
    """Softmax at the end means probabilities, one number a value, else logits; the user may differ."""
    network = load(build_network(ending=ending), Facts(output=wanted))
    assert network.port.output_kind == kind
    assert (f"output {kind}" in network.notes) == (wanted == "auto")


def test_per_frame_answers_are_averaged(build_network: Callable[..., Path]) -> None:
    """A network that folds N into T and answers a row a frame is explained by the mean row."""
    path = build_network(layout="TCHW", batch=1)
    proto = onnx.load(path)
    inputs = onnx.helper.make_tensor_value_info("clip", 1, ["NT", 3, 12, 16])
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["clip"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], ["rows"]),
    ]
    output = onnx.helper.make_tensor_value_info("rows", 1, ["NT", 3])
    graph = onnx.helper.make_graph(nodes, "per frame", [inputs], [output])
    onnx.save(onnx.helper.make_model(graph, opset_imports=proto.opset_import, ir_version=8), path)
    network = load(path, Facts(frames=4))
    clip = network.model.preprocessing.clip(frames_of(network.model, 0))
    mean = clip.mean(axis=(1, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(network.outputs(clip), np.exp(mean) / np.exp(mean).sum(), rtol=1e-4)
    assert "the answer is the mean over frames" in network.notes


def test_an_answer_that_is_no_number_is_an_error(build_network: Callable[..., Path]) -> None:
    """A network that answers NaN under a mask cannot be explained, and that is said."""
    network = load(build_network(), Facts())
    clip = np.full(network.model.shape, np.inf, np.float32)
    with pytest.raises(ClipError, match="no number"):
        network.scorer(clip, np.zeros_like(clip), 0).score(np.ones((1, 4), np.float32))


class Memory:
    """A run that fails for want of memory above `limit` clips."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sizes: list[int] = []

    def __call__(self, part: slice) -> np.ndarray:
        count = part.stop - part.start
        self.sizes.append(count)
        if count > self.limit:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 123")
        return np.arange(part.start, part.stop, dtype=np.float64)


def test_a_batch_too_large_is_halved() -> None:
    """Running out of memory halves the batch, loses nothing and is remembered."""
    run = Memory(limit=3)
    batching = Batching(16)
    assert batching.map(20, run).tolist() == list(range(20))
    assert batching.size == 2
    assert run.sizes[:4] == [16, 8, 4, 2]


def test_a_single_clip_too_large_is_an_error() -> None:
    """There is nothing to halve at one clip."""
    with pytest.raises(RuntimeError, match="allocate"):
        Batching(1).map(1, Memory(limit=0))


def test_the_batch_grows_only_while_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size settles where doubling no longer saves time: here at 4, whose clips are cheapest."""
    now = [0.0]
    monkeypatch.setattr("tiemcli.scorers.batching.time.perf_counter", lambda: now[0])
    cost = {1: 1.0, 2: 0.8, 4: 0.6, 8: 0.7}

    def run(part: slice) -> np.ndarray:
        count = part.stop - part.start
        now[0] += count * cost.get(count, 1.0)
        return np.zeros(count)

    batching = Batching()
    batching.map(100, run)
    assert batching.size == 4


def test_outputs_that_are_no_scores_are_refused(build_network: Callable[..., Path]) -> None:
    """An integer output, or one without a row a clip, is no video classifier's."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node.append(onnx.helper.make_node("ArgMax", ["logits"], ["best"], axis=1))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("best", 7, ["N", 1]))
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="no scores"):
        load(path, Facts(output_name="best"))
    with pytest.raises(ModelError, match="several outputs"):
        load(path, Facts())
