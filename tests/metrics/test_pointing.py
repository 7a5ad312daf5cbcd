import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiemcli.metrics.faithfulness import realised_areas
from tiemcli.metrics.pointing import (
    ceiling,
    iou,
    pointing_game,
    spatial_pointing,
    temporal_pointing,
)

SHAPE = (4, 6, 5)
VOLUMES = arrays(bool, SHAPE)


def square(frame: int, top: int, left: int, side: int, shape: tuple[int, ...]) -> np.ndarray:
    region = np.zeros(shape, dtype=bool)
    region[frame, top : top + side, left : left + side] = True
    return region


def test_the_pointing_game_counts_what_is_inside_against_what_is_outside() -> None:
    """Of 10 pixels kept, 7 in the truth: 40."""
    truth = np.zeros(SHAPE, dtype=bool)
    truth.flat[:7] = True
    kept = np.zeros(SHAPE, dtype=np.float32)
    kept.flat[:10] = 1
    assert pointing_game(kept, truth) == pytest.approx(40)
    assert pointing_game(kept / 2, truth) == pytest.approx(40)


def test_a_mask_that_keeps_nothing_points_nowhere() -> None:
    """It has no score, rather than one that would count."""
    nothing, truth = np.zeros(SHAPE, np.float32), np.ones(SHAPE, dtype=bool)
    assert math.isnan(pointing_game(nothing, truth))
    assert math.isnan(ceiling(realised_areas(nothing), truth))
    assert math.isnan(temporal_pointing(nothing, np.ones(4, dtype=bool)))
    assert math.isnan(iou(nothing, ~truth).volume)


@given(VOLUMES.filter(np.any), VOLUMES)
def test_no_mask_passes_its_ceiling(kept: np.ndarray, truth: np.ndarray) -> None:
    """Whatever is kept, as much of each frame placed as well as can be scores no less."""
    mask = kept.astype(np.float32)
    assert pointing_game(mask, truth) <= ceiling(realised_areas(mask), truth) + 1e-9


@given(VOLUMES.filter(np.any), VOLUMES)
def test_the_best_mask_of_its_areas_reaches_the_ceiling(
    kept: np.ndarray, truth: np.ndarray
) -> None:
    """Each frame's pixels put into its truth first."""
    best = np.zeros(SHAPE, np.float32)
    for frame in range(SHAPE[0]):
        inside_first = np.argsort(~truth[frame].ravel(), kind="stable")
        best[frame].flat[inside_first[: kept[frame].sum()]] = 1
    areas = realised_areas(best)
    assert pointing_game(best, truth) == pytest.approx(ceiling(areas, truth), abs=1e-9)


def test_temporal_pointing_is_the_share_of_the_mass_in_signature_frames() -> None:
    """Of a mask, of soft values, and of a frame's importance."""
    signature = np.array([False, True, True, False])
    kept = np.zeros(SHAPE, np.float32)
    kept[0, 0, :2], kept[1, 0, :3], kept[2, 0, :3] = 1, 1, 0.5
    assert temporal_pointing(kept, signature) == pytest.approx(100 * 4.5 / 6.5)
    importance = np.array([0.1, 0.2, 0.3, 0.4])
    assert temporal_pointing(importance, signature) == pytest.approx(50)


@given(arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=16)), arrays(bool, 4))
def test_signature_frames_and_the_others_share_all_of_the_mass(
    kept: np.ndarray, signature: np.ndarray
) -> None:
    """What is not kept in the one kind of frames is kept in the other."""
    both = temporal_pointing(kept, signature) + temporal_pointing(kept, ~signature)
    assert both == pytest.approx(100) or not kept.any()


def test_a_frame_is_hit_where_its_largest_pixel_lies_near_the_truth() -> None:
    """Three pixels away are no hit by a tolerance of two, and one by a tolerance of three; frames
    without truth do not count."""
    shape = (3, 20, 20)
    truth = square(0, 5, 5, 4, shape) | square(1, 5, 5, 4, shape)
    saliency = np.zeros(shape, np.float32)
    saliency[0, 6, 7] = saliency[1, 11, 6] = saliency[2, 0, 0] = 1
    assert spatial_pointing(saliency, truth, tolerance=0) == 0.5
    assert spatial_pointing(saliency, truth, tolerance=2.9) == 0.5
    assert spatial_pointing(saliency, truth, tolerance=3) == 1
    assert math.isnan(spatial_pointing(saliency, np.zeros(shape, dtype=bool)))


def test_the_tolerance_is_fifteen_pixels_of_224() -> None:
    """At 448 pixels on the shorter side it is thirty."""
    shape = (1, 448, 500)
    truth = square(0, 100, 100, 10, shape)
    for away, hit in ((30, 1), (31, 0)):
        saliency = np.zeros(shape, np.float32)
        saliency[0, 105, 109 + away] = 1
        assert spatial_pointing(saliency, truth) == hit


@given(VOLUMES)
def test_a_flat_saliency_hits_as_often_as_chance(truth: np.ndarray) -> None:
    """The share of each frame's pixels that are in the truth, not what its first pixel hits."""
    told = [frame.mean() for frame in truth if frame.any()]
    hits = spatial_pointing(np.ones(SHAPE, np.float32), truth, tolerance=0)
    assert hits == pytest.approx(np.mean(told)) if told else math.isnan(hits)


def test_intersection_over_union_of_the_clip_and_of_its_frames() -> None:
    """Of the clip, what is kept in frames without truth counts against a mask; of the frames not."""
    shape = (3, 4, 4)
    truth = square(0, 0, 0, 2, shape) | square(1, 0, 0, 2, shape)
    kept = (
        square(0, 0, 0, 2, shape) | square(1, 0, 1, 2, shape) | square(2, 0, 0, 2, shape)
    ).astype(np.float32)
    measured = iou(kept, truth)
    assert measured.volume == pytest.approx(6 / 14)
    assert measured.frames == pytest.approx((1 + 2 / 6) / 2)
    assert math.isnan(iou(kept, np.zeros(shape, dtype=bool)).frames)


def test_a_soft_mask_overlaps_by_its_values() -> None:
    """Half of the truth kept by half each pixel is an overlap of a quarter."""
    truth = np.ones((1, 2, 2), dtype=bool)
    kept = np.array([[[0.5, 0.5], [0, 0]]], np.float32)
    assert iou(kept, truth).volume == pytest.approx(0.25)
