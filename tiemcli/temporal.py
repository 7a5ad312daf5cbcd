"""Stage 1: the time importance score (TIS) of every frame, from the drops of masked windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.kernels.windows import enumerate_windows, window_membership
from tiemcli.scorers import Progress, Scorer, unheard
from tiemcli.settings import Aggregate

# A window size says nothing where its drops are mostly rises, and a score that hardly moves
# nowhere: the paper's division by Σp then meets zero or a negative number.
DEGENERATE_SHARE = 1e-3
SMALLEST_DROP = 1e-5
# Ridge of the non-negative least squares, chosen on spliced clips of known truth.
NNLS_RIDGE = 0.3


@dataclass(frozen=True)
class WindowSize:
    """What the windows of one size told.

    drop: (T−w+1,) float64, Φ(X) − Φ(O) by first frame. importance: (T−w+1,) float64, the positive
    drops as shares of their sum (Eq. 2), zeros if the size is degenerate. variation: θ, the summed
    change between neighbours (Eq. 3). valid: whether the size is in C.
    """

    size: int
    drop: Doubles
    importance: Doubles
    variation: float
    degenerate: bool
    valid: bool


@dataclass(frozen=True)
class TemporalImportance:
    """The time importance of a clip: importance is (T,) float64 ≥ 0 and sums to 1.

    degenerate: no window size was usable, and the importance is uniform.
    """

    importance: Doubles
    alpha: float
    degenerate: bool
    windows: tuple[WindowSize, ...]


def measure_importance(
    scorer: Scorer,
    clean: float,
    sizes: Sequence[int],
    *,
    alpha: float,
    aggregate: Aggregate = "mean",
    unit: float = 1.0,
    progress: Progress = unheard,
) -> TemporalImportance:
    """Hide every window of the given sizes, and turn the drops of the score into importance.

    clean: Φ(X). unit: what a large drop measures, 1 for probabilities and Φ(X) for a regression,
    whose drops are towards 0 from either side.
    progress: told how many windows have been scored since it was last told.
    """
    frames = scorer.shape[0]
    windows = enumerate_windows(frames, sizes)
    keep = 1 - window_membership(frames, windows)
    drops = (clean - scorer.score(keep, progress=progress)) * np.sign(unit)
    by_size = np.split(drops, np.flatnonzero(np.diff(windows[:, 0])) + 1)
    return time_importance(
        dict(zip(sizes, by_size, strict=True)), frames, alpha=alpha, aggregate=aggregate, unit=unit
    )


def time_importance(
    drops: dict[int, Doubles],
    frames: int,
    *,
    alpha: float,
    aggregate: Aggregate = "mean",
    unit: float = 1.0,
) -> TemporalImportance:
    """Eq. 1-4 over measured drops: by window size w, the (T−w+1,) drops Φ(X) − Φ(O^{w,t}).

    C holds the sizes whose variation is above α times the largest; a frame's score is the mean
    importance of the windows of those sizes that contain it, normalised over the clip.
    """
    largest = max(float(np.abs(drop).max()) for drop in drops.values())
    flat = largest <= SMALLEST_DROP * abs(unit)
    shares, variation = {}, {}
    for size, drop in drops.items():
        positive = np.maximum(drop, 0)
        if not flat and positive.sum() > DEGENERATE_SHARE * len(drop) * largest:
            shares[size] = positive / positive.sum()
            variation[size] = float(np.abs(np.diff(shares[size])).sum())
    widest = max(variation.values(), default=0.0)
    valid = {size for size in shares if widest == 0 or variation[size] > alpha * widest}
    if aggregate == "nnls":
        importance = _least_squares({size: drops[size] for size in sorted(shares)}, frames)
    else:
        importance = _mean_over_windows({size: shares[size] for size in sorted(valid)}, frames)
    total = float(importance.sum())
    return TemporalImportance(
        importance=importance / total if total > 0 else np.full(frames, 1 / frames),
        alpha=alpha,
        degenerate=not total > 0,
        windows=tuple(
            WindowSize(
                size=size,
                drop=drop,
                importance=shares.get(size, np.zeros_like(drop)),
                variation=variation.get(size, 0.0),
                degenerate=size not in shares,
                valid=size in valid,
            )
            for size, drop in drops.items()
        ),
    )


def _mean_over_windows(shares: dict[int, Doubles], frames: int) -> Doubles:
    """Eq. 4: for each frame the mean share of the windows that contain it, 0 where none does."""
    total, count = np.zeros(frames), np.zeros(frames)
    for size, share in shares.items():
        for start, value in enumerate(share):
            total[start : start + size] += value
            count[start : start + size] += 1
    return np.divide(total, count, out=np.zeros(frames), where=count > 0)


def _least_squares(drops: dict[int, Doubles], frames: int) -> Doubles:
    """Non-negative frame effects whose sums over windows explain the drops best, in a ridge.

    Windows of size w weigh w^-1/2, for wide ones say little of any one frame.
    """
    if not drops:
        return np.zeros(frames)
    windows = enumerate_windows(frames, list(drops))
    weight = windows[:, 0] ** -0.25  # squared by the least squares
    design = window_membership(frames, windows) * weight[:, None]
    wanted = np.concatenate(list(drops.values())) * weight
    rows = np.concatenate([design, np.sqrt(NNLS_RIDGE) * np.eye(frames)])
    return _non_negative(rows, np.concatenate([wanted, np.zeros(frames)]))


def _non_negative(design: Floats | Doubles, wanted: Doubles) -> Doubles:
    """argmin ‖design·x − wanted‖ over x ≥ 0, by Lawson and Hanson's active sets (1974)."""
    columns = design.shape[1]
    solution, free = np.zeros(columns), np.zeros(columns, dtype=bool)
    for _ in range(3 * columns):
        gradient = design.T @ (wanted - design @ solution)
        candidates = np.where(free, -np.inf, gradient)
        if candidates.max() <= 1e-10:
            break
        free[np.argmax(candidates)] = True
        while True:
            trial = np.zeros(columns)
            trial[free] = np.linalg.lstsq(design[:, free], wanted, rcond=None)[0]
            if (trial[free] > 0).all():
                break
            blocking = free & (trial <= 0)
            steps = solution[blocking] / (solution[blocking] - trial[blocking])
            solution = solution + steps.min() * (trial - solution)
            free &= solution > 1e-12
        solution = trial
    return solution
