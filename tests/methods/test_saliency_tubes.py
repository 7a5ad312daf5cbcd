"""The last layer weighted as the classifier weighs it."""

import numpy as np
import pytest

from tiemcli.errors import ModelError
from tiemcli.methods import METHODS, grad_cam, saliency_tubes

torch = pytest.importorskip("torch")
from onnx import numpy_helper

from tiemcli.facts import Facts
from tiemcli.methods.layer import to_clip
from tiemcli.methods.scene import Scene
from tiemcli.model import load_model
from tiemcli.pipeline import explain, read_clip
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings

MAPS = "c = Conv<pads=[1,1,1,1,1,1]>(clip, kernel3, bias)  a = Relu(c)"
LINEAR = "f = Flatten(p)  scores = Gemm(f, dense, offset)"
# The same average and linear layer, as exporters write them.
HEADS = {
    "one pooling": f"p = GlobalAveragePool(a) {LINEAR}",
    "a mean": "p = ReduceMean<axes=[2,3,4], keepdims=0>(a)  scores = Gemm(p, dense, offset)",
    "a window": f"p = AveragePool<kernel_shape=[4,12,16]>(a) {LINEAR}",
    "places, then frames": """
        q = AveragePool<kernel_shape=[1,12,16]>(a)  p = ReduceMean<axes=[2]>(q)
        n = Shape(p)  one = Gather(n, zero)  row = Unsqueeze(one, zeroth)  to = Concat<axis=0>(row, six)
        f = Reshape(p, to)  m = MatMul(f, dense)  scores = Add(m, offset)
    """,
    "classes, then a mean": """
        s = Conv(a, classifier)  scores = ReduceMean<axes=[2,3,4], keepdims=0>(s)
    """,
}


def weight(scene: Scene, name: str) -> np.ndarray:
    tensors = scene.network.model.proto.graph.initializer
    return np.array(next(numpy_helper.to_array(t) for t in tensors if t.name == name))


@pytest.mark.parametrize("head", HEADS)
def test_tubes_are_maps_times_the_classifiers_weights(head: str, network_scene) -> None:
    """Σ_k w_k A_k with the weights as they stand in the file, however the average is written."""
    classifier = np.random.default_rng(0).normal(size=(5, 6, 1, 1, 1)).astype(np.float32)
    weights = {"classifier": classifier, "six": np.array([6])}
    layer = "a" if head.startswith("classes") else None
    scene = network_scene(MAPS + HEADS[head], weights=weights, layer=layer)
    found = saliency_tubes.find(scene).saliency
    maps = scene.torch_clip().activations(["a"])[1]["a"][0].detach().numpy()
    if head.startswith("classes"):
        column = classifier[scene.target].ravel()
    else:
        column = weight(scene, "dense")[:, scene.target]
    expected = sum(column[k] * maps[k] for k in range(6))
    assert expected.min() < 0 < expected.max()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_without_its_relu_grad_cam_is_the_same(network_scene) -> None:
    """Mean slopes of an averaged layer are its weights over the number of cells."""
    tubes = saliency_tubes.find(network_scene("cnn")).saliency
    cam = grad_cam.find(network_scene("cnn")).saliency
    np.testing.assert_allclose(np.maximum(tubes, 0), cam * cam.size, rtol=1e-3, atol=1e-4)


def test_frames_that_are_pooled_apart_have_the_same_weights(network_scene) -> None:
    """Of a network frame by frame whose answers are averaged, every frame is weighted by the class's."""
    scene = network_scene("""
        x = Transpose<perm=[0,2,1,3,4]>(clip)  b = Reshape(x, to_frames)
        c = Conv<pads=[1,1,1,1], strides=[2,2]>(b, kernel2, bias)  a = Relu(c)
        p = GlobalAveragePool(a)  f = Flatten(p)  l = Gemm(f, dense, offset)
        scores = ReduceMean<axes=[0]>(l)
    """)
    found = saliency_tubes.find(scene).saliency
    maps = scene.torch_clip().activations(["a"])[1]["a"].detach()
    column = torch.from_numpy(weight(scene, "dense")[:, scene.target])
    expected = torch.einsum("k,tkhw->thw", column, maps)
    np.testing.assert_allclose(found, to_clip(expected, scene.shape), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (MAPS + "p = GlobalAveragePool(a) f = Flatten(p) h = Gemm(f, square) r = Relu(h) "
         "scores = Gemm(r, dense)", "Relu"),
        (MAPS + "p = GlobalMaxPool(a)" + LINEAR, "GlobalMaxPool"),
        (MAPS + "p = GlobalAveragePool(a) q = Mul(p, p) f = Flatten(q) scores = Gemm(f, dense)",
         "Mul"),
        (MAPS + "f = Flatten(a) scores = Gemm(f, wide)", "place by place"),
        ("cnn-rnn", "MaxPool"),
        ("transformer, frame by frame, mean", None),
        ("transformer, frame by frame, class token", "MatMul"),
    ],
)  # fmt: skip
def test_another_classifier_is_named(body: str, named: str | None, network_scene) -> None:
    """What stands between layer and answer is told, and a method that copes; means of normalised
    tokens are an average and are none the less explained."""
    random = np.random.default_rng(0)
    weights = {
        "square": random.normal(size=(6, 6)).astype(np.float32),
        "wide": random.normal(size=(6 * 4 * 12 * 16, 5)).astype(np.float32) / 30,
    }
    scene = network_scene(body, weights=weights)
    if named is None:
        assert saliency_tubes.find(scene).saliency.any()
        return
    with pytest.raises(ModelError, match=named) as caught:
        saliency_tubes.find(scene)
    assert "grad-cam" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gradient", "integrated-gradients", "grad-cam", "grad-cam++", "saliency-tubes"]
)
def test_the_sample_is_explained_by_each(name: str, root) -> None:
    """Pixels of finite saliency, of which the largest are the mask; tubes tell that they cannot."""
    model = load_model(root / "samples/net.onnx", Facts())
    settings = Settings(method=name)
    source = read_clip(root / "samples/clip.mp4", model, settings)
    network = load_network(model, "cpu")
    assert METHODS[name].needs == "gradients"
    if name == "saliency-tubes":
        with pytest.raises(ModelError, match="one linear layer"):
            explain(source, network, settings)
        return
    found = explain(source, network, settings)
    saliency, hard = found.evidence.saliency, found.masks[0].hard.astype(bool)
    assert saliency.shape == (16, 64, 64)
    assert np.isfinite(saliency).all()
    assert saliency[hard].min() >= saliency[~hard].max()
    assert hard.mean() == pytest.approx(0.1, abs=1e-4)
    assert found.backwards == (50 if name == "integrated-gradients" else 1)
