"""Who is given which clip, who is to blame when a worker is lost, and what ends a run."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tiemcli.errors import ModelError, OutputError
from tiemcli.progress import Silent
from tiemcli.runs.engine import (
    Begun,
    Event,
    Failure,
    Finished,
    Item,
    Lost,
    Outcome,
    Ready,
    Refused,
    Scored,
)
from tiemcli.runs.supervisor import AHEAD, supervise


def item(name: str) -> Item:
    return Item(Path(name), Path("out") / f"{name}.tiem.json")


class Team:
    """An engine whose workers do by the name of a clip: `crash` each time, `crash once`, `hang`.

    One event a turn for each worker, who reports a clip one turn after it is scored. loading: what
    becomes of the first workers instead of Ready. most: clips that a worker held at once.
    """

    def __init__(self, workers: int = 1, loading: Sequence[Event | None] = ()) -> None:
        self.workers = workers
        self.loading = list(loading)
        self.running: list[Member] = []
        self.given: Counter[str] = Counter()
        self.started = self.most = 0
        self.closed = False

    def start(self) -> "Member":
        self.started += 1
        self.running.append(Member(self))
        return self.running[-1]

    def wait(self, seconds: float) -> list[tuple["Member", Event]]:
        told = [(member, event) for member in tuple(self.running) for event in member.turn()]
        if not told:
            time.sleep(0.01)
        return told

    def close(self) -> None:
        self.closed = True


class Member:
    """A worker of a `Team`."""

    def __init__(self, team: Team) -> None:
        self.team, self.ready = team, False
        self.held: list[Item] = []
        self.scored = 0

    def send(self, given: Item | None) -> None:
        assert given is not None
        self.held.append(given)
        self.team.given[given.clip.name] += 1
        self.team.most = max(self.team.most, len(self.held))

    def kill(self) -> None:
        self.team.running.remove(self)

    def turn(self) -> list[Event]:
        if not self.ready:
            event = self.team.loading.pop(0) if self.team.loading else Ready(())
            if isinstance(event, Lost):
                self.kill()
            self.ready = isinstance(event, Ready)
            return [] if event is None else [event]
        if self.scored:
            self.scored = 0
            return [Finished(self.held.pop(0), None, kept=False)]  # type: ignore[arg-type]
        if not self.held or self.held[0].clip.name.startswith("hang"):
            return []
        name = self.held[0].clip.name
        if name.startswith("crash") and not (name == "crash once" and self.team.given[name] > 1):
            self.kill()
            return [Lost("crashed (SIGSEGV)")]
        self.scored = 1
        return [Scored()]


class Claims:
    """What others hold, until they are asked `patience` times."""

    def __init__(self, held_by_others: Sequence[str] = (), patience: int = 3) -> None:
        self.patience = dict.fromkeys(held_by_others, patience)
        self.held: list[Item] = []

    def claim(self, wanted: Item) -> bool:
        name = wanted.clip.name
        if name == "unwritable":
            raise OutputError("cannot be written")
        if self.patience.get(name, 0):
            self.patience[name] -= 1
            return False
        self.held.append(wanted)
        return True

    def release(self, claimed: Item) -> None:
        self.held.remove(claimed)


class Watching(Silent):
    def __init__(self) -> None:
        self.lost_by: list[str] = []

    def ready(self, notes: Sequence[str]) -> None:
        pass

    def lost(self, reason: str) -> None:
        self.lost_by.append(reason)


@pytest.fixture
def explain() -> Callable[..., list[str]]:
    """The names of clips in the order of their outcomes, failures with an exclamation mark."""

    def run(
        names: Sequence[str],
        team: Team,
        claims: Claims | None = None,
        timeout: float | None = None,
        watching: Watching | None = None,
    ) -> list[str]:
        claims = claims or Claims()
        items = [item(name) for name in names]
        outcomes = supervise(items, team, claims, watching or Watching(), timeout)
        told = [f"{o.item.clip.name}{'!' * isinstance(o, Failure)}" for o in outcomes]
        assert claims.held == []
        assert team.closed
        return told

    return run


def test_clips_come_in_order_and_a_worker_holds_no_more_than_it_can_work_on(
    explain: Callable[..., list[str]],
) -> None:
    """One to read, one to score, one to write."""
    team, names = Team(), [f"{number}" for number in range(20)]
    assert explain(names, team) == names
    assert team.most == AHEAD
    assert team.started == 1


def test_no_more_workers_than_clips(explain: Callable[..., list[str]]) -> None:
    """Each has a session to load, which pays for none."""
    team = Team(workers=8)
    assert sorted(explain(["a", "b"], team)) == ["a", "b"]
    assert team.started == 2


def test_the_clip_that_ends_its_worker_is_found_and_the_others_explained(
    explain: Callable[..., list[str]],
) -> None:
    """All that were held are tried again, each by itself; the guilty one twice, no other more."""
    team, watching = Team(), Watching()
    names = ["a", "b", "crash", "c", "d", "e"]
    told = explain(names, team, watching=watching)
    assert sorted(told) == sorted(["a", "b", "crash!", "c", "d", "e"])
    assert team.given["crash"] == 2
    assert team.started == 3
    assert watching.lost_by == ["crashed (SIGSEGV)"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_lost_by_chance_costs_no_clip(
    workers: int, explain: Callable[..., list[str]]
) -> None:
    """What crashed once is explained at the second try."""
    names = ["a", "crash once", "b", "c"]
    assert sorted(explain(names, Team(workers))) == sorted(names)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_clip_that_crashes_is_a_failure(
    workers: int, explain: Callable[..., list[str]]
) -> None:
    """However many in a row."""
    names = ["crash 1", "crash 2", "a", "crash 3", "crash 4", "crash 5", "b"]
    told = explain(names, Team(workers))
    assert sorted(told) == sorted(f"{n}!" if "crash" in n else n for n in names)


def test_a_clip_that_takes_too_long_is_a_failure_and_its_neighbours_are_not(
    explain: Callable[..., list[str]],
) -> None:
    """Only the clip whose turn it is pays for the time."""
    team = Team()
    assert sorted(explain(["a", "hang", "b", "c"], team, timeout=0.2)) == ["a", "b", "c", "hang!"]
    assert team.given["hang"] == 1


def test_a_network_that_takes_too_long_to_load_ends_the_run(
    explain: Callable[..., list[str]],
) -> None:
    """It would with the next worker as well."""
    with pytest.raises(ModelError, match=r"not loaded after 0\.1 s"):
        explain(["a"], Team(loading=[Begun(), *[None] * 100]), timeout=0.1)


def test_the_wait_for_room_is_not_that_of_the_network(explain: Callable[..., list[str]]) -> None:
    """On a busy cluster a worker may begin at any time."""
    assert explain(["a"], Team(loading=[None] * 30), timeout=0.1) == ["a"]


def test_a_network_that_ends_its_worker_while_it_is_loaded_ends_the_run(
    explain: Callable[..., list[str]],
) -> None:
    """At the second time; once may be chance."""
    assert explain(["a"], Team(loading=[Lost("crashed")])) == ["a"]
    with pytest.raises(ModelError, match="the process that loads the network crashed"):
        explain(["a"], Team(loading=[Lost("crashed")] * 2))


def test_what_the_network_is_to_blame_for_ends_the_run() -> None:
    """And no worker is left."""
    team = Team(loading=[Refused(ModelError("no"))])
    with pytest.raises(ModelError, match="no"):
        list(supervise([item("a")], team, Claims(), Watching()))
    assert team.closed


def test_clips_that_another_run_works_on_come_last(explain: Callable[..., list[str]]) -> None:
    """Until the other has let go of them."""
    assert explain(["a", "b", "c", "d"], Team(), Claims(["a", "c"])) == ["b", "d", "a", "c"]


def test_a_clip_that_cannot_be_claimed_is_a_failure(explain: Callable[..., list[str]]) -> None:
    """Its result could not be written either."""
    assert sorted(explain(["a", "unwritable", "b"], Team())) == ["a", "b", "unwritable!"]


def test_whoever_stops_asking_ends_the_run() -> None:
    """As at an interrupt, or when too much has failed."""
    team = Team()
    outcomes = supervise([item("a"), item("b")], team, Claims(), Watching())
    first: Outcome = next(outcomes)
    outcomes.close()
    assert first.item == item("a")
    assert team.closed
