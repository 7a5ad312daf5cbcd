"""Workers on the machines of a Ray cluster, or on this one by a Ray of its own."""

import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tiemcli import __version__
from tiemcli.errors import DeviceError
from tiemcli.request import Request
from tiemcli.runs.engine import Event, Item, Lost, Refused
from tiemcli.runs.lock import SUFFIX, Lock
from tiemcli.runs.ray_cluster import Share, join, share
from tiemcli.runs.ray_seat import Orders, Seat, Work, explain

# Seconds that workers have to tidy up in.
PATIENCE = 10
# Seconds after which somebody may wonder why a worker has not begun.
ODD = 10
# Variables of the environment that workers are to have.
PASSED_ON = ("TIEM_", "OMP_NUM_THREADS")


class RayEngine:
    """An `Engine` of Ray actors: what happens to one, or to its machine, ends neither the others nor
    the run.

    folder: where results go; it, the clips and the network must be seen by all machines under the
    same paths. address: of a cluster to join, HOST:PORT, or `auto` for the one that this machine is
    part of; None for a Ray of this machine alone, which ends with the engine. If this process is part
    of one already, that is used, and left as it is. workers: None for as many as `share` thinks
    right. say: is told a line where somebody may wonder.
    Raises DeviceError where there is no such cluster or nothing in it to work on, UsageError without
    Ray or for a device that is not ours to choose.
    """

    def __init__(
        self,
        request: Request,
        folder: Path,
        address: str | None = None,
        workers: int | None = None,
        say: Callable[[str], None] = lambda line: None,
        work: Work = explain,
    ) -> None:
        self._say = say
        self._running: dict[_Actor, None] = {}
        # A file that other machines see only if the folder is the same for them.
        name = f"ray-{secrets.token_hex(4)}"
        self._mark, mark = Lock(folder, name), folder / f".{name}{SUFFIX}"
        self._ours = join(address)
        try:
            self._share = share(request.device, workers)
            self._mark.take()
            files = (Path(request.model), *request.custom_ops)
            seen = (mark, *(file for file in files if file.exists()))  # it may be an address
            variables = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
            variables.setdefault("OMP_NUM_THREADS", str(self._share.threads))
            each = request.shared_by(self._share.workers)
            self._orders = _pickled(Orders(work, each, Path.cwd(), seen, variables))
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        return self._share.workers

    def start(self) -> "_Actor":
        actor = _Actor(self._share, self._orders)
        self._running[actor] = None
        return actor

    def wait(self, seconds: float) -> Sequence[tuple["_Actor", Event]]:
        told = []
        for actor in self._answered(seconds):
            for event in actor.hear():
                if event is None or isinstance(event, (Lost, Refused)):
                    actor.kill()
                if event is not None:
                    told.append((actor, event))
        for actor in self._running:
            if actor.is_odd():
                self._say(
                    f"a worker waits until the cluster has {self._share} to spare; see: ray status"
                )
        return told

    def _answered(self, seconds: float) -> list["_Actor"]:
        """Those that have something to tell, waited for so long at most."""
        import ray

        self._running = {actor: None for actor in self._running if not actor.ended}
        asked = {actor.answer: actor for actor in self._running}
        if not asked:
            return []
        ray.wait(list(asked), num_returns=1, timeout=seconds)
        answers, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
        return [asked[answer] for answer in answers]

    def close(self) -> None:
        import ray

        try:
            for actor in self._running:
                actor.interrupt()
            deadline = time.monotonic() + PATIENCE
            while (left := deadline - time.monotonic()) > 0 and self._running:
                self.wait(left)
        finally:
            for actor in self._running:
                actor.kill()
            self._running.clear()
            self._mark.discard()
            if self._ours:
                ray.shutdown()


class _Actor:
    """A `Worker` somewhere in the cluster. answer: what it has been asked, and will tell some time.
    ended: it has nothing more to tell."""

    def __init__(self, share: Share, orders: bytes) -> None:
        import ray

        seat: Any = ray.remote(Seat)
        options = seat.options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_concurrency=4,  # take waits, while put, interrupt and host come and go
            scheduling_strategy="SPREAD",
        )
        self._actor: Any = options.remote(__version__, orders)
        self._host: str | None = None
        self._odd = time.monotonic() + ODD
        self._sent = 0
        self.answer: Any = self._actor.host.remote()
        self.ended = False

    def send(self, item: Item | None) -> None:
        self._actor.put.remote(self._sent, item)
        self._sent += 1

    def kill(self) -> None:
        import ray

        self.ended = True
        ray.kill(self._actor)

    def interrupt(self) -> None:
        """Let it tidy up, and end; at once if it has not begun."""
        if self._host is None:
            self.kill()
        else:
            self._actor.interrupt.remote()

    def is_odd(self) -> bool:
        """Whether it has not begun for long, which is told once."""
        odd = self._host is None and not self.ended and time.monotonic() > self._odd
        if odd:
            self._odd = math.inf
        return odd

    def hear(self) -> Sequence[Event | None]:
        """The answer, and ask for the next; None at last."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            answer = ray.get(self.answer)
        except RayTaskError:
            raise
        except RayError as error:
            return [_end(error, self._host)]
        self.answer = self._actor.take.remote()
        if self._host is None:
            self._host = answer
            return []
        events: Sequence[Event | None] = answer
        return events


def _end(error: Exception, host: str | None) -> Lost | Refused:
    """How an actor ended, which Ray tells at length."""
    from ray.exceptions import ActorUnavailableError, OutOfMemoryError

    text = str(error)
    if getattr(error, "actor_init_failed", False):
        return Refused(
            DeviceError(
                f"tiem does not start on the cluster: {text.strip().splitlines()[-1]}",
                "install the same tiem, with its extras, on all machines of the cluster",
            )
        )
    place = f"on {host}" if host else "before it had begun"
    if isinstance(error, OutOfMemoryError):
        return Lost(f"was killed {place}, as Ray does when memory runs out")
    if isinstance(error, ActorUnavailableError):
        return Lost(f"was cut off {place}" + (", which may have left the cluster" if host else ""))
    return Lost(f"crashed or was killed {place}")


def _pickled(orders: Orders) -> bytes:
    from ray import cloudpickle

    pickled: bytes = cloudpickle.dumps(orders)  # type: ignore[no-untyped-call]
    return pickled
