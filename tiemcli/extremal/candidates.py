"""What candidate masks are worth: of whole clips, or of every frame on its own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tiemcli.extremal.purse import Purse
from tiemcli.kernels.arrays import Doubles, Floats, Ints

# Where a combination of frames seen before costs at most this share of a forward, frames are judged
# one by one. A CNN-LSTM's mask (20 frames) of 700 forwards' worth scores .95 at .05, .92 at .25 and
# .85 at .5; clips judged as a whole need 1,000 forwards for .85.
COMBINING_MOST = 0.25
# Random combinations that a frame's candidate is averaged over; at most what they cost to encode.
COMBINATIONS_MOST = 40


# What masks (K, T, h, w) are worth, combined by a choice (N, T) or each a clip of its own: (N,).
Worth = Callable[[Floats, Ints | None], Doubles]


@dataclass(frozen=True)
class Candidates:
    """Judges K candidates a free frame: cells (K, F, h, w) for F of a clip's T frames.

    free: (F,) the frames' indices. by_frame: each frame's candidates are told apart, G = F gains a
    candidate; else a candidate is a whole clip, G = 1.
    """

    purse: Purse
    free: Ints
    by_frame: bool

    @classmethod
    def of(cls, purse: Purse, free: Ints) -> "Candidates":
        return cls(purse, free, purse.scorer.combining <= COMBINING_MOST)

    @property
    def rounds(self) -> int:
        """How many random clips a candidate of `effects` is seen in."""
        if not self.by_frame:
            return 1
        return max(1, int(min(COMBINATIONS_MOST, 1 / max(self.purse.scorer.combining, 1e-9))))

    def groups(self) -> list[Ints]:
        """The columns of a result of G gains: which of the free frames each speaks of."""
        each = np.arange(len(self.free))
        return np.split(each, len(each)) if self.by_frame else [each]

    def price_of_gains(self, count: int) -> float:
        if not self.by_frame:
            return self.purse.price(count, count)
        return self.purse.price(count + 1, count * len(self.free) + 1)

    def price_of_effects(self, count: int) -> float:
        return self.purse.price(count, count * self.rounds)

    def gains(self, tried: Floats, mean: Floats, worth: Worth) -> tuple[float, Doubles]:
        """The gain where they are tried, and that of each candidate: a number and (K, G).

        tried, mean: (K, T, h, w) and (T, h, w). By frame, a candidate is tried in its frame while
        all others show `mean`, whose gain is the number; else that is the candidates' average.
        """
        if not self.by_frame:
            gains = worth(tried, None)
            return float(gains.mean()), gains[:, None]
        count = len(tried)
        choice = np.full((count, len(self.free), len(mean)), count)
        choice[:, np.arange(len(self.free)), self.free] = np.arange(count)[:, None]
        at_mean = np.full((1, len(mean)), count)
        masks = np.concatenate([tried, mean[None]])
        gains = worth(masks, np.concatenate([at_mean, choice.reshape(-1, len(mean))]))
        return float(gains[0]), gains[1:].reshape(count, -1)

    def effects(self, tried: Floats, worth: Worth, random: np.random.Generator) -> Doubles:
        """What each candidate is worth among random others, on average: (K, G).

        tried: (K, T, h, w). By frame, every frame's candidates stand in each of `rounds` random
        orders, so that each is in as many clips as any other.
        """
        if not self.by_frame:
            return worth(tried, None)[:, None]
        count, frames = tried.shape[:2]
        orders = np.tile(np.arange(count)[:, None], (self.rounds, 1, len(self.free)))
        orders = random.permuted(orders, axis=1)
        choice = np.zeros((self.rounds, count, frames), dtype=np.int64)
        choice[..., self.free] = orders
        gains = worth(tried, choice.reshape(-1, frames)).reshape(self.rounds, count, 1)
        return np.asarray(np.take_along_axis(gains, orders.argsort(axis=1), axis=1).mean(axis=0))
