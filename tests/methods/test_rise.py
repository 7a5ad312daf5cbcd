"""RISE against its formula, and against scores whose effects are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiemcli.methods import chunks, rise
from tiemcli.methods.rise import GRID, RandomMasks, cell_size, interpolation

SHAPE = (8, 21, 28)


def smooth_effects() -> np.ndarray:
    """Two bumps in space and time, one for the target and one against it."""
    t, y, x = np.meshgrid(*(np.linspace(0, 1, size) for size in SHAPE), indexing="ij")

    def bump(*centre: float) -> np.ndarray:
        at = zip((t, y, x), centre, strict=True)
        return np.exp(-sum((axis - where) ** 2 for axis, where in at) / 0.15)

    return (bump(0.3, 0.3, 0.7) - 0.5 * bump(0.8, 0.8, 0.2)).astype(np.float32)


def interpolated(cells: np.ndarray, at: float) -> np.ndarray:
    """The first axis of cells at a place counted in cells, their centres at .5, 1.5 …"""
    place = min(max(at - 0.5, 0), len(cells) - 1)
    low = int(place)
    high = min(low + 1, len(cells) - 1)
    return cells[low] + (place - low) * (cells[high].astype(float) - cells[low])


def test_a_mask_is_its_cells_upsampled_beyond_the_clip_and_cropped() -> None:
    """Each pixel is the trilinear mean of the cells about it, where a cell more than the clip holds
    would cover the mask: Petsiuk's (h + 1)·⌈H/h⌉ pixels for h cells."""
    masks = RandomMasks.draw(SHAPE, 3, np.random.default_rng(0))
    keep = masks.keep(range(1, 3))
    for number, mask in zip((1, 2), keep, strict=True):
        for pixel in [(0, 0, 0), (7, 20, 27), (3, 10, 4), (5, 1, 26), (2, 18, 13)]:
            value = masks.cells[number].astype(float)
            for axis in range(3):
                large = (GRID[axis] + 1) * -(-SHAPE[axis] // GRID[axis])
                shifted = pixel[axis] + masks.shifts[number, axis] + 0.5
                value = interpolated(value, shifted * GRID[axis] / large)
            assert mask[pixel] == pytest.approx(float(value), abs=1e-6)


@given(size=st.integers(1, 300), cells=st.sampled_from(GRID))
@settings(max_examples=60, deadline=None)
def test_every_shift_leaves_room_for_the_clip(size: int, cells: int) -> None:
    """Weights are means, and the largest shift still ends inside of the upsampled mask."""
    weights = interpolation(size, cells)
    assert len(weights) >= size + cell_size(size, cells)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert weights.min() >= 0


def test_masks_keep_half_and_are_shifted_by_up_to_a_cell() -> None:
    """The mean of many masks is about the probability in every pixel, and shifts take all values."""
    masks = RandomMasks.draw(SHAPE, 4000, np.random.default_rng(1))
    keep = masks.keep(range(4000))
    assert keep.dtype == np.float32
    assert keep.min() >= 0
    assert keep.max() <= 1
    np.testing.assert_allclose(keep.mean(axis=0), 0.5, atol=0.04)
    for axis, size in enumerate(SHAPE):
        steps = -(-size // GRID[axis])
        np.testing.assert_array_equal(np.unique(masks.shifts[:, axis]), np.arange(steps + 1))


@pytest.mark.parametrize("clips_at_once", [1, 7, 1000])
def test_saliency_is_the_paper_s_sum_over_the_stored_masks(
    clips_at_once: int, additive_scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S = ΣΦ·M/(N·E[M]) less the mean score, however the masks are cut into chunks."""
    monkeypatch.setattr(chunks, "BYTES", clips_at_once * 4 * int(np.prod(SHAPE)))
    scene = additive_scene(smooth_effects(), start=1.0, queries=50, seed=5)
    found = rise.find(scene).saliency
    asked = [masks for masks in scene.scorer.asked if len(masks) <= clips_at_once]
    masks = np.concatenate(asked)[:50].astype(np.float64)
    assert len(masks) == 50
    scores = 1.0 + np.tensordot(masks, scene.scorer.effects, 3)
    expected = np.zeros(SHAPE)
    for score, mask in zip(scores, masks, strict=True):
        expected += score * mask
    expected = expected / (50 * 0.5) - scores.mean()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(scores).max())


def test_saliency_converges_to_the_effects_of_a_score_that_adds_up(additive_scene) -> None:
    """With many masks the saliency is the smoothed effect of every pixel.

    The mean score is 0, for S is noisy by as much as it is not: what masks happen to keep does not
    average out to E[M] before a great many of them.
    """
    effects = smooth_effects()
    evidence = rise.find(additive_scene(effects, -0.5 * float(effects.sum()), queries=4000))
    assert np.corrcoef(evidence.saliency.ravel(), effects.ravel())[0, 1] > 0.9
    assert evidence.temporal.importance.argmax() == pytest.approx(0.3 * (SHAPE[0] - 1), abs=1)


def test_a_value_below_zero_is_spoken_for_by_what_lowers_it(additive_scene) -> None:
    """The saliency of −Φ for a negative answer is that of Φ for a positive one."""
    effects = smooth_effects() + 0.01
    positive = additive_scene(effects, start=1.0, queries=40)
    negative = additive_scene(-effects, start=-1.0, queries=40)
    assert positive.clean > 0 > negative.clean
    np.testing.assert_allclose(
        rise.find(positive).saliency, rise.find(negative).saliency, atol=1e-4
    )


def test_it_asks_as_often_as_queries_say(additive_scene) -> None:
    """N masks, and one more for each area."""
    scene = additive_scene(smooth_effects(), queries=30, areas=(0.1, 0.2))
    evidence = rise.find(scene)
    assert scene.scorer.forwards == 32
    assert evidence.backend == "queries"
    assert evidence.masks[0].evaluations == 30
