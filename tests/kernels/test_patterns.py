"""Distinct rows, compared with sets of tuples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.kernels.patterns import distinct_rows


@st.composite
def clips_and_reach(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, T) and which frames each of P places reaches, perhaps none."""
    clips, frames, places = (draw(st.integers(1, most)) for most in (12, 6, 5))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    ids = random.integers(0, draw(st.integers(1, 20)), (clips, frames))
    return ids, random.random((places, frames)) < 0.5


@given(clips_and_reach())
def test_clips_share_a_row_where_they_show_the_same(case: tuple[np.ndarray, np.ndarray]) -> None:
    """At each place two clips have one row if they show the same frames there, and only then; no row
    serves two places."""
    ids, reach = case
    rows = distinct_rows(ids, reach)
    for place, frames in enumerate(reach):
        patterns = [tuple(clip[frames]) for clip in ids]
        for n, pattern in enumerate(patterns):
            for m, other in enumerate(patterns):
                assert (rows.index[n, place] == rows.index[m, place]) == (pattern == other)
        own = rows.at(np.array([place]))
        assert set(rows.index[:, place]) == set(own)
        assert len(own) == len(set(patterns))


@given(clips_and_reach())
def test_a_row_names_a_clip_that_shows_it(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Row u is that of its own clip at its own place, and rows are counted on from place to place."""
    ids, reach = case
    rows = distinct_rows(ids, reach)
    assert rows.start[0] == 0
    assert rows.start[-1] == len(rows.clip) == len(rows.place)
    np.testing.assert_array_equal(rows.index[rows.clip, rows.place], np.arange(len(rows.clip)))
    every = rows.at(np.arange(len(reach)))
    np.testing.assert_array_equal(every, np.arange(len(rows.clip)))


def test_windows_make_a_pattern_for_each_way_to_cover_a_field() -> None:
    """Of all windows, a field of r frames sees r(r+1)/2 + 1."""
    frames, wide = 9, 4
    windows = [(a, b) for a in range(frames) for b in range(a + 1, frames + 1)]
    ids = np.array([[t + frames * (a <= t < b) for t in range(frames)] for a, b in windows])
    reach = np.zeros((1, frames), dtype=bool)
    reach[0, 3 : 3 + wide] = True
    assert len(distinct_rows(ids, reach).clip) == wide * (wide + 1) // 2 + 1
