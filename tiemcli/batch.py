"""Explain clips one after another with one network: what runs inside a worker."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tiemcli.beside import Task, stop
from tiemcli.clip_file import require_unchanged, version_of
from tiemcli.errors import (
    Bug,
    ClipError,
    DeviceError,
    ModelError,
    TiemError,
    UsageError,
    bug,
    shown,
)
from tiemcli.fingerprint import fingerprint, sha256
from tiemcli.kernels.windows import window_sizes
from tiemcli.outputs.saving import save
from tiemcli.pipeline import Explanation, Source, explain, read_clip
from tiemcli.progress import Progress
from tiemcli.request import Request
from tiemcli.result import Result, readable
from tiemcli.runs.engine import Failure, Finished, Item, Outcome
from tiemcli.scorers.loading import load
from tiemcli.scorers.network import Network
from tiemcli.settings import Settings


class Listener(Progress, Protocol):
    """Who is told of a run over clips, from more than one thread."""

    def scored(self) -> None:
        """The oldest clip that was not scored has been; its outputs are being written."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """A clip is done with."""
        ...


@dataclass(frozen=True)
class _Reading:
    """A clip ready to be scored."""

    item: Item
    sha256: str
    fingerprint: str
    source: Source


@dataclass(frozen=True)
class _Scored:
    """A clip whose outputs are to be written."""

    reading: _Reading
    explanation: Explanation


def prepare(request: Request) -> Network:
    """Check all that can be checked without a clip, and load the network."""
    network = load(
        request.model,
        request.facts,
        request.device,
        request.batch_size,
        request.memory,
        request.settings.reuse == "auto",
        request.settings.precision,
        request.connection,
        request.custom_ops,
    )
    require_fit(request.settings, network)
    return network


def require_fit(settings: Settings, network: Network) -> None:
    """See that what is asked for can be asked of the network. Raises UsageError."""
    try:
        window_sizes(network.model.sizes["T"], settings.window_choice)
    except ValueError as error:
        raise UsageError(f"--windows {settings.windows}: {error}") from error
    wished = settings.target_score
    if wished is not None and network.port.output_kind != "value" and not 0 < wished <= 1:
        raise UsageError(f"--target-score {wished}", "a probability is in (0, 1]")


def run(
    request: Request, network: Network, receive: Callable[[], Item | None], listener: Listener
) -> None:
    """Explain the clips in order, until `receive` gives None.

    While a clip is scored, the next one is received and read and the outputs of the one before are
    written, each in a thread; so no more than three clips are held. Raises what is no single clip's
    fault: ModelError, DeviceError or UsageError, after the clips before it are finished; at an
    interrupt both threads end, and leave nothing half-written.
    """
    reading = Task(partial(_read_next, receive, request, network))
    writing: Task[None] | None = None
    try:
        while (read := reading.result()) is not None:
            reading = Task(partial(_read_next, receive, request, network))
            scored = _score(read, request, network, listener)
            listener.scored()
            if writing is not None:
                writing.result()
            writing = Task(partial(_finish, scored, request, listener))
        if writing is not None:
            writing.result()
    except TiemError:
        if writing is not None:
            writing.result()
        raise
    finally:
        stop(task for task in (reading, writing) if task is not None)


def explained_before(item: Item, request: Request, network: Network) -> bool:
    """Whether `run` would skip this clip. Raises ClipError if it cannot be opened."""
    return (
        _standing(item, request, fingerprint(sha256(item.clip), network.model, request.settings))
        is not None
    )


def _read_next(
    receive: Callable[[], Item | None], request: Request, network: Network
) -> _Reading | Outcome | None:
    """All that can be known of the next clip without scoring it; None if there is none."""
    item = receive()
    if item is None:
        return None
    try:
        version = version_of(item.clip)
        clip_sha256 = sha256(item.clip)
        wanted = fingerprint(clip_sha256, network.model, request.settings)
        earlier = _standing(item, request, wanted)
        if earlier is not None:
            return Finished(item, earlier, kept=True)
        source = read_clip(item.clip, network.model, request.settings)
        require_unchanged(item.clip, version)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it does not end the other clips
        return Failure(item, _reason(error))
    return _Reading(item, clip_sha256, wanted, source)


def _score(
    read: _Reading | Outcome, request: Request, network: Network, progress: Progress
) -> _Scored | Outcome:
    if not isinstance(read, _Reading):
        return read
    try:
        return _Scored(read, explain(read.source, network, request.settings, progress))
    except (UsageError, ModelError, DeviceError):
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it does not end the other clips
        return Failure(read.item, _reason_of(read.item, error))


def _finish(scored: _Scored | Outcome, request: Request, listener: Listener) -> None:
    """Write the outputs of a clip, and tell of it."""
    if isinstance(scored, _Scored):
        reading, explanation = scored.reading, scored.explanation
        item = reading.item
        try:
            result = save(
                explanation,
                item.result,
                reading.fingerprint,
                reading.sha256,
                signature=request.signature,
            )
            scored = Finished(item, result, kept=False)
        except Exception as error:  # noqa: BLE001  whatever it is, it does not end the other clips
            scored = Failure(item, _reason(error))
    listener.outcome(scored)


def _reason_of(item: Item, error: Exception) -> TiemError:
    """The same, with the clip's name where the network's side does not know it."""
    reason, name = _reason(error), readable(item.clip)
    if isinstance(reason, Bug) or shown(name) in reason.message:
        return reason
    return ClipError(f"{name}: {reason.message}", reason.hint)


def _reason(error: Exception) -> TiemError:
    """Why a clip has no result."""
    if isinstance(error, TiemError):
        return error
    if isinstance(error, MemoryError):
        return ClipError(
            "there is no memory for it", "free memory, or explain a part by --start and --end"
        )
    return bug(error)


def _standing(item: Item, request: Request, wanted: str) -> Result | None:
    """The result of an earlier run, if it is whole, the same, and its files are still there."""
    target = item.result
    try:
        result = Result.model_validate(json.loads(target.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    if request.force or result.fingerprint != wanted:
        return None
    names = result.files.model_dump(exclude_none=True).values()
    return result if all(target.with_name(name).exists() for name in names) else None
