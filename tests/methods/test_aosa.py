"""Boxes that follow the motion, against motions that are known."""

from dataclasses import replace

import numpy as np
import pytest

from tiemcli.methods import aosa, occlusion
from tiemcli.methods.aosa import follow, gray_frames, optical_flow, weigh
from tiemcli.methods.tubes import Tubes, standing
from tiemcli.preprocess import Preprocessing

PREPROCESSING = Preprocessing(
    112, 112, "rgb", "stretch", 1 / 255, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
)


def moving_square(
    frames: int, step: tuple[int, int], start: tuple[int, int] = (20, 16)
) -> np.ndarray:
    """A textured square of 32 pixels over a still, textured ground: (T, 112, 112) uint8."""
    random = np.random.default_rng(0)

    def texture(size: int) -> np.ndarray:
        coarse = random.integers(0, 256, (-(-size // 4), -(-size // 4)))
        return np.kron(coarse, np.ones((4, 4)))[:size, :size]

    ground, square = texture(112), texture(32)
    clip = np.repeat(ground[None], frames, axis=0)
    for frame in range(frames):
        top, left = start[0] + frame * step[0], start[1] + frame * step[1]
        clip[frame, top : top + 32, left : left + 32] = square
    return clip.astype(np.uint8)


def seed_at(top: int, left: int, frames: int, first: int = 0, total: int = 12) -> Tubes:
    corners = np.repeat(np.array([[[top, left]]]), frames, axis=1)
    return Tubes((total, 112, 112), 16, np.array([first]), corners)


@pytest.mark.parametrize("step", [(0, 3), (2, 0), (2, 3), (0, 0)])
def test_a_tube_follows_what_moves(step: tuple[int, int]) -> None:
    """From inside a square a box goes with it, to two pixels after ten frames."""
    tube = follow(seed_at(28, 24, 11), optical_flow(moving_square(12, step)))
    for frame in range(11):
        expected = 28 + frame * step[0], 24 + frame * step[1]
        assert np.abs(tube.corners[0, frame] - expected).max() <= 2


def test_a_tube_follows_from_its_own_first_frame() -> None:
    """A tube that begins late is moved by the flow of its own frames."""
    frames = moving_square(12, (0, 3))
    frames[:6] = frames[0]
    tube = follow(seed_at(28, 24 + 18, 4, first=6), optical_flow(frames))
    assert np.abs(tube.corners[0, 3] - (28, 24 + 18 + 9)).max() <= 2


def test_a_tube_on_still_ground_stays() -> None:
    """Far from what moves nothing does."""
    tube = follow(seed_at(90, 90, 11), optical_flow(moving_square(12, (0, 3))))
    assert np.abs(tube.corners[0] - (90, 90)).max() <= 1


def test_a_tube_moves_by_the_mean_flow_inside_and_stays_in_the_frame() -> None:
    """Fractions of pixels add up over frames, and the edge holds a box."""
    flow = np.zeros((11, 112, 112, 2), np.float32)
    flow[..., 0], flow[:, :, ::2, 1] = 0.4, 80.0  # columns in turn: 40 to the right on average
    tube = follow(seed_at(10, 8, 6), flow)
    np.testing.assert_array_equal(tube.corners[0, :, 0], [10, 10, 11, 11, 12, 12])
    np.testing.assert_array_equal(tube.corners[0, :, 1], [8, 48, 88, 96, 96, 96])


def test_the_seeds_themselves_are_left_alone() -> None:
    """Tubes begin where boxes stand, in every first frame."""
    seeds = standing((12, 112, 112), 10**6)
    before = seeds.corners.copy()
    tubes = follow(seeds, optical_flow(moving_square(12, (2, 3))))
    np.testing.assert_array_equal(seeds.corners, before)
    np.testing.assert_array_equal(tubes.corners[:, 0], before[:, 0])
    assert (tubes.corners >= 0).all()
    assert (tubes.corners + 16 <= 112).all()
    assert (tubes.corners != before).any()


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_network_s_units_are_undone(color) -> None:
    """The flow is of the very pixels that were normalised, weighed as luminance whatever their order."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    preprocessing = replace(PREPROCESSING, color=color)
    found = gray_frames(preprocessing.clip(pixels), preprocessing)
    expected = pixels @ np.array([0.299, 0.587, 0.114])
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 1


def test_a_gray_clip_is_its_own_luminance() -> None:
    """One channel, as of a silhouette."""
    silhouette = np.zeros((3, 112, 112, 3), np.uint8)
    silhouette[:, 20:60, 30:50] = 255
    preprocessing = replace(PREPROCESSING, color="gray", mean=(0.0,), std=(1.0,))
    found = gray_frames(preprocessing.clip(silhouette), preprocessing)
    np.testing.assert_array_equal(found, silhouette[..., 0])


def test_saliency_is_the_paper_s_mean_over_masks_but_for_a_constant() -> None:
    """mean of (Φ(masked) − Φ(X))·M/mean(M), M being 0 in the tube, less what it is where no tube is."""
    shape = (5, 14, 14)
    random = np.random.default_rng(0)
    count, long, side = 30, 3, 2
    first = random.integers(0, 3, count)
    # Not in the first column, so that there are pixels which no tube hides.
    corners = random.integers((0, 1), (13, 13), (count, long, 2))
    tubes = Tubes(shape, side, first, corners)
    lost = random.normal(size=count)
    expected = np.zeros(shape)
    for tube in range(count):
        mask = np.ones(shape)
        for step in range(long):
            top, left = corners[tube, step]
            for y in range(top, top + side):
                for x in range(left, left + side):
                    mask[first[tube] + step, y, x] = 0
        expected += -lost[tube] * mask / mask.mean() / count
    np.testing.assert_allclose(weigh(tubes, lost), expected - expected[0, 0, 0], atol=1e-6)


def test_a_moving_cause_is_found_where_it_goes(additive_scene) -> None:
    """The pixels of a moving square that alone makes the score are kept; by boxes that move with it
    more of them than by boxes that stand."""
    frames = moving_square(8, (0, 6))
    clip = PREPROCESSING.clip(np.repeat(frames[..., None], 3, axis=3))
    effects = np.zeros((8, 112, 112), np.float32)
    for frame in range(8):
        effects[frame, 28:44, 24 + 6 * frame : 40 + 6 * frame] = 1
    area = float(effects.mean())
    found = {}
    for method in (aosa, occlusion):
        scene = additive_scene(effects, clip=clip, preprocessing=PREPROCESSING, areas=(area,))
        found[method] = method.find(scene).masks[0].score / effects.sum()

    assert found[aosa] > 1.2 * found[occlusion]


def test_a_single_frame_does_not_move(additive_scene) -> None:
    """Without a next frame there is no flow, and tubes are boxes."""
    effects = np.random.default_rng(0).random((1, 112, 112)).astype(np.float32)
    clip = np.zeros((3, 1, 112, 112), np.float32)
    evidence = aosa.find(additive_scene(effects, clip=clip, preprocessing=PREPROCESSING))
    assert np.isfinite(evidence.saliency).all()
    assert evidence.backend == "queries"


def test_fewer_queries_are_told_of(additive_scene) -> None:
    """As for boxes that stand."""
    effects = np.ones((8, 28, 28), np.float32)
    clip = np.zeros((3, 8, 28, 28), np.float32)
    scene = additive_scene(effects, clip=clip, preprocessing=PREPROCESSING, queries=60)
    assert "--queries" in aosa.find(scene).warning
    assert scene.scorer.forwards <= 61
