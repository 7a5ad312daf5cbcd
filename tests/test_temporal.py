import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from tiemcli.scorers import Progress, unheard
from tiemcli.temporal import measure_importance, time_importance


class Additive:
    """A scorer whose score is the sum of hidden weights of the frames that are kept."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights
        self.shape = (len(weights), 4, 4)
        self.forwards = 0

    def score(self, keep: np.ndarray, *, progress: Progress = unheard) -> np.ndarray:
        self.forwards += len(keep)
        progress(len(keep))
        return keep.astype(np.float64) @ self.weights


def oracle(drops: dict[int, np.ndarray], frames: int, alpha: float) -> np.ndarray:
    """Eq. 1-4 as the paper's Algorithm 1 goes, window by window, for drops that are all positive."""
    p = {w: [d / sum(ds) for d in ds] for w, ds in drops.items()}
    theta = {w: sum(abs(b - a) for a, b in itertools.pairwise(q)) for w, q in p.items()}
    chosen = [w for w in p if theta[w] > alpha * max(theta.values())]
    total, count = [0.0] * frames, [0] * frames
    for w in chosen:
        for t, share in enumerate(p[w]):
            for frame in range(t, t + w):
                total[frame] += share
                count[frame] += 1
    mean = [a / b if b else 0.0 for a, b in zip(total, count, strict=True)]
    return np.array(mean) / sum(mean)


@given(st.integers(2, 9), st.floats(0, 0.95), st.integers(0, 10_000))
def test_equals_the_papers_algorithm_where_every_drop_is_positive(
    frames: int, alpha: float, seed: int
) -> None:
    """With positive drops the guarded form is the paper's, to the last bits."""
    random = np.random.default_rng(seed)
    drops = {w: random.uniform(0.1, 1, frames - w + 1) for w in range(1, frames + 1)}
    importance = time_importance(drops, frames, alpha=alpha).importance
    np.testing.assert_allclose(importance, oracle(drops, frames, alpha), atol=1e-12)


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(0, 10_000), st.sampled_from(["mean", "nnls", "shortest"]))
def test_importance_is_a_distribution_whatever_the_drops(
    frames: int, seed: int, aggregate: str
) -> None:
    """Importance is never negative and sums to 1, also for scores that rise."""
    random = np.random.default_rng(seed)
    drops = {w: random.normal(size=frames - w + 1) for w in range(1, frames + 1)}
    temporal = time_importance(drops, frames, alpha=0.8, aggregate=aggregate)
    assert (temporal.importance >= 0).all()
    assert temporal.importance.sum() == pytest.approx(1)


def test_rises_count_as_nothing() -> None:
    """A window whose absence raises the score has no importance; literal Eq. 2 would divide by
    a sum near zero."""
    drops = {1: np.array([0.5, -0.49, 0.0, 0.0])}
    temporal = time_importance(drops, 4, alpha=0.8)
    assert temporal.importance.tolist() == [1, 0, 0, 0]


def test_a_size_of_rises_alone_is_dropped() -> None:
    """A degenerate size is recorded as such and takes no part."""
    drops = {1: np.array([0.1, 0.4, 0.1]), 2: np.array([-0.5, -0.4]), 3: np.array([0.6])}
    temporal = time_importance(drops, 3, alpha=0.0)
    assert [w.degenerate for w in temporal.windows] == [False, True, False]
    assert [w.valid for w in temporal.windows] == [True, False, False]
    np.testing.assert_allclose(temporal.importance, [1 / 6, 4 / 6, 1 / 6])


def test_a_network_that_sees_nothing_gives_uniform_importance() -> None:
    """Where no window moves the score the importance is uniform and says so."""
    drops = {w: np.full(5 - w, 1e-7) for w in (1, 2, 3, 4)}
    temporal = time_importance(drops, 4, alpha=0.8)
    assert temporal.degenerate
    assert temporal.importance.tolist() == [0.25] * 4


def test_a_small_regression_is_not_mistaken_for_nothing() -> None:
    """What counts as no drop is measured in the regression's own unit."""
    scorer = Additive(np.array([0, 0, 1e-6, 0]))
    temporal = measure_importance(scorer, 1e-6, [1], alpha=0.8, unit=1e-6)
    assert temporal.importance.tolist() == [0, 0, 1, 0]


def test_a_negative_regression_is_explained_by_what_raises_it() -> None:
    """For Φ(X) < 0 a frame matters if hiding it brings the answer towards 0."""
    scorer = Additive(np.array([0.0, -3.0, 0.0, 1.0]))
    temporal = measure_importance(scorer, -2.0, [1], alpha=0.8, unit=-2.0)
    assert temporal.importance.tolist() == [0, 1, 0, 0]


def test_every_window_is_scored_once() -> None:
    """A measurement costs exactly one evaluation a window, and reports them all."""
    scorer, told = Additive(np.arange(6.0)), []
    measure_importance(scorer, 15.0, range(1, 7), alpha=0.8, unit=15.0, progress=told.append)
    assert scorer.forwards == sum(told) == 21


@settings(max_examples=30)
@given(st.integers(2, 8), st.integers(0, 10_000))
def test_least_squares_are_scipys(frames: int, seed: int) -> None:
    """`nnls` solves the weighted ridge problem that it states, as SciPy does."""
    random = np.random.default_rng(seed)
    drops = {w: random.uniform(0.1, 1, frames - w + 1) for w in range(1, frames + 1)}
    rows, wanted = [], []
    for w, ds in drops.items():
        for t, d in enumerate(ds):
            row = np.zeros(frames)
            row[t : t + w] = 1
            rows.append(row * w**-0.25)
            wanted.append(d * w**-0.25)
    rows += list(np.sqrt(0.3) * np.eye(frames))
    expected = nnls(np.array(rows), np.array(wanted + [0.0] * frames))[0]
    importance = time_importance(drops, frames, alpha=0.8, aggregate="nnls").importance
    np.testing.assert_allclose(importance, expected / expected.sum(), atol=1e-8)


class Rule:
    """A scorer that says 1 or 0 of the frames that are kept."""

    def __init__(self, frames: int, holds: Callable[[np.ndarray], bool]) -> None:
        self.shape, self.holds, self.forwards = (frames, 4, 4), holds, 0

    def score(self, keep: np.ndarray, *, progress: Progress = unheard) -> np.ndarray:
        self.forwards += len(keep)
        progress(len(keep))
        return np.array([float(self.holds(frames > 0)) for frames in keep])


def shortest_oracle(drops: dict[int, np.ndarray], frames: int) -> np.ndarray:
    """The integral over θ as a sum over 4,000 levels, each window looked at in turn."""
    windows = [(w, t, d) for w, ds in drops.items() for t, d in enumerate(ds)]
    largest = max(d for _, _, d in windows)
    half = [
        w
        for w in drops
        if w >= frames / 2 and max(d for v, _, d in windows if v <= w) >= largest / 4
    ]
    total = np.zeros(frames)
    for theta in (np.arange(4000) + 0.5) / 4000 * largest:
        taking = [(w, t) for w, t, d in windows if d >= theta and w <= min(half)]
        if not taking:
            continue
        least = min(w for w, _ in taking)
        weights = [8.0 ** -(w - least) for w, _ in taking]
        for (w, t), weight in zip(taking, weights, strict=True):
            total[t : t + w] += weight / sum(weights) / w
    return total / total.sum()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000), st.booleans())
def test_shortest_windows_are_the_integral_over_levels(
    frames: int, seed: int, dyadic: bool
) -> None:
    """`shortest` is the integral that it states, level by level, for any sizes of windows."""
    random = np.random.default_rng(seed)
    sizes = [w for w in range(1, frames + 1) if not dyadic or w & (w - 1) == 0]
    drops = {w: random.uniform(0.1, 1, frames - w + 1) for w in sizes}
    importance = time_importance(drops, frames, alpha=0.8, aggregate="shortest").importance
    np.testing.assert_allclose(importance, shortest_oracle(drops, frames), atol=2e-3)


@pytest.mark.parametrize("need", [all, any])
def test_shortest_windows_find_a_run_of_frames_that_are_needed_or_suffice(
    need: Callable[[np.ndarray], bool],
) -> None:
    """Whether a network needs every frame of an event or any one of them, the event is found."""
    event = slice(6, 10)

    scorer = Rule(16, lambda kept: need(kept[event]))
    temporal = measure_importance(scorer, 1.0, range(1, 17), alpha=0.8, aggregate="shortest")
    assert temporal.importance[event].sum() > 0.9
    assert temporal.importance[event].min() > 2 * np.delete(temporal.importance, range(6, 10)).max()


def test_shortest_windows_keep_apart_what_stands_apart() -> None:
    """Two moments that both add to the score get it all, and the frames between them next to none."""
    weights = np.zeros(16)
    weights[[1, 2, 13, 14]] = 0.25
    temporal = measure_importance(
        Additive(weights), 1.0, range(1, 17), alpha=0.8, aggregate="shortest"
    )
    assert temporal.importance[weights > 0].sum() > 0.85
    assert temporal.importance[5:11].sum() < 0.01


def test_shortest_windows_grow_past_half_of_the_clip_where_less_does_nothing() -> None:
    """Where any of ten frames in sixteen would do, only a window over all ten says so."""
    scorer = Rule(16, lambda kept: bool(kept[3:13].any()))
    temporal = measure_importance(scorer, 1.0, range(1, 17), alpha=0.8, aggregate="shortest")
    assert not temporal.degenerate
    assert temporal.importance[3:13].sum() > 0.95


@pytest.mark.parametrize("aggregate", ["mean", "nnls", "shortest"])
@pytest.mark.parametrize("unit", [1e-3, -50.0])
def test_importance_is_the_same_in_every_unit(aggregate: str, unit: float) -> None:
    """A regression's unit and its sign change nothing."""
    weights = np.array([0.0, 0.1, 0.5, 0.3, 0.1])
    plain, scaled = (
        measure_importance(
            Additive(factor * weights),
            factor,
            range(1, 6),
            alpha=0.8,
            aggregate=aggregate,
            unit=factor,
        ).importance
        for factor in (1.0, unit)
    )
    np.testing.assert_allclose(plain, scaled, atol=1e-6)


@pytest.mark.parametrize("aggregate", ["mean", "nnls", "shortest"])
def test_a_constant_network_gives_uniform_importance(aggregate: str) -> None:
    """Where no window moves the score every estimate is uniform and says so."""
    scorer = Rule(5, lambda _: True)
    temporal = measure_importance(scorer, 1.0, range(1, 6), alpha=0.8, aggregate=aggregate)
    assert temporal.degenerate
    assert temporal.importance.tolist() == [0.2] * 5


def test_over_several_bases_the_score_is_their_mean() -> None:
    """Other bases are scored at every window as well, and the drops are the means."""
    one, other = np.array([0.0, 0.6, 0.4, 0.0]), np.array([0.2, 0.4, 0.2, 0.2])
    scorers, told = [Additive(one), Additive(other)], []
    both = measure_importance(
        scorers[0], 1.0, range(1, 5), alpha=0.8, others=scorers[1:], progress=told.append
    )
    mean = measure_importance(Additive((one + other) / 2), 1.0, range(1, 5), alpha=0.8)
    np.testing.assert_allclose(both.importance, mean.importance, atol=1e-12)
    np.testing.assert_allclose(both.windows[0].drop, (one + other) / 2, atol=1e-7)
    assert [scorer.forwards for scorer in scorers] == [10, 10]
    assert sum(told) == 20


def test_agreement_is_what_the_importances_of_the_bases_share() -> None:
    """It is 1 for bases that say the same, less for others, and None where there is but one."""
    one, other = np.array([0.0, 0.5, 0.5, 0.0]), np.array([0.0, 0.0, 0.5, 0.5])

    def agreement(*weights: np.ndarray) -> float | None:
        first, *others = map(Additive, weights)
        return measure_importance(first, 1.0, [1], alpha=0.8, others=others).agreement

    assert agreement(one) is None
    assert agreement(one, one) == pytest.approx(1)
    assert agreement(one, other) == pytest.approx(0.5)
    assert agreement(one, one, other) == pytest.approx((1 + 0.5 + 0.5) / 3)
