from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from tiemcli.errors import ClipError, ModelError
from tiemcli.extremal.backend import differentiate, make_fitter
from tiemcli.extremal.mask import FINAL_TEMPERATURE, MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.penalty import steep_sigmoid as steep_sigmoid_reference
from tiemcli.extremal.stopping import promises_more
from tiemcli.facts import Facts
from tiemcli.kernels.area import soft_top as soft_top_reference
from tiemcli.model import load_model
from tiemcli.scorers import Scorer
from tiemcli.scorers.network import Network, load_network

torch = pytest.importorskip("torch")

from tiemcli.extremal.autograd import AutogradFitter, area_distance, soft_top, steep_sigmoid
from tiemcli.gradients import Differentiable


def test_the_soft_mask_is_the_kernels() -> None:
    """Torch's projection gives what the NumPy kernel gives."""
    values = np.random.default_rng(0).normal(size=(3, 8, 9)).astype(np.float32)
    counts = np.array([0.0, 20.0, 72.0])
    for temperature in (0.5, 0.02):
        got = soft_top(torch.from_numpy(values), torch.tensor(counts), temperature)
        np.testing.assert_allclose(got, soft_top_reference(values, counts, temperature), atol=2e-4)


def test_the_soft_masks_gradient_is_a_difference_quotient() -> None:
    """The implicit gradient through τ agrees with finite differences in double precision."""
    values = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values.requires_grad_()
    counts = torch.tensor([3.0, 7.0], dtype=torch.float64)
    weights = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 4)
    assert torch.autograd.gradcheck(
        lambda z: (soft_top(z, counts, 0.5) * weights).sum(), values, eps=1e-4, atol=1e-3
    )


def test_the_steep_sigmoid_is_the_references() -> None:
    """Both forms of Eq. 7's mask agree."""
    values = np.linspace(0, 1, 50, dtype=np.float32)
    np.testing.assert_allclose(
        steep_sigmoid(torch.from_numpy(values)), steep_sigmoid_reference(values), atol=1e-6
    )


@pytest.mark.parametrize("counts", [[0, 13, 50], [63]], ids=["frames", "volume"])
def test_the_area_distance_is_that_of_the_sorted_mask(counts: list[int]) -> None:
    """Each frame's, or the whole volume's, descending values against ones and then zeros."""
    mask = torch.rand(3, 5, 10, generator=torch.Generator().manual_seed(0))
    rows = mask.numpy().reshape(len(counts), -1)
    expected = np.mean(
        [
            np.square(np.sort(row)[::-1] - (np.arange(row.size) < count)).mean()
            for row, count in zip(rows, counts, strict=True)
        ]
    )
    got = area_distance(mask, np.array(counts), np.random.default_rng(0))
    assert float(got) == pytest.approx(expected, abs=1e-5)


def test_the_area_distance_breaks_ties_at_random() -> None:
    """Of a constant mask any pixels may stay, not the first in reading order."""
    mask = torch.ones(1, 5, 10, requires_grad=True)
    area_distance(mask, np.array([25]), np.random.default_rng(0)).backward()
    assert mask.grad is not None
    falling = mask.grad.ravel().nonzero().ravel()
    assert len(falling) == 25
    assert falling.tolist() != list(range(25, 50))


def loaded(path: Path) -> Network:
    return load_network(load_model(path, Facts()), "cpu")


def blob(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """A clip with a bright moving square on gray, and the gray alone."""
    base = np.full(network.model.shape, 0.2, np.float32)
    clip = base.copy()
    for frame in range(network.model.sizes["T"]):
        clip[:, frame, 3:8, 2 + 3 * frame : 6 + 3 * frame] = 0.9
    return clip, base


@pytest.mark.parametrize("constraint", ["exact", "penalty"])
@pytest.mark.parametrize("ending", ["logits", "probabilities", "value"])
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_masks_keep_the_score_at_their_area(
    constraint: str, ending: str, batch: int | None, build_network: Callable[..., Path]
) -> None:
    """A fitted mask meets its area to the pixel and scores better than the best of twenty random
    ones of that area, or than most under the penalty, for every kind of output and any batch."""
    network = loaded(build_network(ending=ending, batch=batch))
    clip, base = blob(network)
    outputs = network.outputs(clip)
    blank = network.outputs(base)
    # The class that the square raises most; a single value is negative and gets further from 0.
    target = int((outputs - blank).argmax())
    clean = float(outputs[target])
    assert clean > blank[target] or clean < blank[target] < 0
    objective = Objective(clean, regression=ending == "value")
    found = differentiate(network, clip, base, target, objective, "auto")
    assert found.clip is not None, found.reason
    scorer = network.scorer(clip, base, target)
    fitter = make_fitter(
        found.clip,
        scorer,
        target,
        objective,
        constraint=constraint,
        iterations=30 if constraint == "exact" else 200,
        queries=100,
        estimator="gp-nes",
        random=np.random.default_rng(0),
        cells=6,
    )
    areas = np.full(4, 0.15)
    told: list[int] = []
    fit = fitter.fit(areas, None, told.append)
    assert sum(told) == fitter.budget(warm=False) >= fit.evaluations == found.clip.backwards
    counts = np.rint(areas * 12 * 16)
    assert (fit.hard.sum(axis=(1, 2)) == counts).all()
    space = MaskSpace.across(scorer.shape, 6)
    random = np.random.default_rng(1).normal(size=(20, *space.cells)).astype(np.float32)
    rivals = scorer.score(space.hard(random, counts.astype(np.int64)))
    # The penalty only asks for the area, and loses some of the score where it is then enforced.
    rival = rivals.max() if constraint == "exact" else np.median(rivals)
    assert scorer.score(fit.hard[None])[0] / clean > rival / clean


def fitter_for(network: Network, iterations: int) -> tuple[AutogradFitter, Scorer]:
    """An exact fitter of the class that the square raises most, and a scorer of its own."""
    clip, base = blob(network)
    outputs = network.outputs(clip)
    target = int((outputs - network.outputs(base)).argmax())
    objective = Objective(float(outputs[target]), regression=False)
    found = differentiate(network, clip, base, target, objective, "auto")
    assert found.clip is not None, found.reason
    scorer = network.scorer(clip, base, target)
    space = MaskSpace.across(scorer.shape, 6)
    random = np.random.default_rng(0)
    return (
        AutogradFitter(
            found.clip, scorer, target, objective, space, "exact", iterations, 0.0, random
        ),
        network.scorer(clip, base, target),
    )


class Watching:
    """A scorer that remembers what it was asked and what it said, or says what it is told to."""

    def __init__(self, scorer: Scorer, said: Callable[[int], float] | None = None) -> None:
        self._scorer, self._said = scorer, said
        self.masks: list[np.ndarray] = []
        self.scores: list[float] = []

    def score(self, keep: np.ndarray) -> np.ndarray:
        scores = self._scorer.score(keep)
        if self._said is not None:
            scores = np.array([self._said(len(self.masks))])
        self.masks.extend(keep)
        self.scores.extend(scores)
        return scores


def test_a_fit_returns_the_best_hard_mask_that_it_scored(
    build_network: Callable[..., Path],
) -> None:
    """Where later masks are worse the best one stands, with its cells and its hard-edged soft form."""
    fitter, scorer = fitter_for(loaded(build_network()), iterations=30)
    # Worse after the fourth, and never good enough to stop.
    watching = Watching(scorer, lambda asked: fitter.objective.clean * (0.5, 0.1)[asked > 3])
    fit = replace(fitter, scorer=watching).fit(np.full(4, 0.15), None, lambda done: None)
    assert fit.evaluations == 30
    assert len(watching.masks) == 8
    assert np.array_equal(fit.hard, watching.masks[3])
    counts = fitter.space.counts(np.full(4, 0.15))
    assert np.array_equal(fit.hard, fitter.space.hard(fit.cells, counts))
    edges = soft_top_reference(fitter.space.upsampling(fit.cells), counts, FINAL_TEMPERATURE)
    np.testing.assert_allclose(fit.soft, edges, atol=2e-4)


def test_a_fit_stops_when_its_hard_mask_no_longer_improves(
    build_network: Callable[..., Path],
) -> None:
    """Once the mask keeps the score and stands still three checks decide, and the rest is reported."""
    fitter, scorer = fitter_for(loaded(build_network()), iterations=60)
    told: list[int] = []
    watching = Watching(scorer, lambda asked: fitter.objective.clean)
    fit = replace(fitter, scorer=watching).fit(np.full(4, 0.15), None, told.append)
    assert fit.evaluations == 12 == fitter.clip.backwards
    assert sum(told) == 60


def test_stopping_early_costs_next_to_nothing(build_network: Callable[..., Path]) -> None:
    """The mask scores within half a per cent of the one that all iterations find."""
    fitter, scorer = fitter_for(loaded(build_network()), iterations=60)
    areas = np.full(4, 0.15)
    watching = Watching(scorer)
    stopped = replace(fitter, scorer=watching).fit(areas, None, lambda done: None)
    # A scorer that sees nothing kept never lets it stop, and takes the last mask.
    patient = replace(fitter, scorer=Watching(scorer, lambda asked: 0.0))
    whole = patient.fit(areas, None, lambda done: None)
    assert stopped.evaluations < whole.evaluations == 60
    best, last = scorer.score(np.stack([stopped.hard, whole.hard]))
    assert best == pytest.approx(max(watching.scores))
    assert best >= last - 0.005 * fitter.objective.clean


def test_a_mask_that_has_found_nothing_yet_is_not_given_up() -> None:
    """Standing still counts only where the score is kept; a slow gain counts where time is left."""
    still, kept, rising = [0.1] * 3, [0.95] * 3, [0.95, 0.951, 0.952]
    assert promises_more(still, 60)
    assert not promises_more(kept, 60)
    assert promises_more(rising, 60)
    assert not promises_more(rising, 20)
    assert promises_more(kept[:2], 60)


def test_an_operator_without_gradient_falls_back_and_is_named(
    build_network: Callable[..., Path],
) -> None:
    """`auto` takes finite differences and says which operator was to blame; `autograd` by name is
    an error."""
    path = build_network()
    proto = onnx.load(path)
    proto.graph.node.insert(
        len(proto.graph.node),
        onnx.helper.make_node("RandomNormalLike", ["logits"], ["noise"], scale=1e-7),
    )
    proto.graph.node.append(onnx.helper.make_node("Add", ["logits", "noise"], ["noisy"]))
    proto.graph.output[0].name = "noisy"
    onnx.save(proto, path)
    network = loaded(path)
    clip, base = blob(network)
    objective = Objective(0.5, regression=False)
    found = differentiate(network, clip, base, 0, objective, "auto")
    assert found.clip is None
    assert "RandomNormalLike" in found.reason
    with pytest.raises(ModelError, match="RandomNormalLike"):
        differentiate(network, clip, base, 0, objective, "autograd")


def test_a_network_is_turned_into_torch_once_for_all_clips(
    build_network: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second clip is masked before the very function that the first was, weights and all."""
    made: list[Differentiable] = []
    begin = Differentiable.__init__

    def watched(self: Differentiable, *given: object) -> None:
        made.append(self)
        begin(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Differentiable, "__init__", watched)
    network = loaded(build_network())
    clip, base = blob(network)
    objective = Objective(0.5, regression=False)
    for shown in (clip, 1 - clip):
        assert differentiate(network, shown, base, 0, objective, "autograd").clip is not None
    assert made == [network.differentiable]


def test_a_network_of_steps_has_no_useful_gradient(build_network: Callable[..., Path]) -> None:
    """A gradient that is zero everywhere is not taken for an answer."""
    path = build_network()
    proto = onnx.load(path)
    graph = proto.graph
    nodes = list(graph.node)
    del graph.node[:]
    zero = onnx.numpy_helper.from_array(np.float32(0.5), "threshold")
    graph.initializer.append(zero)
    graph.node.extend(
        [
            onnx.helper.make_node("Greater", ["clip", "threshold"], ["above"]),
            onnx.helper.make_node("Cast", ["above"], ["steps"], to=1),
        ]
    )
    nodes[0].input[0] = "steps"
    graph.node.extend(nodes)
    onnx.save(proto, path)
    network = loaded(path)
    clip, base = blob(network)
    found = differentiate(network, clip, base, 0, Objective(0.5, regression=False), "auto")
    assert found.clip is None
    assert "zero" in found.reason or "autograd" in found.reason
    with pytest.raises(ClipError, match="on this clip"):
        differentiate(network, clip, base, 0, Objective(0.5, regression=False), "autograd")


def test_a_saturated_network_keeps_its_gradient(build_network: Callable[..., Path]) -> None:
    """Where the half-masked clip's probability underflows, its logarithm still has a slope, and the
    answers agree as probabilities."""
    path = build_network()
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name == "dense":
            sharp = onnx.numpy_helper.to_array(tensor) * 4000
            tensor.CopyFrom(onnx.numpy_helper.from_array(sharp, "dense"))
    onnx.save(proto, path)
    network = loaded(path)
    clip, base = blob(network)
    target = int(network.outputs((clip + base) / 2).argmin())
    assert network.outputs((clip + base) / 2)[target] < 1e-8
    found = differentiate(network, clip, base, target, Objective(1.0, regression=False), "auto")
    assert found.clip is not None, found.reason
