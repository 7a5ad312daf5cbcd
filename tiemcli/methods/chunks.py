"""Many masks, made and scored a few at a time, as memory holds them."""

from collections.abc import Callable, Iterator

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.methods.scene import Scene

# Of masks in pixels at once; a batch is a small part of it.
BYTES = 64 << 20


def scored(
    scene: Scene, count: int, draw: Callable[[range], Floats]
) -> Iterator[tuple[Floats, Doubles]]:
    """So many masks by chunks, (K, T, H, W) float32, each with its scores (K,).

    draw: makes those of some numbers in order.
    """
    at_once = max(1, BYTES // (np.dtype(np.float32).itemsize * int(np.prod(scene.shape))))
    for start in range(0, count, at_once):
        masks = draw(range(start, min(start + at_once, count)))
        yield masks, scene.scorer.score(masks, progress=scene.progress.advance)
