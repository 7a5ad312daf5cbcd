"""Pixels drawn by lot: what chance finds, beside which every other method is to be read."""

import numpy as np

from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.scene import Scene


def find(scene: Scene) -> Evidence:
    """Uniform noise, by the seed; it looks at nothing."""
    return attributed(scene, scene.random().random(scene.shape, dtype=np.float32), "none", 0)
