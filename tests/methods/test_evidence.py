"""How a saliency becomes masks, and masks an order of pixels."""

from itertools import pairwise

import numpy as np
import pytest

from tiemcli.errors import ClipError
from tiemcli.extremal.backend import Differentiation
from tiemcli.extremal.mask import AreaMask
from tiemcli.methods.evidence import attributed, frame_importance, nested, top_share

SHAPE = (4, 6, 5)


def effects(seed: int = 0) -> np.ndarray:
    """Different positive numbers for all pixels."""
    random = np.random.default_rng(seed)
    return (random.permutation(np.prod(SHAPE)) + 1).reshape(SHAPE).astype(np.float32)


def mask(values: np.ndarray, area: float, frame_areas: np.ndarray, hard: np.ndarray) -> AreaMask:
    return AreaMask(area, frame_areas, values, hard, hard, 0.0, False, 0)


@pytest.mark.parametrize("area", [1e-4, 0.1, 1 / 3, 0.5, 1.0])
def test_a_share_is_of_the_largest_pixels_to_the_nearest_one(area: float) -> None:
    """Whole pixels are kept, as many as the area says, and none is smaller than one left out."""
    saliency = effects()
    kept = top_share(saliency, area, np.random.default_rng(0)) == 1
    assert kept.sum() == round(area * saliency.size)
    if kept.any() and not kept.all():
        assert saliency[kept].min() > saliency[~kept].max()


def test_ties_fall_on_no_frame_before_others() -> None:
    """Of pixels that are all alike every frame keeps about its share."""
    kept = top_share(np.zeros((8, 40, 40), np.float32), 0.25, np.random.default_rng(0))
    np.testing.assert_allclose(kept.mean(axis=(1, 2)), 0.25, atol=0.06)
    assert kept.sum() == 8 * 400


def test_a_larger_mask_holds_the_smaller_even_where_pixels_tie(additive_scene) -> None:
    """The masks of one saliency are nested, whatever the ties."""
    saliency = np.zeros(SHAPE, np.float32)
    saliency[1] = 1
    scene = additive_scene(effects(), areas=(0.5, 0.1, 0.3))
    masks = attributed(scene, saliency, "none", 0).masks
    assert [each.area for each in masks] == [0.1, 0.3, 0.5]
    for smaller, larger in pairwise(masks):
        assert (smaller.hard <= larger.hard).all()


def test_masks_are_scored_and_the_smallest_that_is_enough_is_marked(additive_scene) -> None:
    """Scores are those of the hard masks, areas those of their frames, soft masks the saliency."""
    values = effects()
    scene = additive_scene(
        values, areas=(0.2, 0.5, 0.8, 1.0), target_score=0.7 * float(values.sum())
    )
    evidence = attributed(scene, values - 3, "queries", 17)
    for each in evidence.masks:
        assert each.score == pytest.approx((values * each.hard).sum())
        np.testing.assert_allclose(each.frame_areas, each.hard.mean(axis=(1, 2)))
        assert each.effective_area == pytest.approx(each.area, abs=0.5 / values.size)
        np.testing.assert_allclose(each.soft, (values - 1) / (values.size - 1), rtol=1e-6)
        assert each.evaluations == 17
    assert [each.smallest for each in evidence.masks] == [False, True, False, False]
    assert evidence.backend == "queries"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_saliency_that_is_no_number_is_an_error_of_the_clip(additive_scene, wrong: float) -> None:
    """A single pixel's is enough; the hint names methods that take no gradient."""
    saliency = effects()
    saliency[2, 3, 4] = wrong
    with pytest.raises(ClipError, match="not finite") as raised:
        attributed(additive_scene(effects(), method="gradient"), saliency, "autograd", 1)
    assert "--method rise" in raised.value.hint


def test_all_that_is_to_be_told_is_told(additive_scene) -> None:
    """What gradients are doubted for stands before what a method has to say of its own."""
    scene = additive_scene(effects())
    scene.gradients = Differentiation(None, warning="they disagree")
    told = [
        attributed(scene, effects(), backend, 1, warning).warning
        for backend in ("autograd", "queries")
        for warning in ("", "too few")
    ]
    assert told == ["they disagree", "they disagree; too few", "", "too few"]


def test_no_area_is_enough(additive_scene) -> None:
    """Where no mask keeps the prediction none is marked."""
    evidence = attributed(additive_scene(effects(), areas=(0.1, 0.2)), effects(), "none", 0)
    assert not any(each.smallest for each in evidence.masks)


def test_without_areas_a_tenth_is_kept_or_a_ladder_for_a_wished_score(additive_scene) -> None:
    """One mask by default; with a target score alone every area of the ladder."""
    assert [m.area for m in attributed(additive_scene(effects()), effects(), "none", 0).masks] == [
        0.1
    ]
    searching = additive_scene(effects(), target_score=1.0)
    areas = [each.area for each in attributed(searching, effects(), "none", 0).masks]
    assert areas == sorted(areas)
    assert len(areas) == 10


def test_a_flat_saliency_has_a_soft_mask_of_zeros(additive_scene) -> None:
    """Nothing is divided by a range of nothing."""
    evidence = attributed(additive_scene(effects()), np.full(SHAPE, 2, np.float32), "none", 0)
    assert not evidence.masks[0].soft.any()


def test_a_frame_is_as_important_as_what_speaks_for_the_target_in_it() -> None:
    """Shares of the positive saliency, of which the negative takes nothing away."""
    saliency = np.zeros(SHAPE, np.float32)
    saliency[0, 0, 0], saliency[2, 1, 1], saliency[2, 3, 3], saliency[0, 1, 1] = 1, 2, 1, -9
    temporal = frame_importance(saliency, 0.8)
    np.testing.assert_allclose(temporal.importance, [0.25, 0, 0.75, 0])
    assert not temporal.degenerate


def test_where_nothing_speaks_for_the_target_frames_are_alike() -> None:
    """A saliency without a positive pixel is degenerate."""
    temporal = frame_importance(-effects(), 0.8)
    np.testing.assert_allclose(temporal.importance, 0.25)
    assert temporal.degenerate


def test_nested_masks_come_back_from_their_order() -> None:
    """The top shares of the order that masks of growing area give are those masks."""
    values = effects(1)
    order = np.argsort(-values, axis=None)
    masks = []
    for count in (10, 30, 70):
        hard = np.zeros(values.size, np.float32)
        hard[order[:count]] = 1
        hard = hard.reshape(SHAPE)
        masks.append(mask(values, count / values.size, hard.mean(axis=(1, 2)), hard))
    found = nested(masks)
    for each in masks:
        np.testing.assert_array_equal(
            top_share(found, each.area, np.random.default_rng(0)), each.hard
        )


def test_nested_order_is_a_plain_sort_by_masks_then_by_the_area_that_would_keep_a_pixel() -> None:
    """Pixel by pixel: first how many masks keep it, then its rank in its frame over the frame's area."""
    random = np.random.default_rng(3)
    values = effects(2)
    frame_areas = np.array([0.5, 0.0, 0.2, 0.9])
    masks = [
        mask(values, area, frame_areas, (random.random(SHAPE) < area).astype(np.float32))
        for area in (0.2, 0.5)
    ]
    expected = []
    for frame, row, column in np.ndindex(SHAPE):
        larger = (values[frame] > values[frame, row, column]).sum() / values[frame].size
        kept = sum(each.hard[frame, row, column] for each in masks)
        needed = (larger + 1e-9) / max(frame_areas[frame], 1e-9)
        expected.append((-kept, needed, (frame, row, column)))
    found = nested(masks)
    in_order = [pixel for *_, pixel in sorted(expected)]
    saliencies = [float(found[pixel]) for pixel in in_order]
    assert saliencies == sorted(set(saliencies), reverse=True)
    assert found.dtype == np.float32
    assert 0 < found.min() < found.max() == 1


def test_of_a_volume_the_order_is_a_plain_sort_by_masks_then_by_value() -> None:
    """Whatever the shares of the frames."""
    random = np.random.default_rng(3)
    values = effects(2)
    frame_areas = np.array([0.5, 0.0, 0.2, 0.9])
    masks = [
        mask(values, area, frame_areas, (random.random(SHAPE) < area).astype(np.float32))
        for area in (0.2, 0.5)
    ]
    kept = sum(each.hard for each in masks)
    expected = sorted(np.ndindex(SHAPE), key=lambda pixel: (-kept[pixel], -values[pixel]))
    found = nested(masks, volume=True)
    assert expected == sorted(np.ndindex(SHAPE), key=lambda pixel: -found[pixel])


@pytest.mark.parametrize("volume", [False, True])
def test_the_pixels_of_a_long_clip_are_told_apart(volume: bool) -> None:
    """Ten masks of millions of pixels leave each pixel a number of its own."""
    shape = (64, 160, 160)
    values = np.random.default_rng(4).random(shape, dtype=np.float32)
    masks = [
        mask(values, share, np.full(len(values), share), (values > 1 - share).astype(np.float32))
        for share in np.linspace(0.01, 0.4, 10)
    ]
    assert len(np.unique(nested(masks, volume))) == values.size
