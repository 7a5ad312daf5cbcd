"""What an actor of Ray does, without Ray."""

import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiemcli import __version__
from tiemcli.errors import ClipError
from tiemcli.facts import Facts
from tiemcli.request import Request
from tiemcli.runs.engine import Event, Failure, Item, Ready
from tiemcli.runs.ray_seat import Orders, Seat, Work
from tiemcli.settings import Settings

Receive, Tell = Callable[[], Item | None], Callable[[Event], None]


@pytest.fixture
def seat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], Seat]:
    """A function that makes one which does what it is given."""
    monkeypatch.chdir(tmp_path)

    def make(work: Work) -> Seat:
        request = Request("net.onnx", Facts(), Settings(), "cpu", None, force=False)
        return Seat(__version__, pickle.dumps(Orders(work, request, tmp_path, (), {})))

    return make


def echo(request: Request, receive: Receive, tell: Tell) -> None:
    """Fail every clip."""
    while (item := receive()) is not None:
        tell(Failure(item, ClipError("no")))


def idle(request: Request, receive: Receive, tell: Tell) -> None:
    """Wait for a clip."""
    tell(Ready(()))
    receive()


def endless(request: Request, receive: Receive, tell: Tell) -> None:
    """Work until it is interrupted, and tell of that."""
    tell(Ready(()))
    try:
        while True:
            time.sleep(0.01)
    finally:
        tell(Ready(("tidy",)))


def test_clips_that_arrive_in_another_order_are_worked_on_in_theirs(
    seat: Callable[[Work], Seat],
) -> None:
    """Ray calls the methods of an actor with threads in any order."""
    worker = seat(echo)
    items = [Item(Path(f"{number}.mp4"), Path(f"{number}.json")) for number in range(6)]
    for number in (2, 0, 1, 5, 4):
        worker.put(number, items[number])
    worker.put(6, None)
    worker.put(3, items[3])
    told: list[Event | None] = []
    while None not in told:
        told += worker.take()
    assert [event.item for event in told if isinstance(event, Failure)] == items
    assert told[-1] is None


@pytest.mark.parametrize(
    ("work", "last"), [(idle, ()), (endless, (Ready(("tidy",)),))], ids=["idle", "busy"]
)
def test_an_interrupt_ends_the_work(
    seat: Callable[[Work], Seat], work: Work, last: tuple[Event, ...]
) -> None:
    """Whether it waits for a clip or computes; what it does to tidy up it still does."""
    worker = seat(work)
    assert worker.take() == [Ready(())]
    worker.interrupt()
    told: list[Event | None] = []
    while None not in told:
        told += worker.take()
    assert told == [*last, None]
