import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.metrics.summary import spread

NUMBERS = st.floats(-100, 100)


@given(st.lists(NUMBERS, min_size=2, max_size=9))
def test_a_spread_is_the_mean_and_the_sample_deviation(values: list[float]) -> None:
    """As the standard library has them, of n − 1."""
    measured = spread(values)
    assert measured.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert measured.std == pytest.approx(statistics.stdev(values), abs=1e-9)
    assert measured.count == len(values)


def test_one_value_has_no_deviation() -> None:
    """Its text is the mean alone."""
    alone = spread([98.731])
    assert math.isnan(alone.std)
    assert alone.text() == "98.73"
    assert spread(np.array([1.0, 2.0])).text(1) == "1.5 ± 0.7"


def test_what_is_undefined_is_not_passed_over() -> None:
    """A mean over the rest would flatter a method that fails on one clip."""
    assert math.isnan(spread([1.0, math.nan, 2.0]).mean)
