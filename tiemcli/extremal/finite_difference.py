"""Fit masks by queries alone, for a network that only answers.

By default a regression over random cell masks finds where to look, and a natural evolution strategy
(Wierstra et al. 2014) sharpens what it found on masks of the exact area. SPSA (Spall 1992) and
central differences stay selectable, for comparison.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tiemcli.extremal.mask import FINAL_TEMPERATURE, WARM_SHARE, Fit, MaskSpace
from tiemcli.extremal.objective import Objective
from tiemcli.extremal.penalty import AREA_WEIGHT, REWARD_WEIGHT, area_distance, steep_sigmoid
from tiemcli.extremal.regression import kernel_ridge
from tiemcli.kernels.area import soft_top, sorted_template
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import nearest_upsampling
from tiemcli.scorers import Progress, Scorer
from tiemcli.settings import Constraint, Estimator

# A query's worth of the budget that goes into the regression, and the most it can use.
REGRESSION_SHARE, REGRESSION_MOST = 0.35, 2000
# Below this budget the regression alone does better than any search after it.
SEARCH_LEAST = 700
NES_SIGMAS, NES_RATE = (0.7, 0.25), 0.2
NES_PAIRS, NES_PAIRS_LARGE, NES_LARGE_BUDGET = 8, 16, 2000
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
    """A `Fitter` that asks for scores only. queries: of a cold fit."""

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
        budget = self.budget(start is not None)
        # Frames kept whole or not at all have nothing to find.
        pixels = self.space.shape[1] * self.space.shape[2]
        free = np.flatnonzero((counts > 0) & (counts < pixels))
        cells = np.zeros(self.space.cells, np.float32) if start is None else start
        if free.size:
            cells = self._search(cells, counts, free, budget, start is None, progress)
        return Fit(cells, self._soft(cells, counts), self.space.hard(cells, counts))

    def _search(
        self,
        cells: Floats,
        counts: Ints,
        free: Ints,
        budget: int,
        cold: bool,
        progress: Progress,
    ) -> Floats:
        gain = self._gain(counts, progress)
        if self.estimator == "spsa":
            return _spsa(gain, cells, free, budget, self.random)
        if self.estimator == "central":
            return _central_differences(gain, cells, free, budget, self.random)
        if cold:
            searching = budget >= SEARCH_LEAST
            queries = (
                min(round(budget * REGRESSION_SHARE), REGRESSION_MOST) if searching else budget
            )
            cells = self._regress(cells, counts, free, queries // 2 * 2, progress)
            budget -= queries
            if not searching:
                return cells
        pairs = NES_PAIRS_LARGE if self.queries > NES_LARGE_BUDGET else NES_PAIRS
        return _evolve(gain, cells, free, budget, pairs, self.random)

    def _regress(
        self, cells: Floats, counts: Ints, free: Ints, queries: int, progress: Progress
    ) -> Floats:
        """Cells by their weight in a regression over complementary pairs of random cell masks."""
        _, rows, columns = self.space.cells
        half = self.random.random((max(1, queries // 2), len(free), rows, columns)) < 0.5
        random = np.concatenate([half, ~half]).astype(np.float32)
        kept_whole = (counts > 0).astype(np.float32)[:, None, None]
        masks = np.tile(kept_whole, (len(random), 1, rows, columns))
        masks[:, free] = random
        upsampling = nearest_upsampling(*self.space.shape[1:], (rows, columns))
        gains = self.objective(self.scorer.score(masks, upsampling, progress=progress))
        fitted = cells.copy()
        fitted[free] = kernel_ridge(random, gains, free.astype(np.float64))
        return fitted

    def _gain(self, counts: Ints, progress: Progress) -> Gain:
        """The objective of masks from cells: hard ones for the evolution, soft ones for slopes."""
        pixels = self.space.shape[1] * self.space.shape[2]
        template = sorted_template(counts, pixels)

        def gain(cells: Floats, done: float) -> Doubles:
            loss: Doubles | float = 0.0
            if self.constraint == "penalty":
                masks = self._penalty_masks(cells)
                # A weight that grew would drown the few differences that queries can see: the
                # pointing game on the gentle white-box regressor falls from 81 to 75.
                loss = area_distance(masks, template) * AREA_WEIGHT / REWARD_WEIGHT
            elif self.estimator == "gp-nes":
                masks = self.space.hard(cells, counts)
            else:
                start, end = TEMPERATURES
                temperature = start * (end / start) ** done
                masks = soft_top(self.space.upsampling(cells), counts, temperature)
            return self.objective(self.scorer.score(masks, progress=progress)) - loss

        return gain

    def _soft(self, cells: Floats, counts: Ints) -> Floats:
        if self.constraint == "penalty":
            return self._penalty_masks(cells)
        return soft_top(self.space.upsampling(cells), counts, FINAL_TEMPERATURE)

    def _penalty_masks(self, cells: Floats) -> Floats:
        return steep_sigmoid(PENALTY_CENTRE + PENALTY_SPREAD * self.space.upsampling(cells))


def _evolve(
    gain: Gain, cells: Floats, free: Ints, budget: int, pairs: int, random: np.random.Generator
) -> Floats:
    """Antithetic, rank-based natural evolution of the free frames' cells; the best seen wins."""
    pairs = min(pairs, (budget - 1) // 2)
    if pairs < 1:
        return cells
    generations = (budget - 1) // (2 * pairs)
    adam, best = _Adam(NES_RATE), (-np.inf, cells)
    for generation, sigma in enumerate(np.geomspace(*NES_SIGMAS, generations)):
        noise = _noise(random.standard_normal, pairs, cells, free)
        tried = np.concatenate([cells + sigma * noise, cells - sigma * noise])
        gains = gain(tried, generation / generations)
        winner = int(gains.argmax())
        best = max(best, (float(gains[winner]), tried[winner]), key=lambda pair: pair[0])
        ranks = gains.argsort().argsort() / (len(gains) - 1)
        direction = 2 * (ranks[:pairs] - ranks[pairs:])
        cells = cells + adam.step(np.tensordot(direction, noise, 1) / pairs)
    final = float(gain(cells[None], 1.0)[0])
    return cells if final >= best[0] else best[1]


def _spsa(
    gain: Gain, cells: Floats, free: Ints, budget: int, random: np.random.Generator
) -> Floats:
    """Simultaneous perturbation: all cells step at random signs at once."""
    pairs = min(SPSA_PAIRS, budget // 2)
    steps, adam = budget // (2 * pairs), _Adam(SPSA_RATE)
    for step in range(steps):
        signs = _noise(lambda size: random.choice((-1.0, 1.0), size), pairs, cells, free)
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


def _noise(
    draw: Callable[[tuple[int, ...]], Doubles], count: int, cells: Floats, free: Ints
) -> Floats:
    """`count` random steps, zero on frames that are not free: (count, T, h, w) float32."""
    noise = np.zeros((count, *cells.shape), np.float32)
    noise[:, free] = draw((count, len(free), *cells.shape[1:]))
    return noise


class _Adam:
    """Adam's steps uphill (Kingma and Ba 2015)."""

    def __init__(self, rate: float, moments: tuple[float, float] = (0.9, 0.99)) -> None:
        self.rate, self.moments, self.steps = rate, moments, 0
        self.mean = self.square = 0.0 * np.zeros(())

    def step(self, gradient: Doubles) -> Floats:
        first, second = self.moments
        self.steps += 1
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        mean = self.mean / (1 - first**self.steps)
        square = self.square / (1 - second**self.steps)
        return (self.rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32)
