"""Several clips in one run: in order, overlapping, and none of them ends the others."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event, active_count
from typing import Any

import av
import numpy as np
import pytest

from tiemcli import batch
from tiemcli.batch import Failure, Finished, Request, explained_before, prepare, result_path, run
from tiemcli.errors import OutputError, UsageError
from tiemcli.facts import Facts
from tiemcli.outputs.atomic import replacing
from tiemcli.progress import Silent
from tiemcli.settings import Settings

PATIENCE = 60  # seconds, for what must happen
NAMES = ("first", "second", "third", "fourth")


@pytest.fixture
def request_of(tmp_path: Path, build_network: Callable[..., Path]) -> Callable[..., Request]:
    """A request for clips of these names, each of six frames."""

    def build(*names: str, **settings: Any) -> Request:
        settings = {"backend": "finite-difference", "queries": 4, "formats": ("json",)} | settings
        return Request(
            clips=tuple(record(tmp_path / f"{name}.mkv") for name in names),
            model=build_network(),
            facts=Facts(),
            settings=Settings(**settings),
            folder=tmp_path / "out",
            device="cpu",
            batch_size=2,
            force=False,
        )

    return build


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


def stems(outcomes: Iterator[Finished | Failure]) -> list[str]:
    return [
        f"{outcome.path.stem} failed"
        if isinstance(outcome, Failure)
        else Path(outcome.result.clip.path).stem
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
    originals = batch.read_clip, batch.explain, batch._write_files

    def read_clip(path: Path, *rest: Any) -> Any:
        read(path.stem)
        return originals[0](path, *rest)

    def explain(source: Any, *rest: Any) -> Any:
        score(source.timeline.path.stem)
        return originals[1](source, *rest)

    def write_files(explanation: Any, *rest: Any) -> Any:
        write(explanation.source.timeline.path.stem)
        return originals[2](explanation, *rest)

    monkeypatch.setattr(batch, "read_clip", read_clip)
    monkeypatch.setattr(batch, "explain", explain)
    monkeypatch.setattr(batch, "_write_files", write_files)


def test_outcomes_come_in_the_order_of_the_clips(request_of: Callable[..., Request]) -> None:
    """Each once, however often it is named, with its files; a second run leaves them as they are."""
    request = request_of(*NAMES)
    request = replace(request, clips=(*request.clips, request.clips[0]))
    network = prepare(request)
    assert stems(run(request, network, Silent())) == list(NAMES)
    before = {path: path.stat().st_mtime_ns for path in request.folder.iterdir()}
    assert {path.name for path in before} == {f"{name}.tiem.json" for name in NAMES}
    again = list(run(request, network, Silent()))
    assert [outcome.explanation for outcome in again] == [None] * len(NAMES)
    assert {path: path.stat().st_mtime_ns for path in request.folder.iterdir()} == before
    assert all(explained_before(clip, request, network) for clip in request.clips)


def test_a_result_of_an_older_version_or_of_another_search_is_made_again(
    request_of: Callable[..., Request],
) -> None:
    """One that lacks a field, or that was found without shared work where it is shared now."""
    request = request_of("first")
    network = prepare(request)
    (made,) = run(request, network, Silent())
    assert not explained_before(
        request.clips[0], replace(request, settings=replace(request.settings, reuse="off")), network
    )
    path = result_path(request.clips[0], request.folder)
    older = json.loads(path.read_text())
    del older["cost"]["computed"]
    path.write_text(json.dumps(older))
    (again,) = run(request, network, Silent())
    assert again.explanation is not None
    assert again.result.masks == made.result.masks


def test_the_stages_are_timed(request_of: Callable[..., Request]) -> None:
    """Reading counts, though it was done while another clip was scored."""
    request = request_of("first", "second")
    for outcome in run(request, prepare(request), Silent()):
        assert set(outcome.result.cost.seconds) == {"read", "temporal", "masks"}
        assert outcome.explanation.seconds["read"] > 0


def test_the_next_clip_is_read_and_the_last_is_written_while_one_is_scored(
    monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request]
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
    request = request_of(*NAMES)
    assert stems(run(request, prepare(request), Silent())) == list(NAMES)


def test_no_more_than_one_clip_is_read_ahead(
    monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request]
) -> None:
    """When a clip begins to be scored, of those after the next one nothing has been read."""
    read: list[str] = []
    ahead: list[int] = []
    watch(monkeypatch, read=read.append, score=lambda name: ahead.append(len(read)))
    request = request_of(*NAMES)
    list(run(request, prepare(request), Silent()))
    assert all(count <= index + 2 for index, count in enumerate(ahead))


def test_one_that_fails_in_the_middle_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request]
) -> None:
    """Neither one that cannot be read nor one that cannot be written."""

    def write(name: str) -> None:
        if name == "third":
            raise OutputError("no room")

    watch(monkeypatch, write=write)
    request = request_of(*NAMES)
    request.clips[1].write_text("no video")
    found = stems(run(request, prepare(request), Silent()))
    assert found == ["first", "second failed", "third failed", "fourth"]
    assert not result_path(request.clips[2], request.folder).exists()


@pytest.mark.parametrize("step", ["read", "score", "write"])
def test_what_ends_the_run_comes_after_what_is_finished(
    step: str, monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request]
) -> None:
    """A mistake in the request, or a bug, of the second clip is raised as it is, once the first
    clip has been told, and leaves no thread behind."""

    def fail(name: str) -> None:
        if name == "second":
            raise ZeroDivisionError if step == "write" else UsageError("no such thing")

    watch(monkeypatch, **{step: fail})
    request = request_of("first", "second", "third")
    network, threads = prepare(request), active_count()
    outcomes = run(request, network, Silent())
    assert next(outcomes).result.clip.path == str(request.clips[0])
    with pytest.raises((UsageError, ZeroDivisionError)):
        next(outcomes)
    assert active_count() == threads


def test_an_interrupt_ends_reading_and_writing_and_leaves_nothing_half_done(
    monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request], tmp_path: Path
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

    watch(monkeypatch, read=read, score=score, write=write)
    request = request_of("first", "second", "third")
    network, threads = prepare(request), active_count()
    with pytest.raises(KeyboardInterrupt):
        next(run(request, network, Silent()))
    assert active_count() == threads
    assert list(request.folder.iterdir()) == []


def test_an_interrupt_comes_after_what_is_finished(
    monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request]
) -> None:
    """The first clip, whose files are there, is told before the interrupt goes on."""
    request = request_of("first", "second")

    def score(name: str) -> None:
        if name == "second":
            deadline = time.monotonic() + PATIENCE
            while not result_path(request.clips[0], request.folder).exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.2)
            raise KeyboardInterrupt

    watch(monkeypatch, score=score)
    outcomes = run(request, prepare(request), Silent())
    assert next(outcomes).result.clip.path == str(request.clips[0])
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)


def test_a_run_that_nobody_follows_to_its_end_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request]
) -> None:
    """Whoever stops asking for outcomes stops the reading too."""
    request = request_of(*NAMES)
    network, threads = prepare(request), active_count()
    outcomes = run(request, network, Silent())
    next(outcomes)
    outcomes.close()
    assert active_count() == threads


def test_each_clip_is_hashed_and_the_network_loaded_once(
    monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., Request]
) -> None:
    """A run makes no session: all of them come with the network."""
    request = request_of(*NAMES)
    network = prepare(request)
    hashed: list[str] = []
    sha256 = batch._sha256

    def counted(path: Path) -> str:
        hashed.append(path.stem)
        return sha256(path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a session is made while clips are explained")

    monkeypatch.setattr(batch, "_sha256", counted)
    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    assert stems(run(request, network, Silent())) == list(NAMES)
    assert hashed == list(NAMES)
