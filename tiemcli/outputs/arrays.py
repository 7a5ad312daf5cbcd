"""The arrays behind an explanation, for those who go on from there."""

from pathlib import Path

import numpy as np

from tiemcli.outputs.atomic import replacing
from tiemcli.pipeline import Explanation


def write(path: Path, explanation: Explanation) -> None:
    """Write a compressed .npz.

    input: the exact tensor fed to the network, a batch of one in its own axes and type. base: the
    same of the base. keep_soft, keep_hard: (A, T, H, W) in [0, 1], 1 keeps,
    one mask for each of areas (A,). saliency: (T, H, W), the order in which pixels are kept, the larger
    the sooner. importance: (T,) float64. windows: (K, 4) float64, a row a window: size, first
    frame, drop of the score, share among the windows of its size. Raises OutputError.
    """
    model, masks = explanation.network.model, explanation.masks
    windows = [
        (window.size, start, drop, share)
        for window in explanation.temporal.windows
        for start, (drop, share) in enumerate(zip(window.drop, window.importance, strict=True))
    ]
    with replacing(path) as part:
        np.savez_compressed(
            part,
            input=model.tensor(explanation.source.input[None]),
            base=model.tensor(explanation.base[None]),
            keep_soft=np.stack([mask.soft for mask in masks]),
            keep_hard=np.stack([mask.hard for mask in masks]),
            areas=np.array([mask.area for mask in masks]),
            saliency=explanation.evidence.saliency,
            importance=explanation.temporal.importance,
            windows=np.array(windows, dtype=np.float64).reshape(-1, 4),
        )
