import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiemcli.extremal.finite_difference import FiniteDifferenceFitter
from tiemcli.extremal.mask import MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.penalty import area_distance, steep_sigmoid
from tiemcli.extremal.regression import kernel_ridge
from tiemcli.kernels.area import sorted_template
from tiemcli.kernels.upsample import Upsampling
from tiemcli.scorers import Progress, unheard

SHAPE = (4, 32, 32)


class Window:
    """A scorer that is a probability: the share of a known region that is kept, to a power."""

    def __init__(self) -> None:
        self.region = np.zeros(SHAPE, np.float32)
        self.region[1, 4:16, 4:16] = 1
        self.region[2, 16:28, 16:28] = 1
        self.shape = SHAPE
        self.forwards = 0
        self.combining = 1.0

    @property
    def computed(self) -> float:
        return float(self.forwards)

    def score(
        self,
        keep: np.ndarray,
        upsampling: Upsampling | None = None,
        choice: None = None,
        progress: Progress = unheard,
    ) -> np.ndarray:
        self.forwards += len(keep)
        progress(len(keep))
        pixels = keep if upsampling is None else upsampling(keep)
        seen = (pixels * self.region).sum(axis=(1, 2, 3)) / self.region.sum()
        return np.asarray(0.05 + 0.9 * seen, dtype=np.float64)


AREAS = np.array([0.0, 12 * 12 / 32**2, 12 * 12 / 32**2, 1.0])


def fitter(scorer: Window, **changes: object) -> FiniteDifferenceFitter:
    settings = {
        "scorer": scorer,
        "objective": Objective(0.95, regression=False),
        "space": MaskSpace.across(SHAPE, 8),
        "constraint": "exact",
        "estimator": "gp-nes",
        "queries": 1500,
        "random": np.random.default_rng(0),
    }
    return FiniteDifferenceFitter(**(settings | changes))


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({}, 0.9),
        ({"queries": 300}, 0.7),
        ({"constraint": "penalty"}, 0.7),
        ({"estimator": "spsa"}, 0.6),
        ({"estimator": "central"}, 0.8),
    ],
    ids=["gp-nes", "regression alone", "penalty", "spsa", "central"],
)
def test_queries_alone_find_the_region(changes: dict[str, object], least: float) -> None:
    """Every estimator finds most of a region that it can only ask about; at random 14 % would be
    found. The mask meets its area to the pixel, and the budget is kept."""
    scorer = Window()
    search = fitter(scorer, **changes)
    told: list[int] = []
    fit = search.fit(AREAS, None, told.append)
    assert scorer.forwards == fit.evaluations <= search.budget(warm=False) == sum(told)
    assert fit.hard.sum(axis=(1, 2)).tolist() == [0, 144, 144, 1024]
    found = (fit.hard * scorer.region).sum() / scorer.region.sum()
    assert found >= least


@pytest.mark.parametrize("estimator", ["gp-nes", "spsa", "central"])
@pytest.mark.parametrize("constraint", ["exact", "penalty"])
@pytest.mark.parametrize("queries", [2, 3, 17, 40, 701])
def test_no_budget_is_exceeded(estimator: str, constraint: str, queries: int) -> None:
    """Cold or warm, the queries asked for are the most that are made."""
    scorer = Window()
    search = fitter(scorer, estimator=estimator, constraint=constraint, queries=queries)
    first = search.fit(AREAS, None, lambda done: None)
    assert scorer.forwards <= search.budget(warm=False) == queries
    spent = scorer.forwards
    search.fit(AREAS, first.cells, lambda done: None)
    assert scorer.forwards - spent <= search.budget(warm=True)


def test_a_warm_start_costs_a_third_and_goes_on() -> None:
    """A second fit needs fewer queries and no regression."""
    scorer = Window()
    search = fitter(scorer)
    first = search.fit(AREAS, None, lambda done: None)
    spent = scorer.forwards
    second = search.fit(AREAS * [1, 0.7, 0.7, 1], first.cells, lambda done: None)
    assert scorer.forwards - spent <= search.budget(warm=True) == 500
    inside = (second.hard * scorer.region)[1:3].sum() / second.hard[1:3].sum()
    assert inside > 0.9


def test_nothing_is_asked_where_nothing_can_be_found() -> None:
    """Frames kept whole or not at all cost no query."""
    scorer = Window()
    fit = fitter(scorer).fit(np.array([0.0, 1, 0, 1]), None, lambda done: None)
    assert scorer.forwards == 0
    assert fit.hard.mean(axis=(1, 2)).tolist() == [0, 1, 0, 1]
    assert fit.soft.mean(axis=(1, 2)).tolist() == [0, 1, 0, 1]


def test_the_same_seed_gives_the_same_mask() -> None:
    """All randomness comes from the generator that is passed in."""
    masks = [fitter(Window()).fit(AREAS, None, lambda done: None).hard for _ in range(2)]
    np.testing.assert_array_equal(*masks)


def test_kernel_ridge_is_the_gaussian_process_posterior() -> None:
    """The regression's weights are the posterior mean, up to scale, for one of its ridges."""
    random = np.random.default_rng(0)
    masks = (random.random((60, 2, 3, 4)) < 0.5).astype(np.float32)
    truth = random.normal(size=24)
    scores = masks.reshape(60, -1) @ truth + 0.1 * random.normal(size=60)
    weights = kernel_ridge(masks, scores, np.array([1.0, 4.0])).ravel()
    places = [(f, y, x) for f in (1, 4) for y in range(3) for x in range(4)]
    prior = np.empty((24, 24))
    for i, (f, y, x) in enumerate(places):
        for j, (g, v, u) in enumerate(places):
            smooth = np.exp(-0.5 * (((f - g) / 0.7) ** 2 + (y - v) ** 2 + (x - u) ** 2))
            prior[i, j] = 0.8 * smooth + 0.2 * (i == j)
    design = masks.reshape(60, -1) - masks.reshape(60, -1).mean(axis=0)
    gram = design @ prior @ design.T
    best = np.inf
    for ridge in np.logspace(-2, 3, 26) * np.trace(gram) / 60:
        mean = prior @ design.T @ np.linalg.solve(gram + ridge * np.eye(60), scores - scores.mean())
        best = min(best, np.abs(mean / mean.std() - weights).max())
    assert best < 1e-3
    assert np.corrcoef(weights, truth)[0, 1] > 0.9


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_the_penalty_is_the_distance_to_the_sorted_template(seed: int) -> None:
    """Eq. 7's area term, pixel by pixel."""
    random = np.random.default_rng(seed)
    masks = random.random((2, 3, 4, 5), dtype=np.float32)
    counts = random.integers(0, 21, 3)
    distance = area_distance(masks, sorted_template(counts, 20))
    for mask, got in zip(masks, distance, strict=True):
        total = 0.0
        for frame, count in zip(mask, counts, strict=True):
            for rank, value in enumerate(sorted(frame.ravel().tolist(), reverse=True)):
                total += (value - (rank < count)) ** 2
        assert got == pytest.approx(total / 60, rel=1e-5)


def test_the_steep_sigmoid_reaches_both_ends() -> None:
    """Cells of 0, ½ and 1 give masks of 0, ½ and 1."""
    np.testing.assert_allclose(
        steep_sigmoid(np.array([0, 0.5, 1], np.float32)), [0, 0.5, 1], atol=1e-6
    )
