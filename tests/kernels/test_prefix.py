"""The frame-wise prefix, compared with running it on one frame at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from tiemcli.kernels.prefix import Axes, Prefix, find_prefix
from tiemcli.kernels.subgraph import subnetwork

SIZES = {"N": 1, "C": 3, "T": 6, "H": 8, "W": 10}
FRAMES = SIZES["T"]
# From a clip in NCTHW to one feature vector a frame, in TNF as a recurrent layer wants it.
ENCODER = """
    x1 = Transpose<perm = [0, 2, 1, 3, 4]>(clip)
    x2 = Reshape(x1, images)
    x3 = Conv<pads = [1, 1, 1, 1]>(x2, kernel)
    x4 = Relu(x3)
    x5 = GlobalAveragePool(x4)
    x6 = Reshape(x5, sequence)
    features = Transpose<perm = [1, 0, 2]>(x6)
"""
RECURRENT = """
    all, last, cell = LSTM<hidden_size = 5>(features, lstm_w, lstm_r)
    h = Squeeze(last, first)
    logits = Gemm(h, dense)
"""


def weights(clips: int = 1) -> dict[str, np.ndarray]:
    """What the graphs here share; whole numbers are shapes and axes."""
    random = np.random.default_rng(3)
    shapes = {
        "kernel": (7, 3, 3, 3),
        "spatial": (7, 3, 1, 3, 3),
        "temporal": (5, 7, 3, 1, 1),
        "space_time": (7, 3, 3, 3, 3),
        "tubelet": (7, 3, 2, 4, 5),
        "lstm_w": (1, 20, 7),
        "lstm_r": (1, 20, 5),
        "dense": (5, 4),
        "wide": (7, 4),
        "place": (FRAMES, 1, 7),
    }
    floats = {name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    whole = {
        "images": [-1, 3, 8, 10],
        "sequence": [clips, FRAMES, 7],
        "rows": [clips, -1],
        "clips": [clips, FRAMES, 4],
        "flat": [-1],
        "first": [0],
        "second": [1],
    }
    return floats | {name: np.array(value) for name, value in whole.items()}


def network(
    body: str, layout: str = "NCTHW", clips: int = 1, opset: int = 17, **more: np.ndarray
) -> onnx.ModelProto:
    """A network in ONNX's text form, from `clip` to `logits`, with those weights that it reads."""
    shape = input_shape(layout, clips)
    text = f'<ir_version: 9, opset_import: ["": {opset}]>\n'
    text += f"net (float[{','.join(map(str, shape))}] clip) => (float[N, K] logits) {{ {body} }}"
    model = parser.parse_model(text)
    read = {name for node in model.graph.node for name in node.input}
    for name, array in (weights(clips) | more).items():
        if name in read:
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def input_shape(layout: str, clips: int) -> list[int]:
    sizes = SIZES | {"N": clips}
    return [clips * FRAMES if "N" not in layout and a == "T" else sizes[a] for a in layout]


def run(model: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    content = model.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"clip": clip}) for clip in inputs]


def clips_of(layout: str, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    first, second = random.normal(size=(2, *input_shape(layout, count))).astype(np.float32)
    return first, second


def prefix_of(model: onnx.ModelProto, layout: str = "NCTHW", count: int = 1) -> Prefix | None:
    return find_prefix(model, "clip", layout, FRAMES, clips_of(layout, count), run)


def found(model: onnx.ModelProto, layout: str = "NCTHW", count: int = 1) -> Prefix:
    prefix = prefix_of(model, layout, count)
    assert prefix is not None
    return prefix


def check_frame_by_frame(model: onnx.ModelProto, prefix: Prefix, layout: str = "NCTHW") -> None:
    """Each slice of the cut is what the prefix makes of a clip that is that frame and no other."""
    axis, (clip, _) = layout.index("T"), clips_of(layout)
    names = [cut.name for cut in prefix.cuts]
    front = subnetwork(model, names)
    (whole,) = run(front, [clip])
    for frame in range(FRAMES):
        alone = clip.take([frame] * FRAMES, axis)
        for cut, value, one in zip(prefix.cuts, whole, *run(front, [alone]), strict=True):
            np.testing.assert_allclose(
                value.take(frame, cut.axes.frame), one.take(frame, cut.axes.frame), atol=1e-6
            )


def check_it_is_a_cut(model: onnx.ModelProto, prefix: Prefix) -> None:
    """Given the tensors of the cut, the rest answers without the clip."""
    clip, _ = clips_of("NCTHW")
    names = [cut.name for cut in prefix.cuts]
    (values,) = run(subnetwork(model, names), [clip])
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    needed, nodes = {"logits"}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output) - set(names):
            nodes.insert(0, node)
            needed |= set(node.input)
    assert "clip" not in needed - set(names)
    del rest.graph.node[:], rest.graph.input[:]
    rest.graph.node.extend(nodes)
    for name, value in zip(names, values, strict=True):
        rest.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    session = ort.InferenceSession(rest.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(["logits"], dict(zip(names, values, strict=True)))
    ((expected,),) = run(model, [clip])
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_a_recurrent_network_is_cut_before_its_recurrence() -> None:
    """The features that the LSTM reads are each frame's own; the share is counted by hand."""
    model = network(ENCODER + RECURRENT)
    prefix = found(model)
    (cut,) = prefix.cuts
    assert (cut.name, cut.shape, cut.axes.frame) == ("features", (FRAMES, 1, 7), 0)
    assert prefix.cuts[0].frame_bytes == 7 * 4
    assert prefix.uniform
    encoder = FRAMES * 7 * 8 * 10 * 3 * 3 * 3
    rest = FRAMES * 4 * 5 * (7 + 5) + 5 * 4
    assert prefix.share == pytest.approx(encoder / (encoder + rest))
    check_frame_by_frame(model, prefix)
    check_it_is_a_cut(model, prefix)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_two_clips_tell_frames_from_clips(opset: int) -> None:
    """Of the LSTM's input axis 0 is time and axis 1 the clips; the images are folded, N·T."""
    model = network(ENCODER + RECURRENT, clips=2, opset=opset)
    prefix = found(model, count=2)
    assert [cut.axes for cut in prefix.cuts] == [Axes(frame=0, clip=1)]
    assert prefix.cuts[0].frame_bytes == 7 * 4
    folded = network("logits = Conv(clip, kernel)", layout="TCHW", clips=2)
    assert [cut.axes for cut in found(folded, "TCHW", 2).cuts] == [Axes(frame=0)]


def test_answers_averaged_over_frames_are_frame_wise_to_the_mean() -> None:
    """Nothing but the mean is left."""
    body = """
        y1 = Squeeze(features, second)
        y2 = MatMul(y1, wide)
        y3 = Reshape(y2, clips)
        logits = ReduceMean<axes = [1], keepdims = 0>(y3)
    """
    model = network(ENCODER + body)
    prefix = found(model)
    assert prefix.share == 1
    assert [cut.name for cut in prefix.cuts] == ["y3"]
    check_frame_by_frame(model, prefix)
    check_it_is_a_cut(model, prefix)


def test_a_network_that_answers_frame_by_frame_is_all_prefix() -> None:
    """The cut is its output."""
    body = """
        y1 = Conv<pads = [1, 1, 1, 1]>(clip, kernel)
        y2 = GlobalAveragePool(y1)
        y3 = Flatten(y2)
        logits = Gemm(y3, wide)
    """
    model = network(body, layout="TCHW")
    prefix = found(model, "TCHW")
    assert prefix.share == 1
    assert [(cut.name, cut.shape) for cut in prefix.cuts] == [("logits", (FRAMES, 4))]
    check_frame_by_frame(model, prefix, "TCHW")


TAIL = """
    z1 = GlobalAveragePool(volume)
    z2 = Reshape(z1, rows)
    logits = Gemm(z2, dense)
"""


def test_spatial_convolutions_in_space_and_time_are_prefix() -> None:
    """A (1, 3, 3) convolution is frame-wise, the (3, 1, 1) one behind it is not."""
    body = """
        y1 = Conv<pads = [0, 1, 1, 0, 1, 1]>(clip, spatial)
        y2 = Relu(y1)
        volume = Conv<pads = [1, 0, 0, 1, 0, 0]>(y2, temporal)
    """
    model = network(body + TAIL)
    prefix = found(model)
    assert [(cut.name, cut.axes.frame) for cut in prefix.cuts] == [("y2", 2)]
    check_frame_by_frame(model, prefix)
    check_it_is_a_cut(model, prefix)


@pytest.mark.parametrize(
    "first",
    [
        "volume = Conv<pads = [1, 1, 1, 1, 1, 1]>(clip, space_time)",
        "volume = Conv<strides = [2, 4, 5]>(clip, tubelet)",
    ],
)
def test_a_first_layer_through_time_leaves_no_prefix(first: str) -> None:
    """Neither a 3-D convolution nor the embedding of tubelets."""
    body = f"{first} z1 = GlobalAveragePool(volume) z2 = Reshape(z1, rows) logits = Gemm(z2, wide)"
    assert prefix_of(network(body)) is None


@pytest.mark.parametrize(
    ("layout", "order"), [("NTCHW", (0, 1, 2, 3, 4)), ("NTHWC", (0, 1, 4, 2, 3))]
)
def test_other_layouts(layout: str, order: Sequence[int]) -> None:
    """Time may be the axis after the batch, and the channels the last."""
    front = f"x1 = Transpose<perm = {list(order)}>(clip)"
    lines = ENCODER.strip().split("\n")[1:]
    model = network("\n".join([front, *lines]) + RECURRENT, layout=layout)
    prefix = found(model, layout)
    assert [cut.name for cut in prefix.cuts] == ["features"]
    check_frame_by_frame(model, prefix, layout)


def test_places_with_something_of_their_own_are_not_uniform() -> None:
    """A position's embedding is added to each frame: still frame-wise, but not alike."""
    body = ENCODER.replace("features =", "y =") + "features = Add(y, place)" + RECURRENT
    prefix = found(network(body))
    assert [cut.name for cut in prefix.cuts] == ["features"]
    assert not prefix.uniform


def test_what_flattens_frames_and_parts_them_again_is_passed() -> None:
    """Exporters write such reshapes; the cut lies behind them."""
    body = ENCODER.replace("features =", "y =")
    body += "y1 = Reshape(y, flat) features = Reshape(y1, again)" + RECURRENT
    prefix = found(network(body, again=np.array([FRAMES, 1, 7])))
    assert [cut.name for cut in prefix.cuts] == ["features"]


def test_a_scale_taken_from_the_whole_clip_ends_the_prefix() -> None:
    """Dynamic quantisation makes every frame depend on all."""
    body = ENCODER.replace("features =", "y =")
    body += "q, scale, zero = DynamicQuantizeLinear(y)"
    body += " features = DequantizeLinear(q, scale, zero)" + RECURRENT
    assert [cut.name for cut in found(network(body)).cuts] == ["y"]


def test_several_tensors_may_cross() -> None:
    """Two heads read two layers: both are the cut."""
    body = """
        deep = Relu(features)
        a, b, c = LSTM<hidden_size = 5>(features, lstm_w, lstm_r)
        d, e, f = LSTM<hidden_size = 5>(deep, lstm_w, lstm_r)
        s = Add(b, e)
        h = Squeeze(s, first)
        logits = Gemm(h, dense)
    """
    model = network(ENCODER + body)
    prefix = found(model)
    assert [cut.name for cut in prefix.cuts] == ["features", "deep"]
    assert [cut.frame_bytes for cut in prefix.cuts] == [7 * 4, 7 * 4]
    check_it_is_a_cut(model, prefix)


def test_frames_that_meet_two_places_apart_are_not_taken_for_frame_wise() -> None:
    """Every other frame never meets its neighbour, and would pass for its own."""
    kernel = np.random.default_rng(1).normal(size=(7, 3, 2, 3, 3)).astype(np.float32)
    body = "volume = Conv<dilations = [2, 1, 1], pads = [2, 1, 1, 0, 1, 1]>(clip, leap)"
    body += " z1 = GlobalAveragePool(volume) z2 = Reshape(z1, rows) logits = Gemm(z2, wide)"
    assert prefix_of(network(body, leap=kernel)) is None


def test_a_loop_reads_the_features_from_outside() -> None:
    """What a body takes from the graph around it is read by its node."""
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["features", "step"], ["now"], axis=0),
            helper.make_node("MatMul", ["now", "wide"], ["seen"]),
            helper.make_node("Add", ["before", "seen"], ["after"]),
            helper.make_node("Identity", ["going"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1, 4]),
        ],
    )
    model = network(ENCODER + "logits = Identity(features)", wide=weights()["wide"])
    del model.graph.node[-1]
    model.graph.node.append(helper.make_node("Loop", ["count", "", "zero"], ["logits"], body=body))
    more = {"count": np.array(FRAMES), "zero": np.zeros((1, 4), np.float32)}
    for name, array in (more | {"wide": weights()["wide"]}).items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    prefix = found(model)
    assert [cut.name for cut in prefix.cuts] == ["features"]
    check_frame_by_frame(model, prefix)


def test_shapes_that_the_rest_reads_are_named() -> None:
    """An initial state as large as the batch follows from the input's shape, not from its frames."""
    body = """
        size = Shape(clip)
        batch = Gather(size, first)
        target = Concat<axis = 0>(second, batch, five)
        state = ConstantOfShape(target)
        all, last, cell = LSTM<hidden_size = 5>(features, lstm_w, lstm_r, , , state, state)
        h = Squeeze(last, first)
        logits = Gemm(h, dense)
    """
    prefix = found(network(ENCODER + body, five=np.array([5])))
    assert [cut.name for cut in prefix.cuts] == ["features"]
    assert prefix.shapes == ("state",)


def test_a_single_frame_meets_no_other() -> None:
    """There is nothing to save where T is 1."""
    clip = np.zeros((1, 3, 8, 10), np.float32)
    model = network("logits = Conv(clip, kernel)", layout="TCHW")
    assert find_prefix(model, "clip", "TCHW", 1, (clip, clip + 1), run) is None


@pytest.mark.shared
def test_a_real_recurrent_network_is_nearly_all_prefix(shared_data: Path) -> None:
    """The LSTM behind the frames' features is a four-hundredth of the work."""
    model = onnx.load(shared_data / "models" / "ucf50_lrcn.onnx")
    first, second = np.random.default_rng(2).random((2, 1, 3, 20, 128, 128), np.float32)
    prefix = find_prefix(model, "clip", "NCTHW", 20, (first, second), run)
    assert prefix is not None
    assert [cut.name for cut in prefix.cuts] == ["/l/Transpose_output_0"]
    assert prefix.cuts[0].frame_bytes == 256 * 4
    assert prefix.share == pytest.approx(0.9973, abs=1e-4)


@pytest.mark.shared
@pytest.mark.slow
def test_a_real_per_frame_network_is_all_prefix(shared_data: Path) -> None:
    """Only the mean over its frames' 1,000 logits is left."""
    model = onnx.load(shared_data / "models" / "efficientnet_lite0_avg16.onnx")
    random = np.random.default_rng(2)
    first, second = random.random((2, 1, 3, 16, 224, 224), np.float32)
    prefix = find_prefix(model, "clip", "NCTHW", 16, (first, second), run)
    assert prefix is not None
    assert prefix.share == 1
    assert [cut.shape for cut in prefix.cuts] == [(1, 16, 1000)]
