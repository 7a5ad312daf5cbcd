"""A fixed batch set free: three clips together answer what each answers alone."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser

from tiemcli.kernels.free_batch import free_batch

# By name: a graph fixed at one clip of 2 frames of 3 numbers, and its constants.
GRAPHS = {
    "a class token for each of N·T frames": (
        """g (float[1,2,3] clip) => (float[2,2,3] y) {
            frames = Reshape(clip, apart)
            y = Concat<axis=1>(tokens, frames)
        }""",
        {
            "apart": np.array([2, 1, 3]),
            "tokens": np.arange(6, dtype=np.float32).reshape(2, 1, 3),
        },
    ),
    "the first frame of each clip out of N·T": (
        """g (float[1,2,3] clip) => (float[1,3] y) {
            frames = Reshape(clip, apart)
            y = Slice(frames, start, end, axis)
        }""",
        {
            "apart": np.array([2, 3]),
            "start": np.array([0]),
            "end": np.array([1]),
            "axis": np.array([0]),
        },
    ),
    "the last column of the last frame out of N·T": (
        """g (float[1,2,3] clip) => (float[1,1] y) {
            frames = Reshape(clip, apart)
            y = Slice(frames, start, end, axes)
        }""",
        {
            "apart": np.array([2, 3]),
            "start": np.array([-1, 2]),
            "end": np.array([2, 3]),
            "axes": np.array([0, -1]),
        },
    ),
    "the only clip of one": (
        "g (float[1,2,3] clip) => (float[1,2,3] y) { y = Slice(clip, start, end, axis) }",
        {"start": np.array([0]), "end": np.array([1]), "axis": np.array([0])},
    ),
    "an assignment to a frame of zeros": (
        """g (float[1,2,3] clip) => (float[1,2,3] y) {
            seen = Slice(clip, one, two, one)
            y = ScatterND(zeros, places, seen)
        }""",
        {
            "zeros": np.zeros((1, 2, 3), np.float32),
            "places": np.array([[[0, 0]]]),
            "one": np.array([1]),
            "two": np.array([2]),
        },
    ),
    "an assignment of a constant": (
        "g (float[1,2,3] clip) => (float[1,2,3] y) { y = ScatterND(clip, places, ones) }",
        {"places": np.array([[[0, 1]]]), "ones": np.ones((1, 1, 3), np.float32)},
    ),
}


def run(model: onnx.ModelProto, clips: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"clip": clips})[0])


@pytest.mark.parametrize("name", GRAPHS)
def test_clips_together_answer_as_alone(name: str) -> None:
    """What the exporter wrote for one clip is repeated, numbered or cut for each."""
    text, constants = GRAPHS[name]
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    clips = np.random.default_rng(3).normal(size=(3, 2, 3)).astype(np.float32)
    alone = [run(model, clip[None]) for clip in clips]
    freed = free_batch(model, "clip")
    assert freed is not None
    np.testing.assert_array_equal(run(freed, clips), np.concatenate(alone))


def test_an_assignment_elsewhere_is_given_up() -> None:
    """Indices that are not constant may number any clip."""
    model = parser.parse_model(
        """<ir_version: 9, opset_import: ["": 17]>
        g (float[1,2,3] clip) => (float[1,2,3] y) {
            large = ReduceSum(clip)
            places = Cast<to=7>(large)
            shaped = Reshape(places, shape)
            y = ScatterND(clip, shaped, ones)
        }"""
    )
    constants = {"shape": np.array([1, 1, 1]), "ones": np.ones((1, 1, 2, 3), np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    assert free_batch(model, "clip") is None


def test_a_mean_over_the_clips_is_given_up() -> None:
    """Of several clips it would be another number, on an axis of another meaning."""
    model = parser.parse_model(
        """<ir_version: 9, opset_import: ["": 17]>
        g (float[1,2,3] clip) => (float[a,b] y) { y = ReduceMean<axes=[0], keepdims=0>(clip) }"""
    )
    assert free_batch(model, "clip") is None


def test_an_output_of_no_declared_shape_is_freed() -> None:
    """The file need not say what follows from the input."""
    model = parser.parse_model(
        """<ir_version: 9, opset_import: ["": 17, "com.microsoft": 1]>
        g (float[1,2,3] clip) => (float[] y) { y = com.microsoft.Gelu(clip) }"""
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    freed = free_batch(model, "clip")
    assert freed is not None
    assert len(run(freed, np.ones((3, 2, 3), np.float32))) == 3
