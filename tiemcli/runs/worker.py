"""What a worker does, wherever it runs: load the network, explain what it is sent, tell of it."""

import time
from collections.abc import Callable

from tiemcli.batch import prepare, run
from tiemcli.errors import TiemError, bug
from tiemcli.request import Request
from tiemcli.runs.engine import (
    Advanced,
    Begun,
    Event,
    Item,
    Outcome,
    Ready,
    Refused,
    Scored,
    Staged,
)

# How often progress is told, in seconds: as often as a person can follow.
OFTEN = 0.1


def work(
    request: Request, receive: Callable[[], Item | None], tell: Callable[[Event], None]
) -> None:
    """Explain clips until `receive`, which waits for the next one, gives None.

    receive, tell: called from several threads, never two at once of the same.
    """
    tell(Begun())
    try:
        network = prepare(request)
        shared = () if network.reuse is None else (network.reuse.description,)
        assumed = (f"assumed: {'; '.join(network.notes)}",) if network.notes else ()
        tell(Ready((*assumed, *shared)))
        run(request, network, receive, _Telling(tell))
    except TiemError as error:
        tell(Refused(error))
    except Exception as error:  # noqa: BLE001  the run ends by it, and says so
        tell(Refused(bug(error)))


class _Telling:
    """A listener who passes everything on, progress no more often than anybody can follow."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._done, self._told = 0, 0.0

    def stage(self, name: str, total: int) -> None:
        self._done = 0
        self._tell(Staged(name, total))

    def advance(self, done: int) -> None:
        self._done += done
        if time.monotonic() - self._told > OFTEN:
            self._tell(Advanced(self._done))
            self._done, self._told = 0, time.monotonic()

    def scored(self) -> None:
        self._tell(Scored())

    def outcome(self, outcome: Outcome) -> None:
        self._tell(outcome)
