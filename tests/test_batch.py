"""Several clips with one network: in order, overlapping, and none of them ends the others."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event, active_count
from typing import Any

import av
import numpy as np
import pytest

from tiemcli import batch
from tiemcli.batch import explained_before, prepare
from tiemcli.errors import OutputError, UsageError
from tiemcli.facts import Facts
from tiemcli.outputs.atomic import replacing
from tiemcli.progress import Silent
from tiemcli.request import Request
from tiemcli.runs.engine import Failure, Finished, Item, Outcome
from tiemcli.scorers.network import Network
from tiemcli.settings import Settings

PATIENCE = 60  # seconds, for what must happen
NAMES = ("first", "second", "third", "fourth")


@pytest.fixture
def request_of(build_network: Callable[..., Path]) -> Callable[..., Request]:
    """A request that is quick."""

    def build(**settings: Any) -> Request:
        settings = {"backend": "finite-difference", "queries": 4, "formats": ("json",)} | settings
        return Request(
            model=str(build_network()),
            facts=Facts(),
            settings=Settings(**settings),
            device="cpu",
            batch_size=2,
            force=False,
        )

    return build


@pytest.fixture
def items_of(tmp_path: Path) -> Callable[..., list[Item]]:
    """Clips of these names, each of six frames."""

    def build(*names: str) -> list[Item]:
        return [
            Item(record(tmp_path / f"{name}.mkv"), tmp_path / "out" / f"{name}.tiem.json")
            for name in names
        ]

    return build


class Heard(Silent):
    """A listener who keeps what it is told."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def scored(self) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def run(
    request: Request, network: Network, items: list[Item], heard: Heard | None = None
) -> list[Outcome]:
    """The outcomes of all of them."""
    heard, waiting = heard or Heard(), iter(items)
    batch.run(request, network, lambda: next(waiting, None), heard)
    return heard.outcomes


def record(path: Path) -> Path:
    """A clip of noise, another one for every name."""
    random = np.random.default_rng(len(path.stem))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 12, "bgr0"
        for image in random.integers(0, 255, (6, 12, 16, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    return path


def stems(outcomes: list[Outcome]) -> list[str]:
    return [
        f"{outcome.item.clip.stem} failed"
        if isinstance(outcome, Failure)
        else outcome.item.clip.stem
        for outcome in outcomes
    ]


def within(event: Event) -> None:
    assert event.wait(PATIENCE), "what must happen at the same time does not"


def watch(
    monkeypatch: pytest.MonkeyPatch,
    *,
    read: Callable[[str], None] = lambda name: None,
    score: Callable[[str], None] = lambda name: None,
    write: Callable[[str], None] = lambda name: None,
) -> None:
    """Call these, by the clip's name, as each of its steps begins."""
    originals = batch.read_clip, batch.explain, batch.save

    def read_clip(path: Path, *rest: Any) -> Any:
        read(path.stem)
        return originals[0](path, *rest)

    def explain(source: Any, *rest: Any) -> Any:
        score(source.timeline.path.stem)
        return originals[1](source, *rest)

    def save(explanation: Any, *rest: Any, **more: Any) -> Any:
        write(explanation.source.timeline.path.stem)
        return originals[2](explanation, *rest, **more)

    monkeypatch.setattr(batch, "read_clip", read_clip)
    monkeypatch.setattr(batch, "explain", explain)
    monkeypatch.setattr(batch, "save", save)


def test_outcomes_come_in_the_order_of_the_clips(
    request_of: Callable[..., Request], items_of: Callable[..., list[Item]], tmp_path: Path
) -> None:
    """With their files; a second run leaves them as they are."""
    request, items = request_of(), items_of(*NAMES)
    network = prepare(request)
    assert stems(run(request, network, items)) == list(NAMES)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert {path.name for path in before} == {f"{name}.tiem.json" for name in NAMES}
    again = run(request, network, items)
    assert [isinstance(outcome, Finished) and outcome.kept for outcome in again] == [True] * 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert all(explained_before(item, request, network) for item in items)


def test_a_result_of_an_older_version_or_of_another_search_is_made_again(
    request_of: Callable[..., Request], items_of: Callable[..., list[Item]]
) -> None:
    """One that lacks a field, or that was found without shared work where it is shared now."""
    request, items = request_of(), items_of("first")
    network = prepare(request)
    (made,) = run(request, network, items)
    otherwise = replace(request, settings=replace(request.settings, reuse="off"))
    assert not explained_before(items[0], otherwise, network)
    older = json.loads(items[0].result.read_text())
    del older["cost"]["computed"]
    items[0].result.write_text(json.dumps(older))
    (again,) = run(request, network, items)
    assert isinstance(made, Finished)
    assert isinstance(again, Finished)
    assert not again.kept
    assert again.result.masks == made.result.masks


def test_the_stages_are_timed(
    request_of: Callable[..., Request], items_of: Callable[..., list[Item]]
) -> None:
    """Reading counts, though it was done while another clip was scored."""
    request = request_of()
    for outcome in run(request, prepare(request), items_of("first", "second")):
        assert isinstance(outcome, Finished)
        assert set(outcome.result.cost.seconds) == {"read", "temporal", "masks"}


def test_the_next_clip_is_read_and_the_last_is_written_while_one_is_scored(
    monkeypatch: pytest.MonkeyPatch,
    request_of: Callable[..., Request],
    items_of: Callable[..., list[Item]],
) -> None:
    """The scoring of each clip waits here for both, and they for it."""
    reads, scores, writes = ({name: Event() for name in NAMES} for _ in range(3))
    following = dict(pairwise(NAMES))
    before = {name: other for other, name in following.items()}

    def score(name: str) -> None:
        scores[name].set()
        if name in following:
            within(reads[following[name]])
        if name in before:
            within(writes[before[name]])

    def write(name: str) -> None:
        writes[name].set()
        if name in following:
            within(scores[following[name]])

    watch(monkeypatch, read=lambda name: reads[name].set(), score=score, write=write)
    request = request_of()
    assert stems(run(request, prepare(request), items_of(*NAMES))) == list(NAMES)


def test_no_more_than_one_clip_is_read_ahead(
    monkeypatch: pytest.MonkeyPatch,
    request_of: Callable[..., Request],
    items_of: Callable[..., list[Item]],
) -> None:
    """When a clip begins to be scored, of those after the next one nothing has been read."""
    read: list[str] = []
    ahead: list[int] = []
    watch(monkeypatch, read=read.append, score=lambda name: ahead.append(len(read)))
    request = request_of()
    run(request, prepare(request), items_of(*NAMES))
    assert all(count <= index + 2 for index, count in enumerate(ahead))


@pytest.mark.parametrize(
    "error", [OutputError("no room"), ZeroDivisionError("a bug"), MemoryError()]
)
@pytest.mark.parametrize("step", ["read", "score", "write"])
def test_one_that_fails_in_the_middle_does_not_end_the_run(
    step: str,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    request_of: Callable[..., Request],
    items_of: Callable[..., list[Item]],
) -> None:
    """Whatever it fails of, a bug included, the others have their results."""

    def fail(name: str) -> None:
        if name == "second":
            raise error

    watch(monkeypatch, **{step: fail})
    request, items = request_of(), items_of("first", "second", "third")
    outcomes = run(request, prepare(request), items)
    assert stems(outcomes) == ["first", "second failed", "third"]
    assert isinstance(outcomes[1], Failure)
    assert "ZeroDivisionError" in getattr(outcomes[1].error, "trace", "ZeroDivisionError")
    assert not items[1].result.exists()


@pytest.mark.parametrize("step", ["read", "score"])
def test_what_ends_the_run_comes_after_what_is_finished(
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    request_of: Callable[..., Request],
    items_of: Callable[..., list[Item]],
) -> None:
    """A mistake in the request, met in the second clip, is raised as it is, once the first clip has
    been told, and leaves no thread behind."""

    def fail(name: str) -> None:
        if name == "second":
            raise UsageError("no such thing")

    watch(monkeypatch, **{step: fail})
    request, heard = request_of(), Heard()
    network, threads = prepare(request), active_count()
    with pytest.raises(UsageError):
        run(request, network, items_of("first", "second", "third"), heard)
    assert stems(heard.outcomes) == ["first"]
    assert active_count() == threads


def test_an_interrupt_ends_reading_and_writing_and_leaves_nothing_half_done(
    monkeypatch: pytest.MonkeyPatch,
    request_of: Callable[..., Request],
    items_of: Callable[..., list[Item]],
    tmp_path: Path,
) -> None:
    """Both threads are busy without end when it comes."""
    reading, writing = Event(), Event()

    def busy(event: Event) -> None:
        event.set()
        while True:
            time.sleep(0.01)

    def read(name: str) -> None:
        if name == "third":
            busy(reading)

    def score(name: str) -> None:
        if name == "second":
            within(reading)
            within(writing)
            raise KeyboardInterrupt

    def write(name: str) -> None:
        with replacing(tmp_path / "out" / "first.mp4") as part:
            part.write_text("half")
            busy(writing)

    (tmp_path / "out").mkdir()
    watch(monkeypatch, read=read, score=score, write=write)
    request = request_of()
    network, threads = prepare(request), active_count()
    with pytest.raises(KeyboardInterrupt):
        run(request, network, items_of("first", "second", "third"))
    assert active_count() == threads
    assert list((tmp_path / "out").iterdir()) == []


def test_each_clip_is_hashed_and_the_network_loaded_once(
    monkeypatch: pytest.MonkeyPatch,
    request_of: Callable[..., Request],
    items_of: Callable[..., list[Item]],
) -> None:
    """A run makes no session: all of them come with the network."""
    request = request_of()
    network = prepare(request)
    hashed: list[str] = []
    sha256 = batch.sha256

    def counted(path: Path) -> str:
        hashed.append(path.stem)
        return sha256(path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a session is made while clips are explained")

    monkeypatch.setattr(batch, "sha256", counted)
    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    assert stems(run(request, network, items_of(*NAMES))) == list(NAMES)
    assert hashed == list(NAMES)


def test_a_clip_that_is_written_to_between_hash_and_frames_has_no_result(
    request_of: Callable[..., Request],
    items_of: Callable[..., list[Item]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its result would bear the hash of another clip."""
    (item,) = items_of("first")

    def read_after_a_write(path: Path, *rest: Any) -> Any:
        path.write_bytes(path.read_bytes() + b" ")
        return read_clip(path, *rest)

    read_clip = batch.read_clip
    monkeypatch.setattr(batch, "read_clip", read_after_a_write)
    request = request_of()
    (outcome,) = run(request, prepare(request), [item])
    assert isinstance(outcome, Failure)
    assert "was written to while it was read" in outcome.error.message
    assert not item.result.exists()
