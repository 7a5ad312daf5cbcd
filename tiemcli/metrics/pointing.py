"""Whether what is kept lies where, and when, the truth does."""

from dataclasses import dataclass

import cv2
import numpy as np

from tiemcli.kernels.arrays import Bools, Doubles, Floats

# Fifteen pixels of a frame of 224, the margin of the spatial game (Zhang et al. 2018).
TOLERANCE = 15 / 224


@dataclass(frozen=True)
class Overlap:
    """Intersection over union, in [0, 1]. volume: of the whole clip. frames: the mean of that of
    each frame that has any truth."""

    volume: float
    frames: float


def pointing_game(kept: Floats, truth: Bools | Floats) -> float:
    """100·(kept in A − kept outside of A)/kept, in [−100, 100]; NaN where nothing is kept.

    kept: (T, H, W) in [0, 1]. truth: A, (T, H, W), 1 inside. The white-box pointing game of TIEM's
    paper, Section 4.1.
    """
    inside, total = _mass(kept * truth), _mass(kept)
    return 100 * _share(2 * inside - total, total)


def ceiling(areas: Doubles, truth: Bools | Floats) -> float:
    """The pointing game of the best mask that keeps these (T,) shares of its frames."""
    inside = float(np.minimum(areas, truth.mean(axis=(1, 2))).sum())
    total = float(areas.sum())
    return 100 * _share(2 * inside - total, total)


def temporal_pointing(kept: Floats | Doubles, signature: Bools) -> float:
    """100·(kept in signature frames)/kept, in [0, 100]; NaN where nothing is kept.

    kept: a mask (T, H, W) in [0, 1], or what is kept of each frame, or its importance, (T,) ≥ 0.
    signature: (T,). The temporal pointing game of TIEM's paper, Section 4.2.
    """
    by_frame = kept.sum(axis=tuple(range(1, kept.ndim)), dtype=np.float64)
    return 100 * _share(_mass(by_frame[signature]), _mass(by_frame))


def spatial_pointing(saliency: Floats, truth: Bools, tolerance: float | None = None) -> float:
    """The share of frames with truth whose largest saliency hits it, in [0, 1]; NaN without truth.

    saliency, truth: (T, H, W). tolerance: how far from the truth, in pixels, still counts as a hit;
    None is 15 of 224 pixels of the frame's shorter side. Where several pixels of a frame are largest,
    the share of them that hit counts, which is what a fair choice among them would hit: a flat frame
    scores no more than chance. The pointing game of Zhang et al. (IJCV 2018), a frame at a time.
    """
    if tolerance is None:
        tolerance = TOLERANCE * min(truth.shape[1:])
    hits = []
    for values, region in zip(saliency, truth, strict=True):
        if region.any():
            away = cv2.distanceTransform(
                (~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
            )
            hits.append(np.mean(away[values == values.max()] <= tolerance))
    return float(np.mean(hits)) if hits else float("nan")


def iou(kept: Floats, truth: Bools) -> Overlap:
    """Intersection over union of a mask (T, H, W) in [0, 1] and the truth; NaN without either.

    Of a soft mask the smaller and the larger value of each pixel count, Σmin/Σmax.
    """
    region = truth.astype(np.float32)
    both = np.minimum(kept, region).sum(axis=(1, 2), dtype=np.float64)
    either = np.maximum(kept, region).sum(axis=(1, 2), dtype=np.float64)
    told = region.any(axis=(1, 2))
    return Overlap(
        volume=_share(_mass(both), _mass(either)),
        frames=float((both[told] / either[told]).mean()) if told.any() else float("nan"),
    )


def _mass(values: np.ndarray) -> float:
    return float(values.sum(dtype=np.float64))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
