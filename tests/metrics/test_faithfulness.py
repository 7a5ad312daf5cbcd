import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiemcli.metrics.faithfulness import (
    average_drop,
    realised_areas,
    smallest_sufficient_area,
    sufficient_share,
)
from tiemcli.metrics.insertion import Curve


def test_the_average_drop_counts_losses_alone() -> None:
    """A score that rises under its mask loses nothing, and pays for no other's loss."""
    assert average_drop(np.array([0.8, 0.5]), np.array([0.6, 0.9])) == pytest.approx(12.5)


def test_a_negative_answer_drops_as_it_rises() -> None:
    """Of a regression of −4, −2 keeps half and −5 all."""
    clean = np.array([-4.0, -4.0])
    assert average_drop(clean, np.array([-2.0, -5.0])) == pytest.approx(25)


scores = arrays(np.float64, 5, elements=st.floats(0.01, 1))


@given(scores, scores)
def test_the_average_drop_is_a_percentage(clean: np.ndarray, masked: np.ndarray) -> None:
    """It is 0 where masks keep all and below 100 where they keep something."""
    assert 0 <= average_drop(clean, masked) < 100
    assert average_drop(clean, clean) == 0


def test_realised_areas_are_the_means_of_the_frames() -> None:
    """A frame each, soft values counted as they are."""
    kept = np.array([[[1, 0], [0, 0]], [[1, 1], [1, 0.5]]], np.float32)
    np.testing.assert_allclose(realised_areas(kept), [0.25, 0.875])


def test_the_smallest_area_whose_score_is_enough() -> None:
    """Whatever the order of the masks, and whether larger ones fail."""
    areas, scored = np.array([0.1, 0.03, 0.05, 0.2]), np.array([0.7, 0.2, 0.9, 0.8])
    assert smallest_sufficient_area(areas, scored, 0.7) == 0.05
    assert smallest_sufficient_area(areas, scored, 0.2) == 0.03
    assert math.isnan(smallest_sufficient_area(areas, scored, 0.95))


def test_the_least_share_that_insertion_has_to_show() -> None:
    """The first point of the curve that has enough, even if it falls again."""
    curve = Curve(np.linspace(0, 1, 5), np.array([0.1, 0.6, 0.3, 0.7, 0.9]))
    assert sufficient_share(curve, 0.5) == 0.25
    assert sufficient_share(curve, 0.9) == 1
    assert math.isnan(sufficient_share(curve, 0.91))
