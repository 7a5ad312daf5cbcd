"""A budget of evaluations, counted in what they really take."""

from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import Upsampling
from tiemcli.scorers import Progress, Scorer


class Purse:
    """What a fit may spend, in forwards of the whole network, told to `progress` as it is spent.

    budget: the most. Where a call's price is known beforehand only as a bound, what it really took
    is read off the scorer.
    """

    def __init__(self, scorer: Scorer, budget: int, progress: Progress) -> None:
        self.scorer, self.budget = scorer, budget
        self._progress, self._start = progress, scorer.computed
        self._heard, self._told = 0.0, 0

    @property
    def spent(self) -> float:
        return self.scorer.computed - self._start

    @property
    def left(self) -> float:
        return self.budget - self.spent

    def price(self, masks: int, clips: int) -> float:
        """The most that it takes to combine so many masks to so many clips."""
        combining = self.scorer.combining
        return masks * (1 - combining) + clips * combining

    def score(
        self, keep: Floats, upsampling: Upsampling | None = None, choice: Ints | None = None
    ) -> Doubles:
        """As `Scorer.score`, paid for."""
        clips = len(keep) if choice is None else len(choice)
        share = self.price(len(keep), clips) / clips

        def hear(done: int) -> None:
            self._heard += done * share
            self._tell(self._heard)

        scores = self.scorer.score(keep, upsampling, choice, hear)
        self._heard = max(self._heard, self.spent)
        self._tell(self._heard)
        return scores

    def close(self) -> None:
        """What is left is not needed any more."""
        self._tell(self.budget)

    def _tell(self, total: float) -> None:
        # A third of a forward, thrice, is a hair less than one.
        done = min(int(total + 1e-6), self.budget) - self._told
        if done > 0:
            self._progress(done)
            self._told += done
