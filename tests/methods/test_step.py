"""STEP: EP-3D that is to last over frames."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tiemcli.errors import UsageError
from tiemcli.methods import ep_3d, step
from tiemcli.methods.published import explain_by
from tiemcli.methods.scene import Scene

NetworkScene = Callable[..., Scene]


@pytest.mark.parametrize("constraint", [None, "exact"])
def test_the_clip_keeps_its_share(constraint: str | None, network_scene: NetworkScene) -> None:
    """To the pixel, of clips shorter than STEP's ellipsoid too."""
    pytest.importorskip("torch")
    scene = network_scene("cnn", method="step", constraint=constraint, iterations=40)
    (mask,) = step.find(scene).masks
    assert mask.hard.sum() == round(0.1 * 4 * 12 * 16)


def test_queries_are_refused(network_scene: NetworkScene) -> None:
    """Its term is one for gradients."""
    with pytest.raises(UsageError, match="step"):
        step.find(network_scene("cnn", method="step", backend="finite-difference"))


def test_its_term_makes_masks_last(network_scene: NetworkScene) -> None:
    """Of a long clip of noise, neighbouring frames keep more of the same pixels than EP-3D's do; a
    weight of 0 is EP-3D."""
    pytest.importorskip("torch")
    text = """
        s = Mul(clip, clip)
        p = GlobalAveragePool(s)
        f = Flatten(p)
        scores = Gemm(f, dense, offset)
    """
    weights = {"dense": np.ones((3, 1), np.float32), "offset": np.zeros(1, np.float32)}

    def scene() -> Scene:
        return network_scene(
            text,
            classes=1,
            output="value",
            shape=(3, 12, 24, 24),
            weights=weights,
            method="step",
            constraint="exact",
            iterations=60,
        )

    def lasting(hard: np.ndarray) -> float:
        return float((hard[1:] * hard[:-1]).sum() / hard.sum())

    smooth, rough = (found(scene()).masks[0].hard for found in (step.find, ep_3d.find))
    assert lasting(smooth) > lasting(rough) + 0.1
    none = explain_by(scene(), replace(step.RECIPE, smoothness=0)).masks[0].hard
    np.testing.assert_array_equal(none, rough)
