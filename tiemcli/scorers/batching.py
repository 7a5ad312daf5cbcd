"""How many clips to score at once, found on the real work while it is done."""

import time
from collections.abc import Callable

import numpy as np

from tiemcli.kernels.arrays import Doubles
from tiemcli.memory import available_memory, resident_memory
from tiemcli.scorers import Progress, unheard
from tiemcli.scorers.session import is_out_of_memory

LARGEST_BATCH = 64
# A doubling must save this share of the time a clip takes, or it is not worth its memory.
WORTHWHILE = 0.03
# The first run at a new size pays for its allocations and says nothing of its speed.
RUNS_PER_SIZE = 2


class Batching:
    """Cuts work into batches: 1, 2, 4 … clips while that pays, fewer when memory runs out.

    size: clips in the next batch. Settled from the start where `fixed` says how many. largest: how
    many there may be.
    """

    def __init__(self, fixed: int | None = None, largest: int = LARGEST_BATCH) -> None:
        self.size = fixed or 1
        self._largest = largest
        self._settled = fixed is not None
        self._fastest: dict[int, float] = {}
        self._runs = 0
        self._held_at_start = resident_memory()

    def map(
        self, count: int, run: Callable[[slice], Doubles], progress: Progress = unheard
    ) -> Doubles:
        """`run` over consecutive slices of `count` items, joined: (count,) or (count, K) float64.

        progress: told of each batch. A batch that does not fit in memory is halved; a single clip
        that does not raises.
        """
        parts, start = [], 0
        while start < count:
            batch = slice(start, min(start + self.size, count))
            began = time.perf_counter()
            try:
                parts.append(run(batch))
            except Exception as error:
                if not is_out_of_memory(error) or self.size == 1:
                    raise
                self.size, self._settled = self.size // 2, True
                continue
            self._learn(batch.stop - batch.start, time.perf_counter() - began)
            progress(batch.stop - start)
            start = batch.stop
        return np.concatenate(parts)

    def _learn(self, clips: int, seconds: float) -> None:
        if self._settled or clips < self.size:
            return
        self._runs += 1
        self._fastest[clips] = min(seconds / clips, self._fastest.get(clips, seconds))
        if self._runs < RUNS_PER_SIZE:
            return
        self._runs = 0
        before = self._fastest.get(self.size // 2, np.inf)
        if self._fastest[self.size] > before * (1 - WORTHWHILE):
            self.size, self._settled = max(1, self.size // 2), True
        elif 2 * self.size > self._largest or not self._room_to_double():
            self._settled = True
        else:
            self.size *= 2

    def _room_to_double(self) -> bool:
        """Twice what the runs have taken so far must fit into half of what is free."""
        grown = resident_memory() - self._held_at_start
        return 2 * grown < available_memory() / 2
