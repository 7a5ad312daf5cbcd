"""No more than so many requests a second."""

import time
from collections.abc import Callable


class Pace:
    """Holds up whoever asks, so that requests begin at least 1 / `rate` seconds apart."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._apart = 0.0 if rate is None else 1 / rate
        self._clock, self._sleep = clock, sleep
        self._next = clock()

    def keep(self) -> None:
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._apart
