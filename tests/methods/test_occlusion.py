"""Boxes that slide over a clip, against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiemcli.methods import chunks, occlusion
from tiemcli.methods.tubes import standing

SHAPE = (8, 28, 35)


@pytest.mark.parametrize(
    ("shape", "side", "long", "firsts", "tops", "lefts"),
    [
        pytest.param(
            (16, 112, 112), 16, 4, range(0, 13, 2), range(0, 97, 8), range(0, 97, 8), id="published"
        ),
        pytest.param((8, 28, 35), 4, 4, [0, 2, 4], range(0, 25, 2), None, id="small and wide"),
        pytest.param((4, 56, 56), 8, 2, [0, 1, 2], range(0, 49, 4), range(0, 49, 4), id="short"),
        pytest.param((1, 56, 56), 8, 1, [0], range(0, 49, 4), None, id="a single frame"),
    ],
)
def test_boxes_measure_a_seventh_of_the_frame_and_overlap_by_half(
    shape, side, long, firsts, tops, lefts
) -> None:
    """16 pixels of 112 with a stride of 8, four frames with a stride of two."""
    boxes = standing(shape, 10**6)
    assert boxes.side == side
    assert boxes.corners.shape[1] == long
    np.testing.assert_array_equal(np.unique(boxes.first), firsts)
    np.testing.assert_array_equal(np.unique(boxes.corners[..., 0]), tops)
    if lefts is not None:
        np.testing.assert_array_equal(np.unique(boxes.corners[..., 1]), lefts)
    assert (boxes.corners == boxes.corners[:, :1]).all()
    assert boxes.warning == ""


@given(
    frames=st.integers(1, 40),
    height=st.integers(4, 130),
    width=st.integers(4, 130),
    most=st.integers(2, 3000),
)
@settings(max_examples=80, deadline=None)
def test_boxes_are_no_more_than_allowed_and_lie_in_the_clip(frames, height, width, most) -> None:
    """Whatever the clip and the budget; and where the budget is large every pixel is in a box."""
    boxes = standing((frames, height, width), most)
    assert 1 <= len(boxes) <= most
    long = boxes.corners.shape[1]
    assert boxes.first.min() >= 0
    assert boxes.first.max() + long <= frames
    assert boxes.corners.min() >= 0
    assert boxes.corners[..., 0].max() + boxes.side <= height
    assert boxes.corners[..., 1].max() + boxes.side <= width
    assert len(np.unique(np.column_stack([boxes.first, boxes.corners[:, 0]]), axis=0)) == len(boxes)
    if boxes.widened == 1:
        covered = np.zeros(boxes.shape, bool)
        for box in range(len(boxes)):
            for place in boxes.places(box):
                covered[place] = True
        assert covered.all()


def test_too_many_boxes_lie_further_apart_and_the_user_is_told(additive_scene) -> None:
    """With fewer queries than boxes the strides grow, near to what is allowed."""
    full = len(standing(SHAPE, 10**6))
    most = full // 2
    scene = additive_scene(np.ones(SHAPE, np.float32), queries=most)
    evidence = occlusion.find(scene)
    assert most / 2 < scene.scorer.forwards - 1 <= most
    assert "--queries" in evidence.warning
    assert occlusion.find(additive_scene(np.ones(SHAPE, np.float32))).warning == ""


@pytest.mark.parametrize("clips_at_once", [1, 10, 10**6])
def test_saliency_is_the_mean_drop_over_the_boxes_that_hide_a_pixel(
    clips_at_once: int, additive_scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Box by box and pixel by pixel, however the masks are cut into chunks."""
    shape = (6, 14, 21)
    monkeypatch.setattr(chunks, "BYTES", clips_at_once * 4 * int(np.prod(shape)))
    effects = np.random.default_rng(0).normal(0.5, 1, shape).astype(np.float32)
    found = occlusion.find(additive_scene(effects, start=3.0)).saliency
    # A seventh of 14 pixels with a stride of half, three of six frames with a stride of one.
    total, count = np.zeros(shape), np.zeros(shape)
    for first in range(4):
        for top in range(13):
            for left in range(20):
                drop = 0.0
                for t in range(first, first + 3):
                    for y in range(top, top + 2):
                        drop += effects[t, y, left] + effects[t, y, left + 1]
                total[first : first + 3, top : top + 2, left : left + 2] += drop
                count[first : first + 3, top : top + 2, left : left + 2] += 1
    np.testing.assert_allclose(found, total / count, atol=1e-4)


def test_the_decisive_box_is_found(additive_scene) -> None:
    """What alone makes the score lies in the mask and in the frames that matter."""
    effects = np.zeros(SHAPE, np.float32)
    effects[4:6, 10:14, 20:24] = 1
    evidence = occlusion.find(additive_scene(effects, areas=(0.05,)))
    assert evidence.masks[0].score == pytest.approx(effects.sum())
    assert evidence.temporal.importance.argmax() in (4, 5)
    assert evidence.backend == "queries"


def test_a_value_below_zero_is_lost_by_rising(additive_scene) -> None:
    """A drop is towards 0 from either side."""
    effects = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    positive = occlusion.find(additive_scene(effects)).saliency
    np.testing.assert_allclose(occlusion.find(additive_scene(-effects)).saliency, positive)
