"""A network in two parts, compared with the whole of it on clips blended by plain NumPy."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper, parser

from tiemcli.kernels.blend import blend
from tiemcli.kernels.fuse import Port
from tiemcli.kernels.layout import to_layout
from tiemcli.kernels.prefix import Axes, Cut
from tiemcli.kernels.split import encoder, shape_sources, slice_shape, suffix

SIZES = {"C": 2, "T": 3, "H": 4, "W": 5}
CLASSES = 3
# From a clip in NCTHW to a feature vector for each frame, the clips folded into the frames.
ENCODER = """
    x1 = Transpose<perm = [0, 2, 1, 3, 4]>(clip)
    x2 = Reshape(x1, images)
    x3 = Conv<pads = [1, 1, 1, 1]>(x2, kernel)
    x4 = Relu(x3)
    x5 = GlobalAveragePool(x4)
    folded = Flatten(x5)
    features = Reshape(folded, sequence)
"""
MEAN = "m = ReduceMean<axes = [1], keepdims = 0>(features) logits = MatMul(m, dense)"
RECURRENT = """
    timed = Transpose<perm = [1, 0, 2]>(features)
    all, last = GRU<hidden_size = 4>(timed, gru_w, gru_r)
    h = Squeeze(last, first)
    logits = MatMul(h, wide)
"""
FLOAT = TensorProto.FLOAT


def network(body: str, opset: int = 13, layout: str = "NCTHW") -> onnx.ModelProto:
    random = np.random.default_rng(4)
    shapes = {
        "kernel": (6, 2, 3, 3),
        "dense": (6, CLASSES),
        "wide": (4, CLASSES),
        "gru_w": (1, 12, 6),
        "gru_r": (1, 12, 4),
    }
    values = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    values["images"] = np.array([-1, 2, 4, 5])
    values["sequence"] = np.array([-1, 3, 6])
    values["first"], values["second"], values["four"] = np.array([0]), np.array([1]), np.array([4])
    axes = ",".join("NT" if a == "T" and "N" not in layout else a for a in layout)
    text = f'<ir_version: 8, opset_import: ["": {opset}]>\n'
    text += f"net (float[{axes}] clip) => (float[N, K] logits) {{ {body} }}"
    model = parser.parse_model(text)
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in values.items() if name in read
    )
    return model


def port(layout: str = "NCTHW", rows: int = 1) -> Port:
    return Port("clip", layout, SIZES, FLOAT, "logits", "logits", CLASSES, rows)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def check(model: onnx.ModelProto, cuts: Sequence[Cut], shapes: Sequence[str], port: Port) -> None:
    """Frames are encoded in an order of their own; clips of them answer as blended clips do."""
    random = np.random.default_rng(6)
    c, t, h, w = SIZES.values()
    clip, base = random.normal(size=(2, c, t, h, w)).astype(np.float32)
    keep = random.random((4, t, h, w), dtype=np.float32)
    # Frame f under mask k is row k·T + f of the table; the encoder gets them turned around.
    order = np.arange(4 * t)[::-1]
    nothing = np.zeros((1, t, 1, 1), np.float32)
    one = np.ones((1, 1), np.float32)
    codes = session(encoder(model, port, cuts)).run(
        None,
        {
            "tiem.grid": nothing,
            "tiem.rows": one,
            "tiem.columns": one,
            "tiem.dense": keep.reshape(4 * t, h, w)[order].reshape(4, t, h, w),
            "tiem.delta": (clip - base).swapaxes(0, 1),
            "tiem.base": base.swapaxes(0, 1),
            "tiem.places": (order % t).reshape(4, t),
        },
    )
    choice = random.integers(0, 4, (5, t))
    feeds: dict[str, np.ndarray] = {"tiem.target": np.array([2])}
    for index, (cut, code) in enumerate(zip(cuts, codes, strict=True)):
        assert code.shape == (4 * t, *slice_shape(cut))
        feeds[f"tiem.table.{index}"] = code[order]
        feeds[f"tiem.rows.{index}"] = choice * t + np.arange(t)
    mixed = to_layout(blend(clip, base, keep[choice, np.arange(t)]), port.layout)
    for name in shape_sources(model, shapes):
        (feeds[name],) = session(answering_too(model, name)).run([name], {"clip": mixed})
    outputs, scores = session(suffix(model, port, cuts, shapes)).run(None, feeds)
    (logits,) = session(model).run(None, {"clip": mixed})
    expected = softmax(logits.reshape(5, -1, CLASSES).mean(axis=1))
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(scores, expected[:, 2], atol=1e-6)


def answering_too(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    asked.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.INT64, ["axes"]))
    return asked


@pytest.mark.parametrize("opset", [12, 13, 18])
@pytest.mark.parametrize(
    "cut",
    [
        Cut("features", Axes(1, 0), (1, 3, 6), 24, FLOAT),
        Cut("folded", Axes(0), (3, 6), 24, FLOAT),
        Cut("x4", Axes(0), (3, 6, 4, 5), 480, FLOAT),
        Cut("x1", Axes(1, 0), (1, 3, 2, 4, 5), 160, FLOAT),
    ],
)
def test_a_network_may_be_cut_anywhere(cut: Cut, opset: int) -> None:
    """Clips have an axis of their own, or share that of the frames."""
    check(network(ENCODER + (MEAN if opset < 18 else RECURRENT), opset), [cut], (), port())


@pytest.mark.parametrize(
    "cut",
    [
        Cut("timed", Axes(0, 1), (3, 1, 6), 24, FLOAT),
        Cut("clip", Axes(2, 0), (1, 2, 3, 4, 5), 160, FLOAT),
    ],
)
def test_time_may_come_first_and_the_clip_itself_be_the_cut(cut: Cut) -> None:
    """The order of clips and frames is the cut's own."""
    check(network(ENCODER + RECURRENT), [cut], (), port())


def test_two_tensors_are_two_tables() -> None:
    """Each has its own slices."""
    body = ENCODER + "g = GlobalMaxPool(x4) g1 = Reshape(g, sequence) s = Add(features, g1)"
    body += "m = ReduceMean<axes = [1], keepdims = 0>(s) logits = MatMul(m, dense)"
    cuts = [
        Cut("features", Axes(1, 0), (1, 3, 6), 24, FLOAT),
        Cut("x4", Axes(0), (3, 6, 4, 5), 480, FLOAT),
    ]
    check(network(body), cuts, (), port())


def test_the_output_itself_may_be_the_cut() -> None:
    """A network that answers for every frame is all encoder; what is left is to average."""
    body = "x = Conv<pads = [1, 1, 1, 1]>(clip, kernel) y = GlobalAveragePool(x)"
    body += "z = Flatten(y) logits = MatMul(z, dense)"
    cut = Cut("logits", Axes(0), (3, CLASSES), 12, FLOAT)
    check(network(body, layout="TCHW"), [cut], (), port("TCHW", rows=3))


def test_what_the_batch_decides_is_fed() -> None:
    """An initial state as long as the batch comes from the clip's shape, which the suffix is told."""
    body = """
        size = Shape(clip)
        batch = Gather(size, first)
        shape = Concat<axis = 0>(second, batch, four)
        state = ConstantOfShape(shape)
        timed = Transpose<perm = [1, 0, 2]>(features)
        all, last = GRU<hidden_size = 4>(timed, gru_w, gru_r, , , state)
        h = Squeeze(last, first)
        logits = MatMul(h, wide)
    """
    model = network(ENCODER + body)
    assert shape_sources(model, ["state"]) == {"size": "Shape"}
    check(model, [Cut("features", Axes(1, 0), (1, 3, 6), 24, FLOAT)], ["state"], port())


def test_a_node_may_make_a_cut_beside_what_it_is_needed_for() -> None:
    """Where an operator's one output is encoded, its other is still computed behind the cut."""
    body = """
        timed = Transpose<perm = [1, 0, 2]>(features)
        all, last = GRU<hidden_size = 4>(timed, gru_w, gru_r)
        h = Squeeze(last, first)
        flat = ReduceMean<axes = [0, 1], keepdims = 0>(all)
        s = Add(h, flat)
        logits = MatMul(s, wide)
    """
    model = network(ENCODER + body)
    part = suffix(
        model,
        port(),
        [
            Cut("timed", Axes(0, 1), (3, 1, 6), 24, FLOAT),
            Cut("all", Axes(0, 2), (3, 1, 1, 4), 16, FLOAT),
        ],
        (),
    )
    made = [name for node in part.graph.node for name in node.output]
    assert len(made) == len(set(made))
    session(part)


def test_the_networks_own_graph_is_untouched() -> None:
    """Both parts are copies, and neither has weights of the other."""
    model = network(ENCODER + MEAN)
    before = model.SerializeToString()
    cut = Cut("features", Axes(1, 0), (1, 3, 6), 24, FLOAT)
    front, behind = encoder(model, port(), [cut]), suffix(model, port(), [cut], ())
    assert model.SerializeToString() == before
    assert "dense" not in {weight.name for weight in front.graph.initializer}
    assert "kernel" not in {weight.name for weight in behind.graph.initializer}
