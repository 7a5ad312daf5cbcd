"""What became of each clip of a run: a line each as they finish, and one document at the end."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from os import SEEK_END
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from tiemcli.errors import OutputError, UsageError
from tiemcli.outputs.atomic import replacing, unwritable
from tiemcli.result import readable
from tiemcli.runs.engine import Failure, Finished, Item
from tiemcli.runs.lock import Lock

_PATIENCE = 60.0  # seconds, for another run to append its line
_START = b'{"clip":'

Count = Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(_Document):
    """What was explained: the output's index, its label if known, and Φ of the whole clip."""

    index: Count
    label: str | None
    score: float | None


class Entry(_Document):
    """What became of one clip: a line of `summary.jsonl`.

    clip: as it was given. kept: explained by an earlier run, and the same still. result: the JSON,
    relative to the folder of the summary. peak: time in the clip of the sampled frame of the largest
    importance, in seconds. masked_score, area: Φ under the hard mask to look at (the smallest that is
    enough, or else the largest), and the share of the clip asked for. seconds: what explaining took,
    when it was done. error, hint: why there is no result. time: UTC. Numbers that are not finite are
    null; of a failed clip all is null but clip, status, error, hint and time.
    """

    clip: str
    status: Literal["explained", "kept", "failed"]
    result: str | None = None
    target: Target | None = None
    peak: float | None = None
    masked_score: float | None = None
    area: float | None = None
    seconds: float | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None
    hint: str | None = None
    time: str


class Counts(_Document):
    """How many clips of a run ended how. not_tried: it was stopped before, or another run had them."""

    explained: Count
    kept: Count
    failed: Count
    not_tried: Count


class Document(_Document):
    """What became of all clips of a run: `summary.json`, by the order of their paths.

    shard: the share of all clips that the run was over, such as 2/8. seconds: of the run. stopped:
    why it ended before its clips did."""

    schema_: Literal["tiem-summary/1"] = Field(default="tiem-summary/1", alias="schema")
    created: str
    shard: str | None
    counts: Counts
    seconds: float
    stopped: str | None
    results: list[Entry]
    failures: list[Entry]

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=2)


class Summary:
    """The summary of a run over clips: `summary.jsonl` and `summary.json` in the folder of its
    results, or with shard "2/8" `summary.2-of-8.jsonl` and `summary.2-of-8.json`.

    Several runs may write the same lines' file at once. Nothing is written before the first clip is
    told of. Raises UsageError if there are such files that tiem did not write.
    """

    def __init__(self, folder: Path, shard: str | None = None) -> None:
        name = "summary" if shard is None else f"summary.{shard.replace('/', '-of-')}"
        self._folder, self._shard = folder, shard
        self._lines, self._document = folder / f"{name}.jsonl", folder / f"{name}.json"
        self._lock = Lock(folder, name)
        self._began = time.monotonic()
        self._told: dict[Path, Entry] = {}
        self._last: dict[str, int] = {}
        self._read = 0
        _check_ours(self._lines, self._document)

    def tell(self, outcome: Finished | Failure) -> None:
        """Append the clip's line, unless its last one says the same, whether explained or kept.

        So a resumed run repeats nothing, and completes what the one before was killed before it
        could write. Raises OutputError.
        """
        entry = self._told[outcome.item.clip] = _entry(outcome, self._folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._lock.take(_PATIENCE):
                raise OutputError(
                    f"{readable(self._lines)} is in use for {_PATIENCE:.0f} s",
                    "end the other run, or choose another folder with -o",
                )
            try:
                self._append(entry)
            finally:
                self._lock.free()
        except OSError as error:
            raise unwritable(self._lines, error) from error

    def finish(self, items: Iterable[Item], stopped: str | None = None) -> Document:
        """Write the document. items: all of the run, told of or not. stopped: why it ended before
        them, None if it did not. Raises OutputError."""
        told = [self._told.get(item.clip) for item in items]
        entries = sorted((entry for entry in told if entry), key=lambda entry: entry.clip)
        counts = {
            status: sum(entry.status == status for entry in entries)
            for status in ("explained", "kept", "failed")
        }
        document = Document(
            schema="tiem-summary/1",
            created=_now(),
            shard=self._shard,
            counts=Counts(**counts, not_tried=told.count(None)),
            seconds=round(time.monotonic() - self._began, 3),
            stopped=stopped,
            results=[entry for entry in entries if entry.status != "failed"],
            failures=[entry for entry in entries if entry.status == "failed"],
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._document) as part:
                part.write_text(document.to_json() + "\n", encoding="utf-8")
            if self._lock.take():
                self._lock.discard()
        except OSError as error:
            raise unwritable(self._document, error) from error
        return document

    def _append(self, entry: Entry) -> None:
        with self._lines.open("a+b") as file:
            torn = self._catch_up(file)
            if self._last.get(entry.clip) != _says(entry):
                file.write((b"\n" if torn else b"") + entry.model_dump_json().encode() + b"\n")

    def _catch_up(self, file: BinaryIO) -> bool:
        """Read what was appended, by whatever run; whether it ends within a line."""
        if file.seek(0, SEEK_END) < self._read:  # somebody removed it
            self._read, self._last = 0, {}
        file.seek(self._read)
        whole, newline, torn = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        self._last.update((entry.clip, _says(entry)) for entry in _entries(whole))
        return bool(torn)


def read(folder: Path) -> tuple[Entry, ...]:
    """The latest line of each clip in all summaries of a folder, sorted by clip. Raises OutputError."""
    latest: dict[str, Entry] = {}
    for path in sorted(folder.glob("summary*.jsonl")):
        try:
            lines = path.read_bytes()
        except OSError as error:
            raise OutputError(
                f"{readable(path)} cannot be read: {error.strerror}",
                "give a folder that you may read",
            ) from error
        for entry in _entries(lines):
            if entry.clip not in latest or latest[entry.clip].time <= entry.time:
                latest[entry.clip] = entry
    return tuple(latest[clip] for clip in sorted(latest))


def _entries(lines: bytes) -> Iterator[Entry]:
    """What lines say, but those that a killed run left torn."""
    for line in lines.split(b"\n"):
        with suppress(ValidationError):
            yield Entry.model_validate_json(line)


def _says(entry: Entry) -> int:
    """A hash of an entry but for what differs when an earlier run's result is kept."""
    status = "explained" if entry.status == "kept" else entry.status
    return hash(entry.model_copy(update={"status": status, "time": ""}))


def _entry(outcome: Finished | Failure, folder: Path) -> Entry:
    clip = readable(outcome.item.clip)
    if isinstance(outcome, Failure):
        return Entry(
            clip=clip,
            status="failed",
            error=_text(outcome.error.message),
            hint=_text(outcome.error.hint),
            time=_now(),
        )
    result = outcome.result
    mask = next((mask for mask in result.masks if mask.smallest), result.masks[-1])
    importance = result.temporal.importance
    return Entry(
        clip=clip,
        status="kept" if outcome.kept else "explained",
        result=readable(Path(outcome.item.result.relative_to(folder).as_posix())),
        target=Target(
            index=result.target.index,
            label=None if result.target.label is None else _text(result.target.label),
            score=_finite(result.target.score),
        ),
        peak=_finite(result.clip.timestamps[importance.index(max(importance))]),
        masked_score=_finite(mask.score),
        area=mask.area,
        seconds=_finite(sum(result.cost.seconds.values())),
        warnings=tuple(map(_text, result.warnings)),
        time=_now(),
    )


def _text(text: str) -> str:
    """Text that any JSON takes: an error may quote a name that is no text."""
    return text.encode("utf-8", "replace").decode()


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check_ours(lines: Path, document: Path) -> None:
    for path, check in ((lines, _are_lines), (document, _is_document)):
        try:
            ours = check(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UsageError(
                f"{readable(path)} cannot be read: {error.strerror}",
                "choose another folder with -o",
            ) from error
        if not ours:
            raise UsageError(
                f"{readable(path)}: not written by tiem",
                "move it away, or choose another folder with -o",
            )


def _are_lines(content: bytes) -> bool:
    return content.startswith(_START[: len(content)])


def _is_document(content: bytes) -> bool:
    try:
        document = from_json(content)
    except ValueError:
        return False
    return isinstance(document, dict) and str(document.get("schema")).startswith("tiem-summary/")
