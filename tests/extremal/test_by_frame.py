"""The search where frames once seen are combined cheaply: each frame is judged on its own."""

from collections.abc import Callable

import numpy as np
import pytest

from tiemcli.extremal.candidates import Candidates
from tiemcli.extremal.finite_difference import FiniteDifferenceFitter
from tiemcli.extremal.mask import MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.penalty import area_distance, steep_sigmoid
from tiemcli.extremal.purse import Purse
from tiemcli.kernels.area import sorted_template
from tiemcli.kernels.upsample import Upsampling
from tiemcli.scorers import Progress, unheard

SHAPE = (8, 32, 32)
SIDE = 12
AREAS = np.array([0.0, *[SIDE**2 / 32**2] * 6, 1.0])
FREE = np.arange(1, 7)


class Frames:
    """A probability that grows with the share of a square that each frame keeps, whatever the
    others keep; the square is elsewhere in every frame. flat: it does not."""

    def __init__(self, combining: float, *, flat: bool = False) -> None:
        self.shape, self.combining, self.flat = SHAPE, combining, flat
        self.region = np.zeros(SHAPE, np.float32)
        for frame in FREE:
            y, x = 3 * frame, (7 * frame) % 20
            self.region[frame, y : y + SIDE, x : x + SIDE] = 1
        self.forwards = 0
        self.computed = 0.0

    def score(
        self,
        keep: np.ndarray,
        upsampling: Upsampling | None = None,
        choice: np.ndarray | None = None,
        progress: Progress = unheard,
    ) -> np.ndarray:
        pixels = keep if upsampling is None else upsampling(keep)
        seen = (pixels * self.region).sum(axis=(2, 3)) / self.region.sum()
        if choice is not None:
            seen = seen[choice, np.arange(SHAPE[0])]
        self.forwards += len(seen)
        self.computed += len(keep) * (1 - self.combining) + len(seen) * self.combining
        progress(len(seen))
        if self.flat:
            return np.full(len(seen), 0.5)
        return np.asarray(np.exp(5 * (seen.sum(axis=1) - 1)), dtype=np.float64)

    def found(self, hard: np.ndarray) -> float:
        return float((hard * self.region).sum() / self.region.sum())


def fitter(scorer: Frames, queries: int, **changes: object) -> FiniteDifferenceFitter:
    settings = {
        "scorer": scorer,
        "objective": Objective(1.0, regression=False),
        "space": MaskSpace.across(SHAPE, 8),
        "constraint": "exact",
        "estimator": "gp-nes",
        "queries": queries,
        "random": np.random.default_rng(0),
    }
    return FiniteDifferenceFitter(**(settings | changes))


def quiet(done: int) -> None:
    pass


def test_frames_judged_on_their_own_are_found_at_a_fraction_of_the_cost() -> None:
    """With cheap combinations 150 forwards find more of six squares than twice as many without,
    though a linear objective is what a regression over whole clips is made for."""
    cheap, dear = Frames(0.01), Frames(1.0)
    by_frame = fitter(cheap, 150).fit(AREAS, None, quiet)
    whole = fitter(dear, 300).fit(AREAS, None, quiet)
    assert cheap.computed <= 150
    assert cheap.found(by_frame.hard) > max(0.85, dear.found(whole.hard))
    assert by_frame.hard.sum(axis=(1, 2)).tolist() == [0, *[144] * 6, 1024]


@pytest.mark.parametrize("constraint", ["exact", "penalty"])
@pytest.mark.parametrize("combining", [0.0001, 0.01, 0.2, 0.4, 1.0])
@pytest.mark.parametrize("queries", [5, 17, 40, 301])
def test_the_budget_is_kept_and_told_to_its_end(
    combining: float, constraint: str, queries: int
) -> None:
    """Cold or warm, what is computed is at most the budget, and the progress reaches it exactly."""
    scorer = Frames(combining)
    search = fitter(scorer, queries, constraint=constraint)
    start = None
    for warm in (False, True):
        told: list[int] = []
        spent = scorer.computed
        fit = search.fit(AREAS, start, told.append)
        start = fit.cells
        assert scorer.computed - spent <= search.budget(warm) + 1e-9
        assert fit.evaluations == np.ceil(scorer.computed - spent)
        assert sum(told) == search.budget(warm)
        assert min(told) > 0


@pytest.mark.parametrize("combining", [0.01, 1.0])
def test_a_flat_objective_is_given_up(combining: float) -> None:
    """Where no mask is better than another the search ends before half of its budget, and the
    progress still reaches the end."""
    told: list[int] = []
    scorer = Frames(combining, flat=True)
    fit = fitter(scorer, 1500).fit(AREAS, None, told.append)
    assert fit.evaluations < 850
    assert sum(told) == 1500


def test_a_mask_that_keeps_everything_ends_the_search() -> None:
    """A probability of 1 cannot be bettered: a warm start from the answer costs little."""
    scorer = Frames(0.01)
    search = fitter(scorer, 6000)
    first = search.fit(AREAS, None, quiet)
    again = search.fit(AREAS, first.cells, quiet)
    assert again.evaluations < search.budget(warm=True) / 2
    assert scorer.found(again.hard) > 0.9


@pytest.mark.parametrize("combining", [0.01, 1.0])
def test_the_same_seed_gives_the_same_mask(combining: float) -> None:
    """All randomness comes from the generator that is passed in."""
    masks = [fitter(Frames(combining), 200).fit(AREAS, None, quiet).hard for _ in range(2)]
    np.testing.assert_array_equal(*masks)


Worth = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def additive(frames: np.ndarray) -> tuple[Worth, list[np.ndarray]]:
    """A worth that is the sum of the frames' (K, T), and a list of the choices it was asked for."""
    asked: list[np.ndarray] = []

    def worth(tried: np.ndarray, choice: np.ndarray | None) -> np.ndarray:
        assert choice is not None
        asked.append(choice)
        values = np.concatenate([frames, np.zeros((1, frames.shape[1]))])
        return np.asarray(values[choice, np.arange(frames.shape[1])].sum(axis=1))

    return worth, asked


def test_gains_by_frame_are_those_of_single_frames() -> None:
    """A candidate's gain is that of the clip with it in one frame and the mean elsewhere."""
    worths = np.random.default_rng(0).normal(size=(6, 8))
    worth, asked = additive(worths)
    candidates = Candidates(Purse(Frames(0.01), 100, quiet), FREE, by_frame=True)
    tried = np.zeros((6, 8, 1, 1), np.float32)
    level, gains = candidates.gains(tried, tried[0], worth)
    assert level == 0
    np.testing.assert_allclose(gains, worths[:, FREE])
    assert len(asked[0]) == 1 + 6 * len(FREE)


def test_effects_by_frame_are_averages_over_equally_many_clips() -> None:
    """Each candidate stands in each frame as often as any other, and its effect is the plain
    average of the clips that show it."""
    worths = np.random.default_rng(0).normal(size=(6, 8))
    worth, asked = additive(worths)
    candidates = Candidates(Purse(Frames(0.1), 100, quiet), FREE, by_frame=True)
    tried = np.zeros((6, 8, 1, 1), np.float32)
    effects = candidates.effects(tried, worth, np.random.default_rng(1))
    (choice,) = asked
    scores = worth(tried, choice)
    assert len(choice) == 6 * candidates.rounds == 60
    for candidate in range(6):
        for column, frame in enumerate(FREE):
            there = choice[:, frame] == candidate
            assert there.sum() == candidates.rounds
            assert effects[candidate, column] == pytest.approx(scores[there].mean())


def test_the_penalty_of_a_combination_is_that_of_its_masks() -> None:
    """Under Eq. 7 a combined clip pays for the distance of exactly the frames it shows."""
    scorer = Frames(0.01, flat=True)
    search = fitter(scorer, 100, constraint="penalty")
    random = np.random.default_rng(0)
    cells = random.normal(size=(3, *search.space.cells)).astype(np.float32)
    choice = random.integers(0, 3, (5, 8))
    counts = search.space.counts(AREAS)
    worth = search._worth(Purse(scorer, 100, quiet), cells, counts, choice)
    masks = steep_sigmoid(0.5 + 0.1 * search.space.upsampling(cells))[choice, np.arange(8)]
    expected = np.log(0.5) - 3 * area_distance(masks, sorted_template(counts, 32 * 32))
    np.testing.assert_allclose(worth, expected, rtol=1e-5)
