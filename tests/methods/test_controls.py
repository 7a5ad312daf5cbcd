"""The two methods that never look."""

import numpy as np

from tiemcli.methods import center, random

SHAPE = (6, 20, 30)


def test_random_is_noise_by_the_seed(additive_scene) -> None:
    """The same seed draws the same pixels, another one others, and no query is spent on finding them."""
    effects = np.ones(SHAPE, np.float32)
    first, again, other = (
        random.find(additive_scene(effects, seed=seed)).saliency for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.1
    # Uniform: a kept share of each frame that is close to the area.
    assert abs(first.mean() - 0.5) < 0.02
    assert abs((first < 0.25).mean() - 0.25) < 0.03


def test_random_finds_what_chance_finds(additive_scene) -> None:
    """A tenth of the pixels keeps about a tenth of a score that adds up."""
    effects = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    scene = additive_scene(effects)
    evidence = random.find(scene)
    assert abs(evidence.masks[0].score / scene.clean - 0.1) < 0.02
    assert scene.scorer.forwards == len(evidence.masks)
    assert evidence.backend == "none"
    assert evidence.masks[0].evaluations == 0


def test_center_is_the_same_gaussian_in_every_frame(additive_scene) -> None:
    """Symmetric about the middle, falling off as a Gaussian a quarter of the frame wide."""
    saliency = center.find(additive_scene(np.ones(SHAPE, np.float32))).saliency
    np.testing.assert_array_equal(saliency, np.broadcast_to(saliency[0], SHAPE))
    np.testing.assert_allclose(saliency, saliency[:, ::-1, ::-1], rtol=1e-5)
    _, height, width = SHAPE
    for row, column in ((0, 0), (10, 15), (3, 29)):
        down, across = (row + 0.5) / height - 0.5, (column + 0.5) / width - 0.5
        expected = np.exp(-(down**2 + across**2) / (2 * 0.25**2))
        np.testing.assert_allclose(saliency[0, row, column], expected, rtol=1e-5)


def test_center_keeps_the_middle_of_all_frames_alike(additive_scene) -> None:
    """Its mask is about as large in every frame, and every frame is as important."""
    evidence = center.find(additive_scene(np.ones(SHAPE, np.float32), areas=(0.2,)))
    np.testing.assert_allclose(evidence.temporal.importance, 1 / 6, rtol=1e-6)
    (mask,) = evidence.masks
    np.testing.assert_allclose(mask.frame_areas, 0.2, atol=0.01)
    assert mask.hard[:, 9:11, 14:16].all()
    assert not mask.hard[:, 0].any()
