"""The made clips: what is said of them is so, and nothing else tells the class."""

import numpy as np
import pytest

from tiemcli.bench.paper.clips import FRAMES, SIDE, STROKES, make_clip, make_clips

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_outside_the_signature_frames_strokes_are_alike(seed: int) -> None:
    """Clips of all strokes from one seed are pixel for pixel the same in all other frames, and every
    two of them differ within."""
    clips = [make_clip(np.random.default_rng(seed), stroke) for stroke in range(len(STROKES))]
    for index, one in enumerate(clips):
        for other in clips[:index]:
            apart = np.abs(one.pixels - other.pixels).max(axis=(0, 2, 3))
            np.testing.assert_array_equal(one.signature, other.signature)
            assert np.all(apart[~one.signature] == 0)
            assert np.any(apart[one.signature] > 0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_within_them_strokes_differ_about_the_limb_alone(seed: int) -> None:
    """Two strokes are the same wherever neither limb is, but for its soft edge of one pixel."""
    one, other = (make_clip(np.random.default_rng(seed), stroke) for stroke in (0, 1))
    differ = np.any(one.pixels != other.pixels, axis=0)
    limbs = one.region | other.region
    rows = np.pad(limbs, ((0, 0), (1, 1), (1, 1)))
    around = np.zeros_like(limbs)
    for down in range(3):
        for right in range(3):
            around |= rows[:, down : down + SIDE, right : right + SIDE]
    assert not np.any(differ & ~around)


def test_the_signature_is_one_run_of_4_to_8_frames_anywhere() -> None:
    """All lengths and both ends of the clip occur."""
    lengths, firsts, lasts = set(), set(), set()
    for clip in make_clips(3, 200):
        frames = np.flatnonzero(clip.signature)
        assert np.all(np.diff(frames) == 1)
        lengths.add(len(frames))
        firsts.add(int(frames[0]))
        lasts.add(int(frames[-1]))
    assert lengths == {4, 5, 6, 7, 8}
    assert min(firsts) == 0
    assert max(lasts) == FRAMES - 1


def test_the_limb_is_inside_every_frame() -> None:
    """It is seen in all frames, touches no edge, and covers 2 to 4 % of each."""
    for clip in make_clips(4, 40):
        area = clip.region.mean(axis=(1, 2))
        assert np.all((area > 0.02) & (area < 0.04))
        assert not clip.region[:, [0, -1]].any()
        assert not clip.region[:, :, [0, -1]].any()


def test_pixels_are_what_a_network_takes() -> None:
    """(3, T, H, W) float32 in [0, 1]."""
    for clip in make_clips(5, 8):
        assert clip.pixels.shape == (3, FRAMES, SIDE, SIDE)
        assert clip.pixels.dtype == np.float32
        assert clip.pixels.min() >= 0
        assert clip.pixels.max() <= 1


def test_a_clip_of_a_seed_is_always_the_same() -> None:
    """However many are made; another seed makes others."""
    few, many, others = make_clips(6, 4), make_clips(6, 8), make_clips(7, 4)
    for one, same, other in zip(few, many[:4], others, strict=True):
        np.testing.assert_array_equal(one.pixels, same.pixels)
        assert one.stroke == same.stroke
        assert np.any(one.pixels != other.pixels)


def test_no_single_frame_tells_the_stroke() -> None:
    """In the signature frames the limb of each stroke points everywhere alike: the mean direction
    over clips is near nought, in their first frame as in their last."""
    clips = make_clips(8, 600)
    for stroke in range(len(STROKES)):
        for which in (0, -1):
            angles = [c.angles[c.signature][which] for c in clips if c.stroke == stroke]
            # Of 150 random directions the mean is longer than .25 once in 12,000 draws.
            assert abs(np.exp(1j * np.array(angles)).mean()) < 0.25


def test_motion_tells_the_stroke() -> None:
    """From one signature frame to the next the limb turns by 50 to 70 degrees clockwise, as much
    anticlockwise, each in turn, or by half a turn; give or take a wobble of 5 degrees a frame."""
    for clip in make_clips(9, 80):
        turns = np.degrees(np.diff(clip.angles[clip.signature]))
        name = STROKES[clip.stroke]
        step = np.abs(turns)
        assert np.all((step > 150) if name == "flip" else (step > 20) & (step < 100))
        signs = np.sign(turns)
        if name == "clockwise":
            assert np.all(signs == 1)
        elif name == "anticlockwise":
            assert np.all(signs == -1)
        else:
            assert np.all(signs[1:] == -signs[:-1])
