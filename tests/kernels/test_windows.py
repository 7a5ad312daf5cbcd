import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.kernels.windows import enumerate_windows, window_membership, window_sizes


@pytest.mark.parametrize(("frames", "cost"), [(1, 1), (5, 15), (16, 136)])
def test_all_windows_of_a_short_clip(frames: int, cost: int) -> None:
    """Every size and start is tried up to 16 frames: T(T+1)/2 windows."""
    assert len(enumerate_windows(frames, window_sizes(frames))) == cost


@pytest.mark.parametrize(("frames", "cost"), [(16, 53), (64, 327)])
def test_dyadic_windows_keep_every_start(frames: int, cost: int) -> None:
    """Dyadic windows have sizes 1, 2, 4 … below T and all their starts."""
    assert len(enumerate_windows(frames, window_sizes(frames, "dyadic"))) == cost


def test_a_long_clip_is_dyadic() -> None:
    """Above 16 frames the sizes are powers of two."""
    assert window_sizes(20) == (1, 2, 4, 8, 16)


@pytest.mark.parametrize("sizes", [(), (0,), (5,)])
def test_a_size_that_does_not_fit_is_refused(sizes: tuple[int, ...]) -> None:
    """A window of no frames, or of more than there are, is an error."""
    with pytest.raises(ValueError, match="1 to 4 frames"):
        window_sizes(4, sizes)


@given(st.integers(1, 24), st.data())
def test_membership_is_half_open(frames: int, data: st.DataObject) -> None:
    """A window (w, t) contains exactly the frames t ≤ t' < t + w."""
    size = data.draw(st.integers(1, frames))
    windows = enumerate_windows(frames, [size])
    inside = window_membership(frames, windows)
    for row, (w, t) in zip(inside, windows, strict=True):
        assert np.flatnonzero(row).tolist() == list(range(t, t + w))
