"""A natural evolution strategy over cells (Wierstra et al. 2014), antithetic and by ranks."""

import numpy as np

from tiemcli.extremal.adam import Adam
from tiemcli.extremal.candidates import Candidates, Worth
from tiemcli.kernels.arrays import Floats

# The deviation of the noise on cells of deviation 1, from start to end, and the rate of Adam.
SIGMAS, RATE = (0.7, 0.25), 0.2
# Going on must promise this much of the objective, half a per cent of Φ, were the level to rise to
# the end of the budget at its pace over the last half of the generations and two standard errors.
# Of 2,000 forwards' worth by frame, that saves a CNN-LSTM 35 % and 71 % for .002 and .003 of Φ; of
# clips judged as a whole, where the level still rises at the end, it saves 1 %.
WORTHWHILE, STANDARD_ERRORS, GENERATIONS_LEAST = 0.005, 2.0, 16


def evolve(
    candidates: Candidates,
    worth: Worth,
    cells: Floats,
    pairs: int,
    ceiling: float,
    random: np.random.Generator,
) -> Floats:
    """The free frames' cells, improved while that pays and the purse lasts: (T, h, w) float32.

    worth: of cells (K, T, h, w). ceiling: what no worth can pass. Where frames are judged one by
    one, each learns from its own candidates, and the best clip is made of each frame's best.
    """
    purse, free = candidates.purse, candidates.free
    last = purse.price(2, 2)
    pairs = min(pairs, int(purse.left - last) // 2)
    if pairs < 1:
        return cells
    price = candidates.price_of_gains(2 * pairs)
    adam, best = Adam(RATE), (-np.inf, cells)
    began, most = purse.spent, purse.left - last
    levels: list[float] = []
    while purse.left >= price + last and _promises_more(levels, purse.left / price, ceiling):
        done = (purse.spent - began) / most
        sigma = SIGMAS[0] * (SIGMAS[1] / SIGMAS[0]) ** done
        noise = np.zeros((pairs, *cells.shape), np.float32)
        noise[:, free] = random.standard_normal((pairs, len(free), *cells.shape[1:]))
        tried = np.concatenate([cells + sigma * noise, cells - sigma * noise])
        level, gains = candidates.gains(tried, cells, worth)
        levels.append(level)
        # Of frames judged one by one, the best together promise what they add to the level.
        added = np.maximum(gains.max(axis=0) - level, 0)
        if level + added.sum() > best[0]:
            winner, winners = cells.copy(), tried[gains.argmax(axis=0), free]
            winner[free] = np.where(added[:, None, None] > 0, winners, cells[free])
            best = level + float(added.sum()), winner
        ranks = gains.argsort(axis=0).argsort(axis=0) / (len(gains) - 1)
        direction = 2 * (ranks[:pairs] - ranks[pairs:])
        step = np.zeros_like(cells, dtype=np.float64)
        step[free] = (direction[..., None, None] * noise[:, free]).mean(axis=0)
        cells = cells + adam.step(step)
    ends = np.stack([cells, best[1]])
    return np.asarray(ends[worth(ends, None).argmax()])


def _promises_more(levels: list[float], remaining: float, ceiling: float) -> bool:
    """Whether so many generations more may raise the level, one a generation so far, enough."""
    if len(levels) < GENERATIONS_LEAST:
        return True
    recent = np.array(levels[len(levels) // 2 :])
    time = np.arange(len(recent)) - (len(recent) - 1) / 2
    slope = (time @ recent) / (time @ time)
    scatter = np.var(recent - recent.mean() - slope * time) / (time @ time)
    pace = slope + STANDARD_ERRORS * np.sqrt(scatter)
    return bool(min(pace * remaining, ceiling - recent.mean()) >= WORTHWHILE)
