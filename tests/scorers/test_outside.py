"""A network of which only the answers are known: what it is asked, and what is made of that."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tiemcli.errors import ClipError, DeviceError, ModelError, UsageError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.endpoint import Asked, Endpoint
from tiemcli.scorers.loading import is_outside, load
from tiemcli.scorers.network import load_network
from tiemcli.scorers.outside import OutsideNetwork, load_outside

T, H, W, K = 4, 12, 16, 5
BuildNetwork = Callable[..., Path]
EndpointOf = Callable[..., Endpoint]


class Answering:
    """An endpoint of floating-point clips NCTHW whose answers `function` makes."""

    name, identity, input, output = "test://made", "1" * 64, "clip", "scores"
    dims: tuple[int | None, ...] = (None, 3, T, H, W)
    element_type, largest_batch = TensorProto.FLOAT, None
    providers, notes = ("test",), ()

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.answers = function
        self.batches: list[int] = []

    def asked(self) -> Asked:
        """Nothing that is worth counting."""
        return Asked()


def brightness(clips: np.ndarray) -> np.ndarray:
    """Three probabilities of a clip (N, C, T, H, W), by the mean of its first frame."""
    mean = clips[:, :, 0].mean(axis=(1, 2, 3), dtype=np.float64)
    return np.stack([mean / 2, mean / 4, 1 - 0.75 * mean], axis=1)


def made(function: Callable[[np.ndarray], np.ndarray], **facts: object) -> OutsideNetwork:
    return load_outside(Answering(function), Facts.model_validate(facts), Facts())


def scenes(network: OutsideNetwork) -> tuple[np.ndarray, np.ndarray]:
    """A clip and a base (C, T, H, W) in [0, 1]."""
    first, second = np.random.default_rng(3).random((2, *network.model.shape), np.float32)
    return first, second


def test_equal_clips_of_a_call_are_asked_about_once(
    build_network: BuildNetwork, endpoint_of: EndpointOf
) -> None:
    """Also where grids, or choices among masks, come to the same; all are answered in order."""
    endpoint = endpoint_of(build_network())
    network = load_outside(endpoint, Facts(), Facts(), batch_size=8)
    endpoint.batches.clear()
    clip, base = scenes(network)
    scorer = network.scorer(clip, base, 2)
    keep = np.eye(T, dtype=np.float32)[[0, 1, 1, 2, 0, 3, 3]]
    told: list[int] = []
    scores = scorer.score(keep, progress=told.append)
    assert (endpoint.batches, sum(told)) == ([4], 7)
    assert (scorer.forwards, scorer.computed) == (7, 4)
    np.testing.assert_array_equal(scores[[1, 0, 5]], scores[[2, 4, 6]])
    each = [network.scorer(clip, base, 2).score(mask[None])[0] for mask in keep]
    np.testing.assert_allclose(scores, each, atol=1e-6)
    endpoint.batches.clear()
    choice = np.array(
        [[0, 1, 2, 3], [1, 1, 1, 1], [2, 2, 2, 2]]
    )  # of masks 1 and 2, which are equal
    assert scorer.score(keep, choice=choice)[1] == pytest.approx(scores[1], abs=1e-6)
    assert endpoint.batches == [2]


@pytest.mark.parametrize(("wanted", "most"), [(None, 4), (16, 4), (3, 3)])
def test_no_more_clips_go_at_once_than_an_endpoint_takes(
    wanted: int | None, most: int, build_network: BuildNetwork, endpoint_of: EndpointOf
) -> None:
    """Whatever --batch-size says, which is told; none is lost."""
    endpoint = endpoint_of(build_network(), 4)
    network = load_outside(endpoint, Facts(), Facts(), batch_size=wanted)
    told = "clips go 4 at a time: test://net.onnx takes no more" in network.notes
    assert told == (wanted == 16)
    clip, base = scenes(network)
    masks = np.random.default_rng(1).random((60, T, H, W), dtype=np.float32)
    assert network.scorer(clip, base).score(masks).shape == (60,)
    assert max(endpoint.batches) == most or wanted is None
    assert max(endpoint.batches) <= most


def test_a_fixed_batch_is_filled(build_network: BuildNetwork, endpoint_of: EndpointOf) -> None:
    """With different clips as far as there are any, so that nothing is computed for nothing."""
    path = build_network(batch=3)
    endpoint = endpoint_of(path)
    network = load_outside(endpoint, Facts(), Facts())
    endpoint.batches.clear()
    clip, base = scenes(network)
    masks = np.random.default_rng(1).random((7, T, H, W), dtype=np.float32)
    scores = network.scorer(clip, base).score(masks)
    assert (endpoint.batches, network.looped) == ([3, 3, 3], None)
    local = load_network(load_model(path, Facts()), "cpu").scorer(clip, base)
    np.testing.assert_allclose(scores, local.score(masks), atol=1e-5)


def alone_only(clips: np.ndarray) -> np.ndarray:
    """Right for one clip, wrong for several."""
    return brightness(clips) if len(clips) == 1 else brightness(clips)[::-1]


def refuses_several(clips: np.ndarray) -> np.ndarray:
    if len(clips) > 1:
        raise ClipError("one clip, please")
    return brightness(clips)


@pytest.mark.parametrize("function", [alone_only, refuses_several])
def test_clips_go_one_by_one_where_several_are_answered_otherwise(
    function: Callable[[np.ndarray], np.ndarray],
) -> None:
    """And that is said."""
    network = made(function)
    assert network.looped == 1
    assert network.notes[-1].startswith("clips go one by one")
    clip, base = scenes(network)
    keep = np.eye(T, dtype=np.float32)
    expected = [brightness((base + k[:, None, None] * (clip - base))[None])[0, 1] for k in keep]
    np.testing.assert_allclose(network.scorer(clip, base, 1).score(keep), expected, atol=1e-6)


def test_an_endpoint_that_answers_at_random_is_refused() -> None:
    """There is nothing to explain."""
    random = np.random.default_rng(0)
    with pytest.raises(ModelError, match="differently each time") as error:
        made(lambda clips: random.random((len(clips), 3)))
    assert "dropout" in error.value.hint


def test_rows_are_aggregated_and_logits_softmaxed_as_in_a_graph() -> None:
    """A row a frame, of which the mean, the largest or one of an index is explained."""

    def by_frame(clips: np.ndarray) -> np.ndarray:
        mean = clips.mean(axis=(1, 3, 4), dtype=np.float64)
        return np.stack([4 * mean, 2 - mean], axis=2)

    clip = scenes(made(by_frame))[0]
    rows = by_frame(clip[None])[0]
    for aggregate, row in (("mean", rows.mean(axis=0)), ("max", rows.max(axis=0)), (-1, rows[-1])):
        network = made(by_frame, aggregate=aggregate, output="logits")
        expected = np.exp(row) / np.exp(row).sum()
        np.testing.assert_allclose(network.outputs(clip), expected, atol=1e-6)
        network = made(lambda clips: by_frame(clips).swapaxes(1, 2), aggregate=aggregate)
        np.testing.assert_allclose(network.outputs(clip), expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_an_error(wrong: float) -> None:
    """At once, and under a mask: of that one clip alone."""
    with pytest.raises(ModelError, match="no number"):
        made(lambda clips: brightness(clips) + wrong)
    dark = made(lambda clips: np.where(clips.max() > 0, brightness(clips), wrong))
    clip, _ = scenes(dark)
    scorer = dark.scorer(clip, np.zeros_like(clip))
    assert np.isfinite(scorer.score(np.eye(T, dtype=np.float32))).all()
    with pytest.raises(ClipError, match="no number under some mask"):
        scorer.score(np.zeros((1, T), np.float32))


def test_an_answer_of_another_form_than_before_is_an_error() -> None:
    """Its shape is told."""
    network = made(lambda clips: brightness(clips)[:, : 2 if clips.max() == 0 else 3])
    with pytest.raises(ClipError, match=r"another form.*\[1, 2\]"):
        network.outputs(np.zeros(network.model.shape, np.float32))


def test_what_does_not_fit_goes_in_smaller_batches() -> None:
    """Down to one clip, which must fit."""
    asked: list[int] = []

    def small(clips: np.ndarray) -> np.ndarray:
        asked.append(len(clips))
        if len(clips) > 3:
            raise MemoryError
        return brightness(clips)

    network = load_outside(Answering(small), Facts(), Facts(), batch_size=16)
    clip, base = scenes(network)
    masks = np.random.default_rng(1).random((16, T, H, W), dtype=np.float32)
    assert network.scorer(clip, base).score(masks).shape == (16,)
    assert max(asked[-8:]) == 2

    def never(clips: np.ndarray) -> np.ndarray:
        raise MemoryError

    with pytest.raises(DeviceError, match="no memory for a single clip"):
        made(never)


def test_what_the_user_says_settles_what_an_endpoint_leaves_open() -> None:
    """Its layout and its sizes, by the flags that a file needs too; what contradicts it is refused."""
    endpoint = Answering(lambda clips: brightness(clips.transpose(0, 2, 1, 3, 4)))
    endpoint.dims = (None, None, 3, None, None)
    with pytest.raises(ModelError) as error:
        load_outside(endpoint, Facts(), Facts())
    assert error.value.hint == "give --frames"
    facts = Facts(frames=6, size=(8, 10), mean=(0.5,), labels=("a", "b", "c"))
    network = load_outside(endpoint, facts, Facts())
    assert (network.model.layout, network.model.shape) == ("NTCHW", (3, 6, 8, 10))
    assert network.model.labels == ("a", "b", "c")
    for wrong, message in (
        (Facts(layout="TCHW"), "has 4 axes"),
        (facts.over(Facts(output_name="other")), "no output 'other'"),
        (facts.over(Facts(input={"speed": "2"})), "cannot be fed speed"),
        (Facts(frames=6, size=(8, 10), labels=("a", "b")), "2 labels for 3 outputs"),
    ):
        with pytest.raises(ModelError, match=message):
            load_outside(endpoint, wrong, Facts())


def test_there_are_no_gradients() -> None:
    """And it is said why."""
    with pytest.raises(ModelError, match="only the network's answers are known"):
        _ = made(brightness).differentiable


@pytest.mark.parametrize(
    "source",
    ["python:net.py:predict", "http://host:8000/v2/models/net", "HTTPS://h/x", "grpc://h:1/n"],
)
def test_what_is_no_file_is_told_by_its_form(source: str) -> None:
    """And is asked for nothing that only a file has."""
    assert is_outside(source)
    with pytest.raises(UsageError, match="--precision half"):
        load(source, Facts(), "auto", precision="half")
    with pytest.raises(UsageError, match="--device cuda"):
        load(source, Facts(), "cuda")


@pytest.mark.parametrize(
    "source", ["net.onnx", "C:\\nets\\net.onnx", "./python:x/net.onnx", "http"]
)
def test_everything_else_is_a_file(source: str) -> None:
    """Missing here."""
    assert not is_outside(source)
    with pytest.raises(ModelError, match="no such file"):
        load(source, Facts(), "cpu")
