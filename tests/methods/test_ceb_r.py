"""Contrastive excitation backprop through a CNN and an RNN."""

from pathlib import Path

import numpy as np
import pytest

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.methods.ceb_r import find
from tiemcli.model import load_model
from tiemcli.pipeline import explain, read_clip
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings

CNN_LSTM = """
    x = Transpose<perm=[0,2,1,3,4]>(clip)
    f = Reshape(x, to_frames)
    c = Conv<pads=[1,1,1,1]>(f, blur)
    a = Relu(c)
    p = GlobalAveragePool(a)
    s = Reshape(p, to_steps)
    y, h = LSTM<hidden_size=2>(s, w, r, b)
    l = Squeeze(h, zeroth)
    scores = Gemm(l, head, none)
"""


def remembering() -> dict[str, np.ndarray]:
    """Weights by which each channel is blurred, and an LSTM adds up channels 0 and 1 to cells 0 and 1
    with gates wide open; class 0 is cell 0 less cell 1."""
    blur = np.zeros((3, 3, 3, 3), np.float32)
    blur[range(3), range(3)] = 1 / 9
    w, r = np.zeros((1, 8, 3), np.float32), np.zeros((1, 8, 2), np.float32)
    w[0, 6, 0] = w[0, 7, 1] = 5
    b = np.zeros((1, 16), np.float32)
    b[0, :6] = 4
    return {
        "blur": blur,
        "w": w,
        "r": r,
        "b": b,
        "head": np.array([[1, -1], [-1, 1]], np.float32),
        "none": np.zeros(2, np.float32),
        "to_steps": np.array([4, -1, 3]),
    }


def patched(scene, *patches):
    """The scene, its clip black but for patches (channel, frame, row, column) of 3 x 3."""
    scene.clip[:] = 0
    for channel, frame, row, column in patches:
        scene.clip[channel, frame, row : row + 3, column : column + 3] = 1
    scene.target = 0
    scene.clean = float(scene.network.outputs(scene.clip)[0])
    return scene


@pytest.mark.parametrize("frame", range(4))
def test_the_one_frame_that_a_recurrent_network_saw_something_in_has_it_all(
    network_scene, frame
) -> None:
    """A patch in one frame alone is remembered to the end, and all P returns to its place."""
    scene = network_scene(CNN_LSTM, classes=2, weights=remembering())
    saliency = find(patched(scene, (0, frame, 4, 9))).saliency
    assert saliency.sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(saliency[frame].sum(), 1, atol=1e-4)
    assert np.unravel_index(saliency[frame].argmax(), (12, 16)) == (5, 10)
    assert not saliency[frame, :, :8].any()


def test_what_speaks_against_the_class_is_left_out(network_scene) -> None:
    """Patches that another class's weights see, or none, have nothing."""
    scene = network_scene(CNN_LSTM, classes=2, weights=remembering())
    saliency = find(patched(scene, (0, 1, 2, 2), (1, 2, 8, 10), (2, 3, 5, 5))).saliency
    assert saliency[1].sum() == pytest.approx(1, abs=1e-4)


def test_a_layer_may_be_chosen(network_scene) -> None:
    """The convolution has the same P as the ReLU behind it."""
    scene = network_scene(CNN_LSTM, classes=2, weights=remembering(), layer="c")
    assert find(patched(scene, (0, 2, 4, 9))).saliency[2].sum() == pytest.approx(1, abs=1e-4)


def test_attention_is_refused_by_name(network_scene) -> None:
    """A product of two computed values has no weights to divide P by."""
    scene = network_scene("transformer, frame by frame, mean", method="ceb-r", layer="t")
    with pytest.raises(ModelError, match="no rule for the network's MatMul"):
        find(scene)


def test_a_layer_behind_all_weights_is_refused(network_scene) -> None:
    """Without weights between layer and answer there is nothing to contrast."""
    text = "c = Conv<pads=[1,1,1,1,1,1]>(clip, kernel3)  scores = ReduceMean<axes=[2,3,4], keepdims=0>(c)"
    scene = network_scene(text, classes=6, method="ceb-r")
    with pytest.raises(ModelError, match="no weights lie between 'c' and the answer"):
        find(scene)


@pytest.mark.slow
def test_it_explains_the_sample_clip(root: Path) -> None:
    """The real network on the real clip, as the command runs it."""
    model = load_model(root / "samples" / "net.onnx", Facts())
    settings = Settings(method="ceb-r", areas=(0.1,))
    source = read_clip(root / "samples" / "clip.mp4", model, settings)
    found = explain(source, load_network(model, "cpu"), settings)
    assert found.evidence.saliency.min() == 0
    assert found.evidence.saliency.max() > 0
    assert found.masks[0].hard.mean() == pytest.approx(0.1, abs=0.001)
