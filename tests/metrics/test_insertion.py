from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.metrics.insertion import Curve, deletion, insertion
from tiemcli.settings import CURVE_STEPS

SHAPE = (4, 6, 8)
SALIENCY = arrays(np.float32, SHAPE, elements=st.floats(-1, 1, width=16))


class Plain:
    """A scorer that answers by a function of the mask, and remembers how it was asked."""

    forwards, computed, combining = 0, 0.0, 1.0

    def __init__(
        self, score: Callable[[Floats], float], shape: tuple[int, int, int] = SHAPE
    ) -> None:
        self.shape, self._score, self.asked = shape, score, []

    def score(
        self, keep: Floats, upsampling=None, choice=None, progress=lambda done: None
    ) -> Doubles:
        assert keep.dtype == np.float32
        assert keep.shape[1:] == self.shape
        self.asked.append(len(keep))
        progress(len(keep))
        return np.array([self._score(mask) for mask in keep], dtype=np.float64)


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distinct(seed: int) -> Floats:
    """Saliency of which no two values are equal."""
    return seeded(seed).permutation(192).astype(np.float32).reshape(SHAPE)


@given(SALIENCY, st.integers(1, 40))
def test_a_network_that_counts_pixels_gives_every_saliency_one_half(
    saliency: Floats, steps: int
) -> None:
    """Φ is then the share itself, whose area is .5, shown or hidden."""
    for curve in (insertion, deletion):
        drawn = curve(Plain(np.mean), saliency, seeded(), steps)
        wanted = drawn.shares if curve is insertion else 1 - drawn.shares
        np.testing.assert_allclose(drawn.scores, wanted, atol=1e-6)
        assert drawn.auc == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 12, 192])
def test_a_curve_is_what_sorting_the_pixels_by_hand_gives(steps: int) -> None:
    """The largest first, k/steps of them at point k, joined by trapezia."""
    saliency, weights = distinct(1), seeded(2).random(SHAPE)

    def network(mask: Floats) -> float:
        return float((mask * weights).sum() ** 2)

    shares, shown, hidden = np.arange(steps + 1) / steps, [], []
    order = sorted(np.ndindex(SHAPE), key=lambda place: -saliency[place])
    for share in shares:
        mask = np.zeros(SHAPE)
        for place in order[: round(share * len(order))]:
            mask[place] = 1
        shown.append(network(mask))
        hidden.append(network(1 - mask))
    for curve, scores in ((insertion, shown), (deletion, hidden)):
        drawn = curve(Plain(network), saliency, seeded(), steps)
        np.testing.assert_allclose(drawn.shares, shares)
        np.testing.assert_allclose(drawn.scores, scores)
        area = sum((a + b) / 2 / steps for a, b in pairwise(scores))
        assert drawn.auc == pytest.approx(area)


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 16, 64]))
def test_deletion_is_insertion_of_the_opposite_order_backwards(seed: int, steps: int) -> None:
    """Hiding the most salient leaves what showing the least salient shows."""
    saliency, weights = distinct(seed), seeded(seed + 1).normal(size=SHAPE)
    scorer = Plain(lambda mask: float(np.tanh((mask * weights).sum())))
    hidden = deletion(scorer, saliency, seeded(), steps)
    shown = insertion(scorer, -saliency, seeded(), steps)
    np.testing.assert_allclose(hidden.scores, shown.scores[::-1])
    assert hidden.auc == pytest.approx(shown.auc)


def test_the_truth_has_the_largest_insertion_and_the_smallest_deletion() -> None:
    """A network of known pixels: no order beats theirs, and random ones lie between."""
    weights = seeded(3).random(SHAPE).astype(np.float32)
    scorer = Plain(lambda mask: float((mask * weights).sum()))
    best, worst = (insertion(scorer, s, seeded(), 48).auc for s in (weights, -weights))
    least, most = (deletion(scorer, s, seeded(), 48).auc for s in (weights, -weights))
    for seed in range(10):
        order = seeded(seed).random(SHAPE, dtype=np.float32)
        assert worst < insertion(scorer, order, seeded(), 48).auc < best
        assert least < deletion(scorer, order, seeded(), 48).auc < most


def test_equal_values_come_in_an_order_that_the_seed_draws() -> None:
    """One seed repeats, another differs, and on average a flat saliency shows no place first."""
    first_half = np.arange(192).reshape(SHAPE) < 96
    scorer = Plain(lambda mask: float(mask[first_half].mean()))
    flat = np.zeros(SHAPE, np.float32)
    areas = [insertion(scorer, flat, seeded(seed), 16).auc for seed in range(40)]
    assert areas[0] == insertion(scorer, flat, seeded(0), 16).auc
    assert len(set(areas)) > 30
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


def test_ties_are_broken_within_their_value_alone() -> None:
    """Frames of one value each come whole, one after the other."""
    saliency = np.broadcast_to(np.array([2, 4, 1, 3], np.float32)[:, None, None], SHAPE)
    scorer = Plain(lambda mask: float(mask.mean(axis=(1, 2)) @ [1, 10, 100, 1000]))
    drawn = insertion(scorer, saliency, seeded(), 4)
    np.testing.assert_allclose(drawn.scores, [0, 10, 1010, 1011, 1111])


def test_the_ends_are_the_base_and_the_clip() -> None:
    """Nothing and everything is shown, however the steps divide the pixels."""
    for steps in (5, 7, 500):
        drawn = insertion(Plain(np.sum), distinct(0), seeded(), steps)
        assert (drawn.scores[0], drawn.scores[-1]) == (0, 192)
        assert (drawn.shares[0], drawn.shares[-1], len(drawn.shares)) == (0, 1, steps + 1)


def test_few_masks_are_held_at_once() -> None:
    """A large clip is asked about in several calls of 128 MiB of masks at most, all of it told."""
    shape = (32, 512, 512)
    scorer, told = Plain(lambda mask: float(mask[0, 0, 0]), shape), []
    saliency = np.zeros(shape, np.float32)
    insertion(scorer, saliency, seeded(), 8, told.append)
    assert max(scorer.asked) * 4 * saliency.size <= 1 << 27
    assert sum(scorer.asked) == sum(told) == 9


def test_as_many_steps_as_are_said() -> None:
    """By default one score more than `CURVE_STEPS`."""
    assert len(insertion(Plain(np.mean), distinct(0), seeded()).scores) == CURVE_STEPS + 1


def test_a_regression_is_compared_by_its_shares_of_the_whole_clip() -> None:
    """Of a negative answer as of a positive one."""
    curve = Curve(np.array([0, 0.5, 1]), np.array([0.0, -6, -8]))
    relative = curve.relative_to(-8)
    np.testing.assert_allclose(relative.scores, [0, 0.75, 1])
    assert relative.auc == pytest.approx(0.625)
