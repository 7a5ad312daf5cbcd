"""Distinct masked frames, compared with laying every frame of every clip beside every other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.scorers.reuse.distinct import Distinct, distinct_frames


def check(keep: np.ndarray, distinct: Distinct, choice: np.ndarray | None) -> None:
    """Each id stands for its place's own frame under its own mask, and no two of them for one."""
    count, frames = keep.shape[:2]
    clips = keep if choice is None else keep[choice, np.arange(frames)]
    flat = keep.reshape(count * frames, *keep.shape[2:])
    meant: dict[int, tuple[int, np.ndarray]] = {}
    for clip, ids in zip(clips, distinct.ids, strict=True):
        for frame, (mask, found) in enumerate(zip(clip, ids, strict=True)):
            if found < frames:
                assert found == frame
                assert (mask == 1).all()
            elif found < 2 * frames:
                assert found == frames + frame
                assert (mask == 0).all()
            else:
                where = distinct.where[found - 2 * frames]
                assert where % frames == frame
                np.testing.assert_array_equal(flat[where], mask)
                assert mask.max() > 0
                assert mask.min() < 1
                meant[found] = frame, mask
    assert sorted(meant) == [2 * frames + index for index in range(len(distinct.where))]
    every = list(meant.values())
    for index, (frame, mask) in enumerate(every):
        for other, seen in every[:index]:
            assert frame != other or (mask != seen).any()


@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_every_frame_under_every_mask_once(
    seed: int, count: int, frames: int, combined: bool
) -> None:
    """Whatever repeats is one: clips, frames of clips, and what stays or goes altogether."""
    random = np.random.default_rng(seed)
    pool = np.concatenate([np.zeros((1, 2, 3)), np.ones((1, 2, 3)), random.random((3, 2, 3))])
    keep = pool[random.integers(0, 5, (count, frames))].astype(np.float32)
    choice = random.integers(0, count, (7, frames)) if combined else None
    check(keep, distinct_frames(keep, choice), choice)


@pytest.mark.parametrize("cells", [(1, 1), (3, 4)])
def test_windows_need_the_clip_and_the_base_alone(cells: tuple[int, int]) -> None:
    """Frames that stay or go as a whole have no masks of their own, whatever the resolution."""
    keep = np.array([[1, 1, 0, 0], [0, 1, 1, 1]], dtype=np.float32)[:, :, None, None]
    distinct = distinct_frames(np.broadcast_to(keep, (2, 4, *cells)))
    assert distinct.ids.tolist() == [[0, 1, 6, 7], [4, 1, 2, 3]]
    assert len(distinct.where) == 0


def test_candidates_that_no_clip_takes_are_left_out() -> None:
    """Of two candidates for each of three frames, four are taken."""
    keep = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    choice = np.array([[0, 1, 0], [1, 1, 0]])
    distinct = distinct_frames(keep, choice)
    assert sorted(distinct.where.tolist()) == [0, 2, 3, 4]
    check(keep, distinct, choice)


def test_a_mask_that_is_no_number_is_neither_the_clip_nor_the_base() -> None:
    """It is left for the network to stumble over."""
    keep = np.array([[[[np.nan, 1.0]], [[0.0, 0.0]]]], dtype=np.float32)
    distinct = distinct_frames(keep)
    assert distinct.ids.tolist() == [[4, 3]]
    assert distinct.where.tolist() == [0]
