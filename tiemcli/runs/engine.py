"""What a run over clips and the workers that explain them say to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tiemcli.errors import TiemError
from tiemcli.result import Result


@dataclass(frozen=True)
class Item:
    """A clip of a run, and where its result goes: the JSON, beside which lie the other outputs."""

    clip: Path
    result: Path


@dataclass(frozen=True)
class Begun:
    """A worker has its place, and begins to load the network."""


@dataclass(frozen=True)
class Ready:
    """A worker has loaded the network. notes: what it has to say of it, a line each."""

    notes: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """What ends the run, whatever the clip: the network, the device or an option is to blame."""

    error: TiemError


@dataclass(frozen=True)
class Staged:
    """A stage begins, of so many evaluations; the one before is done."""

    name: str
    total: int


@dataclass(frozen=True)
class Advanced:
    """So many more evaluations of the stage are done."""

    done: int


@dataclass(frozen=True)
class Scored:
    """The scoring of the oldest clip that was not scored has ended; its outputs are being written."""


@dataclass(frozen=True)
class Finished:
    """A clip with a result. kept: an earlier run's still stands."""

    item: Item
    result: Result
    kept: bool


@dataclass(frozen=True)
class Failure:
    """A clip without a result, and why."""

    item: Item
    error: TiemError


@dataclass(frozen=True)
class Lost:
    """A worker ended by itself, with whatever it had been sent. reason: half a sentence."""

    reason: str


Outcome = Finished | Failure
Event = Begun | Ready | Refused | Staged | Advanced | Scored | Finished | Failure | Lost


class Worker(Protocol):
    """One session of the network, that explains the clips it is sent, in their order."""

    def send(self, item: Item | None) -> None:
        """Another clip; None: there will be no more, and the worker ends after the last."""
        ...

    def kill(self) -> None:
        """End it at once, whatever it does; it is not heard of again."""
        ...


class Engine(Protocol):
    """Where workers come from. workers: how many to run side by side."""

    @property
    def workers(self) -> int: ...

    def start(self) -> Worker:
        """A new worker, which tells of Begun as soon as there is room for it, then of Ready."""
        ...

    def wait(self, seconds: float) -> Sequence[tuple[Worker, Event]]:
        """What workers have said, waited for so long at most; each worker's events in order."""
        ...

    def close(self) -> None:
        """End all workers, letting each tidy up what it was writing."""
        ...
