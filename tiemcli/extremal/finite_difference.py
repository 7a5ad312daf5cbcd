"""Fit masks by queries alone, for a network that only answers.

By default a regression over random cell masks finds where to look, and a natural evolution strategy
sharpens what it found on masks of the exact area; both speak of each frame on its own where the
scorer combines frames cheaply. SPSA (Spall 1992) and central differences stay selectable, for
comparison.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tiemcli.extremal.adam import Adam
from tiemcli.extremal.candidates import Candidates
from tiemcli.extremal.evolution import evolve
from tiemcli.extremal.mask import FINAL_TEMPERATURE, WARM_SHARE, Fit, MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.penalty import AREA_WEIGHT, REWARD_WEIGHT, area_distance, steep_sigmoid
from tiemcli.extremal.purse import Purse
from tiemcli.extremal.regression import kernel_ridge
from tiemcli.kernels.area import hard_top, soft_top, sorted_template
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import nearest_upsampling
from tiemcli.scorers import Progress, Scorer
from tiemcli.settings import Constraint, Estimator

# The share of the budget that goes into the regression, and the most queries that it can use: many
# where they judge whole clips, few masks a frame where each frame is judged on its own.
REGRESSION_SHARE, REGRESSION_MOST, REGRESSION_MOST_BY_FRAME = 0.35, 2000, 40
# Below this budget the regression alone does better than any search of whole clips after it.
SEARCH_LEAST = 700
PAIRS, PAIRS_LARGE, LARGE_BUDGET, PAIRS_BY_FRAME = 8, 16, 2000, 2
# Differences: the step in the cells, the mask's temperature from start to end.
STEP, TEMPERATURES = 0.3, (0.5, 0.05)
SPSA_PAIRS, SPSA_RATE = 8, 0.05
CENTRAL_BLOCK, CENTRAL_RATE = 32, 0.4
# Eq. 7's mask is made of values in about [0, 1], the search's are about 0 with deviation 1.
PENALTY_CENTRE, PENALTY_SPREAD = 0.5, 0.1

# What cells (N, T, h, w) are worth when a share, in [0, 1], of the search is done: (N,).
Gain = Callable[[Floats, float], Doubles]


@dataclass(frozen=True)
class FiniteDifferenceFitter:
    """A `Fitter` that asks for scores only. queries: the most of a cold fit, in forwards."""

    scorer: Scorer
    objective: Objective
    space: MaskSpace
    constraint: Constraint
    estimator: Estimator
    queries: int
    random: np.random.Generator

    def budget(self, warm: bool) -> int:
        return max(2, round(self.queries * WARM_SHARE)) if warm else self.queries

    def fit(self, areas: Doubles, start: Floats | None, progress: Progress) -> Fit:
        counts = self.space.counts(areas)
        purse = Purse(self.scorer, self.budget(start is not None), progress)
        # Frames kept whole or not at all have nothing to find.
        pixels = self.space.shape[1] * self.space.shape[2]
        free = np.flatnonzero((counts > 0) & (counts < pixels))
        cells = np.zeros(self.space.cells, np.float32) if start is None else start
        if free.size:
            cells = self._search(cells, counts, free, purse, start is None)
        purse.close()
        evaluations = int(np.ceil(purse.spent))
        values = self.space.upsampling(cells)
        soft = self._soft(cells, counts)
        return Fit(cells, values, soft, hard_top(values, counts), evaluations)

    def _search(self, cells: Floats, counts: Ints, free: Ints, purse: Purse, cold: bool) -> Floats:
        if self.estimator == "spsa":
            gain = self._slope_gain(counts, purse)
            return _spsa(gain, cells, free, purse.budget, self.random)
        if self.estimator == "central":
            gain = self._slope_gain(counts, purse)
            return _central_differences(gain, cells, free, purse.budget, self.random)
        candidates = Candidates.of(purse, free)
        searching = purse.budget >= SEARCH_LEAST or candidates.by_frame or not cold
        if cold:
            share = REGRESSION_SHARE if searching else 1.0
            most = REGRESSION_MOST_BY_FRAME if candidates.by_frame else REGRESSION_MOST
            affordable = share * purse.budget / candidates.price_of_effects(1)
            half = max(1, int(min(affordable, most if searching else np.inf)) // 2)
            cells = self._regress(candidates, cells, counts, half)
        if not searching:
            return cells
        pairs = PAIRS_LARGE if self.queries > LARGE_BUDGET else PAIRS
        if candidates.by_frame:
            pairs = PAIRS_BY_FRAME

        def worth(cells: Floats, choice: Ints | None) -> Doubles:
            return self._worth(purse, cells, counts, choice)

        # No logarithm of a probability is above 0.
        ceiling = np.inf if self.objective.regression else 0.0
        return evolve(candidates, worth, cells, pairs, ceiling, self.random)

    def _regress(self, candidates: Candidates, cells: Floats, counts: Ints, half: int) -> Floats:
        """Cells by their weight in a regression over complementary pairs of random cell masks."""
        _, rows, columns = self.space.cells
        free = candidates.free
        kept = self.random.random((half, len(free), rows, columns)) < 0.5
        random = np.concatenate([kept, ~kept]).astype(np.float32)
        kept_whole = (counts > 0).astype(np.float32)[:, None, None]
        masks = np.tile(kept_whole, (len(random), 1, rows, columns))
        masks[:, free] = random
        upsampling = nearest_upsampling(*self.space.shape[1:], (rows, columns))

        def worth(masks: Floats, choice: Ints | None) -> Doubles:
            return self.objective(candidates.purse.score(masks, upsampling, choice))

        effects = candidates.effects(masks, worth, self.random)
        fitted = cells.copy()
        for group, gains in zip(candidates.groups(), effects.T, strict=True):
            frames = free[group].astype(np.float64)
            fitted[free[group]] = kernel_ridge(random[:, group], gains, frames)
        return fitted

    def _worth(self, purse: Purse, cells: Floats, counts: Ints, choice: Ints | None) -> Doubles:
        """The objective of the hard masks of cells, or under Eq. 7 of what it asks for."""
        if self.constraint == "exact":
            return self.objective(purse.score(self.space.hard(cells, counts), None, choice))
        masks = self._penalty_masks(cells)
        # A weight that grew would drown the few differences that queries can see: the pointing
        # game on the gentle white-box regressor falls from 81 to 75.
        template = sorted_template(counts, masks.shape[2] * masks.shape[3])
        frames = range(masks.shape[1])
        distances = [area_distance(masks[:, [t]], template[[t]]) for t in frames]
        distance = np.stack(distances, axis=1)
        if choice is not None:
            distance = distance[choice, frames]
        loss = distance.mean(axis=1) * AREA_WEIGHT / REWARD_WEIGHT
        return np.asarray(self.objective(purse.score(masks, None, choice)) - loss)

    def _slope_gain(self, counts: Ints, purse: Purse) -> Gain:
        """The objective of soft masks that harden, which have slopes."""
        start, end = TEMPERATURES

        def gain(cells: Floats, done: float) -> Doubles:
            if self.constraint == "penalty":
                return self._worth(purse, cells, counts, None)
            masks = soft_top(self.space.upsampling(cells), counts, start * (end / start) ** done)
            return self.objective(purse.score(masks))

        return gain

    def _soft(self, cells: Floats, counts: Ints) -> Floats:
        if self.constraint == "penalty":
            return self._penalty_masks(cells)
        return soft_top(self.space.upsampling(cells), counts, FINAL_TEMPERATURE)

    def _penalty_masks(self, cells: Floats) -> Floats:
        return steep_sigmoid(PENALTY_CENTRE + PENALTY_SPREAD * self.space.upsampling(cells))


def _spsa(
    gain: Gain, cells: Floats, free: Ints, budget: int, random: np.random.Generator
) -> Floats:
    """Simultaneous perturbation: all cells step at random signs at once."""
    pairs = min(SPSA_PAIRS, budget // 2)
    steps, adam = budget // (2 * pairs), Adam(SPSA_RATE)
    for step in range(steps):
        signs = np.zeros((pairs, *cells.shape), np.float32)
        signs[:, free] = random.choice((-1.0, 1.0), (pairs, len(free), *cells.shape[1:]))
        gains = gain(np.concatenate([cells + STEP * signs, cells - STEP * signs]), step / steps)
        slope = (gains[:pairs] - gains[pairs:]) / (2 * STEP)
        cells = cells + adam.step(np.tensordot(slope, signs, 1) / pairs)
    return cells


def _central_differences(
    gain: Gain, cells: Floats, free: Ints, budget: int, random: np.random.Generator
) -> Floats:
    """Cell by cell, a block of them at a time in random order."""
    cells = cells.copy()
    indices = np.arange(cells.size).reshape(cells.shape)[free].ravel()
    block = min(CENTRAL_BLOCK, len(indices), budget // 2)
    steps = budget // (2 * block)
    rounds = steps * block // len(indices) + 1
    order = np.concatenate([random.permutation(indices) for _ in range(rounds)])
    for step in range(steps):
        chosen = order[step * block : (step + 1) * block]
        nudge = np.zeros((block, cells.size), np.float32)
        nudge[np.arange(block), chosen] = STEP
        nudge = nudge.reshape(block, *cells.shape)
        gains = gain(np.concatenate([cells + nudge, cells - nudge]), step / steps)
        slope = gains[:block] - gains[block:]
        scale = np.abs(slope).mean() + 1e-12
        cells.reshape(-1)[chosen] += CENTRAL_RATE * (slope / scale).clip(-2, 2)
    return cells
