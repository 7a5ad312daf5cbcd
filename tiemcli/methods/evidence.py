"""What a method finds, and how a saliency of pixels becomes masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tiemcli.errors import ClipError
from tiemcli.extremal.mask import AreaMask
from tiemcli.kernels.arrays import Floats
from tiemcli.methods.scene import Scene
from tiemcli.temporal import TemporalImportance

Backend = Literal["autograd", "finite-difference", "queries", "none"]


@dataclass(frozen=True)
class Evidence:
    """Which moments and which pixels speak for the target.

    masks: in ascending order of area. saliency: (T, H, W) float32, finite: the order in which pixels
    are kept, the larger the sooner. backend: what found it, and why it was no other.
    """

    temporal: TemporalImportance
    masks: tuple[AreaMask, ...]
    saliency: Floats
    backend: Backend
    backend_reason: str = ""
    warning: str = ""


def attributed(
    scene: Scene, saliency: Floats, backend: Backend, evaluations: int, warning: str = ""
) -> Evidence:
    """The evidence of a method that weighs pixels: the masks keep the largest of the whole clip.

    saliency: (T, H, W) float32. A frame's importance is its share of what is above 0.
    evaluations: what the saliency took, in forwards or in gradients. warning: what to tell of it,
    beside what the gradients are told of. Raises ClipError where a gradient came out without a number.
    """
    if not np.isfinite(saliency).all():
        raise ClipError(
            f"--method {scene.settings.method}: the network's gradient on this clip is not finite",
            "choose --method rise, occlusion or aosa, which take no gradient",
        )
    # Ties fall alike for all areas, so that a larger mask holds the smaller.
    kept = [top_share(saliency, area, scene.random()) for area in sorted(scene.areas)]
    scores = scene.scorer.score(np.stack(kept))
    smallest = next((i for i, score in enumerate(scores) if scene.keeps(float(score))), None)
    low, high = float(saliency.min()), float(saliency.max())
    soft = (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)
    doubt = scene.gradients.warning if backend == "autograd" else ""
    return Evidence(
        frame_importance(saliency, scene.settings.alpha),
        tuple(
            AreaMask(
                area=area,
                frame_areas=hard.mean(axis=(1, 2), dtype=np.float64),
                values=saliency,
                soft=soft,
                hard=hard,
                score=float(score),
                smallest=index == smallest,
                evaluations=evaluations,
            )
            for index, (area, hard, score) in enumerate(
                zip(sorted(scene.areas), kept, scores, strict=True)
            )
        ),
        saliency,
        backend,
        warning="; ".join(filter(None, (doubt, warning))),
    )


def top_share(saliency: Floats, area: float, random: np.random.Generator) -> Floats:
    """The binary mask of the share `area` of all pixels that are largest, ties drawn by lot.

    saliency: (T, H, W). In reading order ties would all fall on the first frames.
    """
    flat = saliency.ravel()
    order = np.lexsort((random.random(flat.size), -flat))
    mask = np.zeros_like(flat, dtype=np.float32)
    mask[order[: round(area * flat.size)]] = 1
    return mask.reshape(saliency.shape)


def frame_importance(saliency: Floats, alpha: float) -> TemporalImportance:
    """Each frame's share of the positive saliency (T, H, W); uniform if there is none."""
    mass = np.maximum(saliency, 0).sum(axis=(1, 2), dtype=np.float64)
    total = mass.sum()
    return TemporalImportance(
        importance=mass / total if total > 0 else np.full(len(mass), 1 / len(mass)),
        alpha=alpha,
        degenerate=not total > 0,
        windows=(),
    )


def nested(masks: Sequence[AreaMask], volume: bool = False) -> Floats:
    """The order that masks of ascending area give to pixels: (T, H, W) float32 in (0, 1], all different.

    The more masks keep a pixel the larger it is. Among equals it is the sooner kept, the smaller the
    area at which Eq. 5 would: q/a_t, where q is the share of its frame's pixels with larger values.
    volume: the areas are of the clip as a whole, and so is q.
    """
    kept = np.sum([mask.hard for mask in masks], axis=0)
    values = masks[-1].values
    flat = values.reshape(1 if volume else len(values), -1)
    rank = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1) / flat.shape[1]
    share = np.ones(1) if volume else np.maximum(masks[-1].frame_areas, 1e-9)
    order = np.lexsort((((rank + 1e-9) / share[:, None]).ravel(), -kept.ravel()))
    saliency = np.empty(order.size, dtype=np.float32)
    saliency[order] = 1 - np.arange(order.size) / order.size
    return saliency.reshape(values.shape)
