from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tiemcli.errors import ClipError, ModelError
from tiemcli.extremal.backend import differentiate, make_fitter
from tiemcli.extremal.mask import MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.penalty import steep_sigmoid as steep_sigmoid_reference
from tiemcli.facts import Facts
from tiemcli.kernels.area import soft_top as soft_top_reference
from tiemcli.model import load_model
from tiemcli.scorers.network import Network, load_network

torch = pytest.importorskip("torch")

from tiemcli.extremal.autograd import soft_top, steep_sigmoid, vecsort


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


def test_vecsort_descends_and_breaks_ties_at_random() -> None:
    """Rows descend, and equal pixels do not share the gradient in reading order."""
    masks = torch.cat([torch.rand(2, 50), torch.ones(1, 50)]).requires_grad_()
    ordered = vecsort(masks, torch.Generator().manual_seed(0))
    assert (ordered.detach().diff(dim=1) <= 1e-4).all()
    ordered[2, :25].sum().backward()
    chosen = masks.grad[2].nonzero().ravel()
    assert len(chosen) == 25
    assert chosen.tolist() != list(range(25))


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
    assert sum(told) == fitter.budget(warm=False) == found.clip.backwards
    counts = np.rint(areas * 12 * 16)
    assert (fit.hard.sum(axis=(1, 2)) == counts).all()
    space = MaskSpace.across(scorer.shape, 6)
    random = np.random.default_rng(1).normal(size=(20, *space.cells)).astype(np.float32)
    rivals = scorer.score(space.hard(random, counts.astype(np.int64)))
    # The penalty only asks for the area, and loses some of the score where it is then enforced.
    rival = rivals.max() if constraint == "exact" else np.median(rivals)
    assert scorer.score(fit.hard[None])[0] / clean > rival / clean


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
