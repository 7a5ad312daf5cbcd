"""Which values inside a network have a map of the clip, and how they lie."""

import numpy as np
import pytest

from tiemcli.errors import ModelError, UsageError

torch = pytest.importorskip("torch")

from tiemcli.extremal.torch_clip import TorchClip
from tiemcli.methods.layer import Layer, to_clip
from tiemcli.methods.layers import chosen, watchable
from tiemcli.methods.scene import Scene


def names(scene: Scene) -> list[str]:
    return [layer.name for layer in watchable(scene.torch_clip())]


def value_of(clip: TorchClip, name: str) -> torch.Tensor:
    return clip.activations([name])[1][name].detach()


def test_a_cnns_maps_are_its_own_axes(network_scene) -> None:
    """Of a 3-D CNN all maps are found, by tensor and by node, and the last is chosen."""
    clip = network_scene("cnn").torch_clip()
    assert [(layer.name, layer.grid) for layer in watchable(clip)] == [
        ("c", (4, 12, 16)),
        ("a", (4, 12, 16)),
    ]
    layer = chosen(clip, None)
    assert (layer.name, layer.order, layer.by_frame) == ("a", "NCTHW", False)
    value = value_of(clip, "a")
    torch.testing.assert_close(layer.volume(value), value[0])


def test_a_layer_is_found_by_the_name_of_its_node(network_scene) -> None:
    """A viewer of networks shows nodes, whose names differ from their tensors'."""
    scene = network_scene("cnn")
    scene.network.model.proto.graph.node[0].name = "the first"
    assert chosen(scene.torch_clip(), "the first").name == "c"


def test_frames_in_the_batch_are_the_maps_time(network_scene) -> None:
    """Of a CNN-RNN the last convolution is chosen rather than its pooling, and is one map a frame."""
    clip = network_scene("cnn-rnn").torch_clip()
    layer = chosen(clip, None)
    assert (layer.name, layer.grid, layer.by_frame) == ("a", (4, 6, 8), True)
    value = value_of(clip, "a")
    volume = layer.volume(value)
    assert volume.shape == (6, 4, 6, 8)
    for frame in range(4):
        torch.testing.assert_close(volume[:, frame], value[frame])
    assert chosen(clip, "m").grid == (4, 3, 4)


@pytest.mark.parametrize("read", ["class token", "mean"])
@pytest.mark.parametrize("order", ["frame by frame", "place by place"])
def test_tokens_are_brought_back_to_their_place(order: str, read: str, network_scene) -> None:
    """Whichever order tokens are in, their map is the embedding's they were made of, less the class's."""
    clip = network_scene(f"transformer, {order}, {read}").torch_clip()
    layers = {layer.name: layer for layer in watchable(clip)}
    embedding = value_of(clip, "e")[0]
    for name in ("t", "z"):
        assert layers[name].grid == (2, 3, 4)
        torch.testing.assert_close(layers[name].volume(value_of(clip, name)), embedding)
    assert not {"s", "a", "kt"} & layers.keys()


def test_tokens_that_nothing_reads_are_no_layer(network_scene) -> None:
    """Behind the last attention a classifier of the class token depends on no place of the map."""
    assert chosen(network_scene("transformer, frame by frame, mean").torch_clip(), None).name == "n"
    scene = network_scene("transformer, frame by frame, class token")
    assert names(scene) == ["e", "t", "z", "k", "v"]


def test_tokens_cut_without_a_convolution_are_even_cubes(network_scene) -> None:
    """Patches that a reshape cuts are found by their number."""
    text = """
        r = Reshape(clip, cut)
        p = Transpose<perm=[0,2,4,6,1,3,5,7]>(r)
        t = Reshape(p, flat)
        z = MatMul(t, patches)
        a = Relu(z)
        m = ReduceMean<axes=[1], keepdims=0>(a)
        scores = MatMul(m, classes)
    """
    weights = {
        "cut": np.array([-1, 3, 2, 2, 3, 4, 4, 4]),
        "flat": np.array([-1, 24, 96]),
        "patches": np.random.default_rng(0).normal(size=(96, 8)).astype(np.float32) / 10,
    }
    clip = network_scene(text, weights=weights).torch_clip()
    layer = chosen(clip, None)
    assert (layer.name, layer.grid) == ("a", (2, 3, 4))
    pixels = clip.pixels
    _, inner = clip.activations(["a"], pixels)
    (slope,) = clip.slopes(layer.volume(inner["a"])[:, 1, 2, 0].sum(), pixels)
    where = slope.abs().sum(0).nonzero()
    assert where.amin(0).tolist() == [2, 8, 0]
    assert where.amax(0).tolist() == [3, 11, 3]


@pytest.mark.parametrize("axes", [(0, 2, 3, 4, 1), (0, 2, 1, 3, 4)])
def test_other_orders_of_axes_are_told_by_their_lengths(
    axes: tuple[int, ...], network_scene
) -> None:
    """Channels last, as in Swin, and frames before channels, as in Keras."""
    text = f"""
        c = Conv<pads=[1,1,1,1,1,1]>(clip, kernel3, bias)
        x = Transpose<perm={list(axes)}>(c)
        a = Relu(x)
        m = ReduceMean<axes={sorted(axes.index(axis) for axis in (2, 3, 4))}, keepdims=0>(a)
        scores = Gemm(m, dense, offset)
    """
    clip = network_scene(text).torch_clip()
    layer = chosen(clip, None)
    assert layer.name == "a"
    torch.testing.assert_close(layer.volume(value_of(clip, "a")), value_of(clip, "c")[0].relu())


def test_a_value_of_one_frame_alone_is_no_map_of_the_clip(network_scene) -> None:
    """Frames that are convolved one by one leave no map of all of them; a map that sums them does."""
    alone = """
        one = Slice(clip, begin, end, axis)   x = Squeeze(one, axis)
        two = Slice(clip, last, beyond, axis) y = Squeeze(two, axis)
        c = Conv<pads=[1,1,1,1]>(x, kernel2)  a = Relu(c)  p = GlobalAveragePool(a)
        d = Conv<pads=[1,1,1,1]>(y, kernel2)  b = Relu(d)  r = GlobalAveragePool(b)
    """
    apart = "s = Add(p, r)  f = Flatten(s)  scores = Gemm(f, dense, offset)"
    weights = {
        name: np.array([value])
        for name, value in {"begin": 0, "end": 1, "last": 3, "beyond": 4, "axis": 2}.items()
    }
    scene = network_scene(alone + apart, weights=weights)
    with pytest.raises(ModelError, match="keeps a map") as caught:
        chosen(scene.torch_clip(), None)
    assert "integrated-gradients" in caught.value.hint
    together = alone.split("p =")[0] + " b = Conv<pads=[1,1,1,1]>(y, kernel2)"
    together += " s = Add(a, b)  g = GlobalAveragePool(s)  f = Flatten(g)"
    together += " scores = Gemm(f, dense, offset)"
    layers = watchable(network_scene(together, weights=weights).torch_clip())
    assert [(layer.name, layer.grid) for layer in layers] == [("s", (1, 12, 16))]


def test_an_unknown_layer_lists_the_last_ones(network_scene) -> None:
    """What can be asked for is named, in the network's order."""
    with pytest.raises(UsageError, match="--layer conv9") as caught:
        chosen(network_scene("cnn-rnn").torch_clip(), "conv9")
    assert "c, a, m" in caught.value.hint


def test_a_network_without_maps_has_no_layer(network_scene) -> None:
    """A linear layer on all pixels keeps no place."""
    text = "f = Flatten(clip)  scores = Gemm(f, w)"
    w = np.random.default_rng(0).normal(size=(3 * 4 * 12 * 16, 5)).astype(np.float32) / 10
    with pytest.raises(ModelError, match="keeps a map"):
        chosen(network_scene(text, weights={"w": w}).torch_clip(), None)


def test_what_does_not_lead_to_the_answer_is_no_layer(network_scene) -> None:
    """A branch that nothing reads is passed over though it stands last in the file."""
    text = """
        c = Conv<pads=[1,1,1,1,1,1]>(clip, kernel3, bias)
        p = GlobalAveragePool(c)
        f = Flatten(p)
        scores = Gemm(f, dense, offset)
        idle = Relu(c)
    """
    assert names(network_scene(text)) == ["c"]


def test_a_normalisation_is_looked_behind_though_it_is_folded(network_scene) -> None:
    """The convolution's values keep their name and are those that the normalisation reads."""
    random = np.random.default_rng(5)
    weights = {
        name: random.uniform(0.5, 2, 6).astype(np.float32) for name in ("s", "o", "m", "var")
    }
    text = """
        c = Conv<pads=[1,1,1,1,1,1]>(clip, kernel3, bias)
        b = BatchNormalization(c, s, o, m, var)
        a = Relu(b)
        p = GlobalAveragePool(a)
        f = Flatten(p)
        scores = Gemm(f, dense, offset)
    """
    scene = network_scene(text, weights=weights)
    clip = scene.torch_clip()
    assert [layer.name for layer in watchable(clip)] == ["c", "b", "a"]
    scores, inner = clip.activations(["c", "b"])
    s, o, m, var = (torch.from_numpy(weights[name]).reshape(6, 1, 1, 1) for name in weights)
    torch.testing.assert_close(
        inner["b"][0], (inner["c"][0] - m) / (var + 1e-5).sqrt() * s + o, atol=1e-4, rtol=1e-4
    )
    whole = torch.ones(clip.shape)
    torch.testing.assert_close(scores, clip.outputs(whole), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ending", ["scores = Softmax(l)", "s = Softmax(l) scores = Identity(s)"])
def test_the_classes_scores_are_those_before_the_softmax(ending: str, network_scene) -> None:
    """Of a network that answers probabilities, the logits are found inside it."""
    body = """
        c = Conv(clip, kernel3, bias)
        p = GlobalAveragePool(c)
        f = Flatten(p)
        l = Gemm(f, dense, offset)
    """
    clip = network_scene(body + ending, output="probabilities").torch_clip()
    scores, inner = clip.activations(["l"])
    torch.testing.assert_close(scores, inner["l"][0])
    torch.testing.assert_close(scores.softmax(0), clip.answers(torch.ones(clip.shape)))


def test_probabilities_of_no_softmax_are_taken_by_their_logarithm(network_scene) -> None:
    """A mean of probabilities has no one score before it."""
    text = """
        c = Conv(clip, kernel3, bias)
        p = GlobalAveragePool(c)
        f = Flatten(p)
        l = Gemm(f, dense, offset)
        s = Softmax(l)
        r = Mul(s, half)
        scores = Add(r, fifth)
    """
    weights = {"half": np.float32(0.5), "fifth": np.float32(0.1)}
    weights = {name: np.asarray(value) for name, value in weights.items()}
    clip = network_scene(text, output="probabilities", weights=weights).torch_clip()
    scores, _ = clip.activations([])
    torch.testing.assert_close(scores.exp(), clip.answers(torch.ones(clip.shape)))


def test_slopes_are_zero_of_what_the_score_does_not_depend_on(network_scene) -> None:
    """And gradients are counted."""
    clip = network_scene("cnn").torch_clip()
    before = clip.backwards
    scores, inner = clip.activations(["a"])
    bystander = torch.ones(3, requires_grad=True)
    slope, none = clip.slopes(scores[0], inner["a"], bystander)
    assert slope.shape == inner["a"].shape
    assert slope.any()
    assert none.tolist() == [0, 0, 0]
    assert clip.backwards == before + 1


def linear(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Values of an axis at the middles of `size` equal parts of it, the outermost held."""
    length = values.shape[axis]
    at = ((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, length - 1)
    shape = [-1 if a == axis else 1 for a in range(3)]
    share = (at - low).reshape(shape)
    return values.take(low, axis) * (1 - share) + values.take(high, axis) * share


def test_a_map_is_brought_to_the_clips_size_trilinearly() -> None:
    """Each axis is interpolated between the middles of its cells, time among them."""
    volume = np.random.default_rng(0).normal(size=(2, 3, 4))
    expected = volume
    for axis, size in enumerate((5, 12, 16)):
        expected = linear(expected, size, axis)
    found = to_clip(torch.from_numpy(volume), (5, 12, 16))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_fixed_batch_of_copies_is_read_as_one_clip() -> None:
    """Of two clips the first one's map is taken, whatever axis holds them."""
    value = torch.arange(2 * 6 * 2 * 3 * 4.0).reshape(2, 6, 2, 3, 4)
    whole = Layer("a", "", "Relu", (2, 3, 4), "NCTHW")
    torch.testing.assert_close(whole.volume(value), value[0])
    frames = value.transpose(1, 2).flatten(0, 1)
    framed = Layer("a", "", "Relu", (2, 3, 4), "TCHW")
    torch.testing.assert_close(framed.volume(frames), value[0])
