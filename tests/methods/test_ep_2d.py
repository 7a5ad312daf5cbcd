"""EP-2D: every frame keeps the same share, by a penalty or exactly, by gradients or queries."""

from collections.abc import Callable

import numpy as np
import pytest

from tiemcli.errors import ClipError, UsageError
from tiemcli.methods import ep_2d, method
from tiemcli.methods.scene import Scene

NetworkScene = Callable[..., Scene]


@pytest.mark.parametrize("constraint", [None, "penalty", "exact"])
def test_every_frame_keeps_its_share(constraint: str | None, network_scene: NetworkScene) -> None:
    """To the pixel, at every area, whatever the penalty made of it."""
    pytest.importorskip("torch")
    scene = network_scene(
        "cnn", method="ep-2d", constraint=constraint, areas=(0.1, 0.3), iterations=30
    )
    evidence = method("ep-2d").find(scene)
    assert [mask.area for mask in evidence.masks] == [0.1, 0.3]
    for mask in evidence.masks:
        assert (mask.hard.sum(axis=(1, 2)) == round(mask.area * 12 * 16)).all()
        assert mask.score == pytest.approx(float(scene.scorer.score(mask.hard[None])[0]))
        assert mask.soft.min() >= 0
        assert mask.soft.max() <= 1
    np.testing.assert_array_equal(evidence.temporal.importance, np.full(4, 0.25))
    assert evidence.backend == "autograd"


def test_queries_do_with_exact_areas(network_scene: NetworkScene) -> None:
    """Then the search is TIEM's own, of uniform importance."""
    scene = network_scene(
        "cnn", method="ep-2d", constraint="exact", backend="finite-difference", queries=60
    )
    (mask,) = ep_2d.find(scene).masks
    assert (mask.hard.sum(axis=(1, 2)) == round(0.1 * 12 * 16)).all()
    assert ep_2d.find(scene).backend == "finite-difference"


def test_its_penalty_needs_gradients(network_scene: NetworkScene) -> None:
    """The hint says what to type instead."""
    scene = network_scene("cnn", method="ep-2d", backend="finite-difference")
    with pytest.raises(UsageError, match="ep-2d") as raised:
        ep_2d.find(scene)
    assert "--constraint exact" in raised.value.hint


def test_a_clip_without_a_gradient_is_explained_by_exact_areas(network_scene: NetworkScene) -> None:
    """The hint says so, and what it says works."""
    pytest.importorskip("torch")
    flat = {"dense": np.zeros((6, 5), np.float32), "offset": np.arange(5, dtype=np.float32)}
    with pytest.raises(ClipError, match="ep-2d") as raised:
        ep_2d.find(network_scene("cnn", method="ep-2d", weights=flat))
    assert "--constraint exact" in raised.value.hint
    scene = network_scene(
        "cnn", method="ep-2d", weights=flat, constraint="exact", queries=60, areas=(0.1,)
    )
    assert ep_2d.find(scene).backend == "finite-difference"


def test_a_penalty_that_missed_the_area_is_mentioned(network_scene: NetworkScene) -> None:
    """Three iterations from a mask of ones are not enough; the share is named. Exact areas do not
    miss."""
    pytest.importorskip("torch")
    settings = {"method": "ep-2d", "iterations": 3}
    assert "10.0%" in ep_2d.find(network_scene("cnn", **settings)).warning
    assert ep_2d.find(network_scene("cnn", constraint="exact", **settings)).warning == ""
