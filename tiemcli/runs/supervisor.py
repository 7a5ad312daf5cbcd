"""Keep workers busy with the clips of a run, and find out which clip is to blame when one ends."""

import math
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tiemcli.errors import ClipError, ModelError, OutputError
from tiemcli.progress import Progress
from tiemcli.result import readable
from tiemcli.runs.engine import (
    Advanced,
    Begun,
    Engine,
    Event,
    Failure,
    Item,
    Lost,
    Outcome,
    Ready,
    Refused,
    Scored,
    Staged,
    Worker,
)

# Clips that a worker holds: one is read, one is scored, one is written.
AHEAD = 3
# A clip that was in work when so many workers were lost, the last of them with it alone, is to blame.
TRIES = 2
# How often, in seconds, to look for what nobody tells: clips that others release, and the clock.
GLANCE = 0.2


class Claiming(Protocol):
    """What keeps two runs from working on the same clip."""

    def claim(self, item: Item) -> bool: ...

    def release(self, item: Item) -> None: ...


class Watcher(Progress, Protocol):
    """Who follows a run."""

    def ready(self, notes: Sequence[str]) -> None:
        """A worker has loaded the network, and has this to say of it."""
        ...

    def lost(self, reason: str) -> None:
        """A worker has ended by itself, half a sentence on how; the run goes on with another."""
        ...


def supervise(
    items: Sequence[Item],
    engine: Engine,
    claims: Claiming,
    watcher: Watcher,
    timeout: float | None = None,
) -> Generator[Outcome]:
    """Every clip's outcome, as it comes.

    A clip that somebody else has claimed is left to the end, and waited for. Those that a lost
    worker held are tried again, each by itself, so that the one to blame is known. timeout: seconds
    that the network's loading, or a clip, may take. Raises what ends the run: ModelError,
    DeviceError, UsageError or a bug. However it ends, no worker is left.
    """
    shift = _Shift(items, engine, claims, watcher, timeout or math.inf)
    try:
        while shift.unfinished:
            yield from shift.turn()
    finally:
        engine.close()


@dataclass
class _Crew:
    """What a worker is known to do. held: sent and not told of, oldest first. scored: how many of
    these have been. since: when it began what it does, or will."""

    worker: Worker
    since: float = math.inf
    ready: bool = False
    held: deque[Item] = field(default_factory=deque)
    scored: int = 0

    @property
    def current(self) -> Item | None:
        """The clip that it is busy with."""
        if not self.held:
            return None
        return self.held[self.scored] if self.scored < len(self.held) else self.held[0]


class _Shift:
    """The state of a run: clips that nobody has been given, that go to a worker again, and that
    others have claimed; and how often a worker was lost that held a clip."""

    def __init__(
        self,
        items: Sequence[Item],
        engine: Engine,
        claims: Claiming,
        watcher: Watcher,
        timeout: float,
    ) -> None:
        self._engine, self._claims, self._watcher, self._timeout = engine, claims, watcher, timeout
        self._new, self._again, self._elsewhere = deque(items), deque[Item](), deque[Item]()
        self._losses: Counter[Item] = Counter()
        self._crews: list[_Crew] = []
        self._in_vain = 0

    @property
    def unfinished(self) -> int:
        held = sum(len(crew.held) for crew in self._crews)
        return len(self._new) + len(self._again) + len(self._elsewhere) + held

    def turn(self) -> Iterator[Outcome]:
        """Give out what there is to do, and hear what has been done."""
        while len(self._crews) < min(self._engine.workers, self.unfinished):
            self._crews.append(_Crew(self._engine.start()))
        if not self._new:
            self._new, self._elsewhere = self._elsewhere, self._new
        for crew in self._crews:
            yield from self._feed(crew)
        for worker, event in self._engine.wait(GLANCE):
            crew = next(crew for crew in self._crews if crew.worker is worker)
            yield from self._heard(crew, event)
        for crew in tuple(self._crews):
            if time.monotonic() - crew.since > self._timeout:
                yield from self._overdue(crew)

    def _feed(self, crew: _Crew) -> Iterator[Outcome]:
        while crew.ready and self._has_room(crew):
            given = self._again.popleft() if self._again else self._claimed()
            if given is None:
                break
            if isinstance(given, Failure):
                yield given
                continue
            if not crew.held:
                crew.since = time.monotonic()
            crew.held.append(given)
            crew.worker.send(given)

    def _has_room(self, crew: _Crew) -> bool:
        """Whether it may have the next clip: one that a worker was lost with goes by itself."""
        following = list(self._again)[:1]
        if any(self._losses[item] for item in (*crew.held, *following)):
            return not crew.held
        return len(crew.held) < AHEAD

    def _claimed(self) -> Item | Failure | None:
        while self._new:
            item = self._new.popleft()
            try:
                if self._claims.claim(item):
                    return item
            except OutputError as error:
                return Failure(item, error)
            self._elsewhere.append(item)
        return None

    def _heard(self, crew: _Crew, event: Event) -> Iterator[Outcome]:
        match event:
            case Begun():
                crew.since = time.monotonic()
            case Ready(notes):
                crew.ready, crew.since = True, time.monotonic()
                self._watcher.ready(notes)
            case Refused(error):
                raise error
            case Staged(name, total):
                self._watcher.stage(name, total)
            case Advanced(done):
                self._watcher.advance(done)
            case Scored():
                crew.scored, crew.since = crew.scored + 1, time.monotonic()
            case Lost(reason):
                yield from self._lost(crew, reason)
            case outcome:
                crew.scored -= 1
                yield from self._done(crew, outcome)

    def _done(self, crew: _Crew, outcome: Outcome) -> Iterator[Outcome]:
        self._in_vain = 0
        crew.held.remove(outcome.item)
        yield outcome
        self._claims.release(outcome.item)  # once it has been told of

    def _lost(self, crew: _Crew, reason: str) -> Iterator[Outcome]:
        self._crews.remove(crew)
        self._in_vain += 1
        if not crew.held and self._in_vain >= TRIES:
            raise ModelError(
                f"the process that loads the network {reason}",
                "export it again, or try another --device",
            )
        alone = len(crew.held) == 1
        for item in tuple(crew.held):
            self._losses[item] += 1
            if alone and self._losses[item] >= TRIES:
                blame = f"{readable(item.clip)}: the process that explains it {reason}"
                yield from self._done(
                    crew, Failure(item, ClipError(blame, "see whether the clip plays"))
                )
        if crew.held:
            self._watcher.lost(reason)
        self._again.extend(crew.held)

    def _overdue(self, crew: _Crew) -> Iterator[Outcome]:
        """End a worker that has taken too long; what else it held goes to another one."""
        item = crew.current
        if crew.ready and item is None:
            return
        crew.worker.kill()
        self._crews.remove(crew)
        if item is None:
            raise ModelError(
                f"the network is not loaded after {self._timeout:g} s", "give a longer --timeout"
            )
        late = f"{readable(item.clip)}: not explained after {self._timeout:g} s"
        yield from self._done(crew, Failure(item, ClipError(late, "give a longer --timeout")))
        self._again.extend(crew.held)
