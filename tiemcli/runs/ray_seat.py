"""A worker's place on a machine of a Ray cluster."""

import os
import pickle
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tiemcli import __version__
from tiemcli.beside import Task
from tiemcli.errors import DeviceError
from tiemcli.request import Request
from tiemcli.result import readable
from tiemcli.runs.engine import Event, Item, Refused

Work = Callable[[Request, Callable[[], Item | None], Callable[[Event], None]], None]

# How long a thread waits for a clip before it looks whether it is to end.
GLANCE = 0.1
# Events of so many seconds travel together, so that a driver of many workers has time for each.
TOGETHER = 0.02


@dataclass(frozen=True)
class Orders:
    """What a worker is told at its start.

    here: the folder from which relative paths are meant. seen: files that every machine must see.
    variables: of the environment; here they stay out of what Ray shows and logs.
    """

    work: Work
    request: Request
    here: Path
    seen: tuple[Path, ...]
    variables: Mapping[str, str]


def explain(
    request: Request, receive: Callable[[], Item | None], tell: Callable[[Event], None]
) -> None:
    """Be a worker; what that takes to import is left to it."""
    from tiemcli.runs.worker import work

    work(request, receive, tell)


class Seat:
    """What Ray makes an actor of: it passes clips to a thread that works, and events back.

    version: of the driver's tiem. orders: pickled `Orders`, to be read once the versions are known
    to be the same. Its methods are called from several threads.
    """

    def __init__(self, version: str, orders: bytes) -> None:
        self._waiting: dict[int, Item | None] = {}
        self._next = 0
        self._putting = threading.Lock()
        self._inbox: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._ending = False
        self._task = Task(partial(self._serve, version, orders))

    def host(self) -> str:
        """The machine's name."""
        return socket.gethostname()

    def put(self, number: int, item: Item | None) -> None:
        """The clip of that number, counted from 0: calls may come in another order."""
        with self._putting:
            self._waiting[number] = item
            while self._next in self._waiting:
                self._inbox.put(self._waiting.pop(self._next))
                self._next += 1

    def take(self) -> Sequence[Event | None]:
        """What there is to tell, waited for; None at last, when the work has ended."""
        told = [self._told.get()]
        time.sleep(TOGETHER)
        with suppress(queue.Empty):
            while True:
                told.append(self._told.get_nowait())
        return told

    def interrupt(self) -> None:
        """End the work early, and tidy up."""
        self._ending = True
        self._task.interrupt()

    def _serve(self, version: str, orders: bytes) -> None:
        try:
            refusal = self._obey(version, orders)
            if refusal is not None:
                self._told.put(Refused(refusal))
        finally:
            self._told.put(None)

    def _obey(self, version: str, pickled: bytes) -> DeviceError | None:
        """Do the work, or tell why this machine is not fit for it."""
        if version != __version__:
            return DeviceError(
                f"{self.host()} has tiem {__version__}, this machine {version}",
                "install the same on all machines of the cluster",
            )
        orders: Orders = pickle.loads(pickled)
        os.environ.update(orders.variables)
        with suppress(OSError):  # absolute paths do without
            os.chdir(orders.here)
        for path in orders.seen:
            if not path.exists():
                return DeviceError(
                    f"{readable(orders.here / path)} is not on {self.host()}",
                    "keep clips, network and results where all machines see them by the same path",
                )
        orders.work(orders.request, self._receive, self._told.put)
        return None

    def _receive(self) -> Item | None:
        while not self._ending:
            with suppress(queue.Empty):
                return self._inbox.get(timeout=GLANCE)
        return None
