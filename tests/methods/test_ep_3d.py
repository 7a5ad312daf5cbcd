"""EP-3D: the area is one of the whole clip, and gathers where the score is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiemcli.bench.paper.table2 import ITERATIONS
from tiemcli.bench.whitebox import FRAMES, REVERSED_FRAMES, SIZE, region, regressor_network
from tiemcli.errors import UsageError
from tiemcli.methods import ep_3d
from tiemcli.methods.scene import Scene
from tiemcli.progress import Silent
from tiemcli.settings import Constraint, Settings

NetworkScene = Callable[..., Scene]


@pytest.mark.parametrize("constraint", [None, "exact"])
def test_the_clip_keeps_its_share(constraint: str | None, network_scene: NetworkScene) -> None:
    """To the pixel, over all frames, at every area; frames keep what they keep, and the importance
    is their share of it."""
    pytest.importorskip("torch")
    scene = network_scene(
        "cnn", method="ep-3d", constraint=constraint, areas=(0.1, 0.3), iterations=30
    )
    evidence = ep_3d.find(scene)
    for mask in evidence.masks:
        assert mask.hard.sum() == round(mask.area * 4 * 12 * 16)
        np.testing.assert_allclose(mask.frame_areas, mask.hard.mean(axis=(1, 2)))
    kept = evidence.masks[-1].frame_areas
    np.testing.assert_allclose(evidence.temporal.importance, kept / kept.sum())


@pytest.mark.parametrize("constraint", [None, "exact"])
def test_a_mask_holds_what_is_most_salient(
    constraint: str | None, network_scene: NetworkScene
) -> None:
    """Every pixel of it comes before every other, whichever frame it is in."""
    pytest.importorskip("torch")
    scene = network_scene("cnn", method="ep-3d", constraint=constraint, iterations=30)
    evidence = ep_3d.find(scene)
    hard = evidence.masks[0].hard > 0
    assert evidence.saliency[hard].min() > evidence.saliency[~hard].max()


@pytest.mark.parametrize("constraint", [None, "exact"])
def test_queries_are_refused(constraint: str | None, network_scene: NetworkScene) -> None:
    """Whatever the constraint."""
    pytest.importorskip("torch")
    scene = network_scene("cnn", method="ep-3d", constraint=constraint, backend="finite-difference")
    with pytest.raises(UsageError, match="ep-3d"):
        ep_3d.find(scene)


@pytest.mark.parametrize("constraint", ["exact", pytest.param("penalty", marks=pytest.mark.slow)])
def test_what_it_keeps_gathers_in_two_frames(constraint: Constraint, tmp_path: Path) -> None:
    """Temporal concentration, as the paper has it: on the dynamic regressor most of the area is in
    the two frames that show most of A, and next to nothing elsewhere."""
    pytest.importorskip("torch")
    network = regressor_network(region("dynamic"), tmp_path)
    clip = np.random.default_rng(0).standard_normal((1, FRAMES, SIZE, SIZE), dtype=np.float32)
    iterations = ITERATIONS[constraint]["ep-3d"]
    settings = Settings(method="ep-3d", constraint=constraint, iterations=iterations, areas=(0.1,))
    scene = Scene(network, settings, clip, 0, float(network.outputs(clip)[0]), Silent())
    (mask,) = ep_3d.find(scene).masks
    share = mask.frame_areas / mask.frame_areas.sum()
    assert share[list(REVERSED_FRAMES)].sum() > 0.7
    assert np.delete(share, REVERSED_FRAMES).max() < 0.1
