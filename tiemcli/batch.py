"""Explain clips one after another: a clip that fails does not end the run."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tiemcli import __version__
from tiemcli.beside import Task, stop
from tiemcli.errors import ClipError, OutputError, TiemError, UsageError
from tiemcli.explain import Explanation, Source, explain, read_clip
from tiemcli.facts import Facts
from tiemcli.kernels.windows import window_sizes
from tiemcli.model import Model, load_model
from tiemcli.outputs import arrays, document, masked_video
from tiemcli.outputs.atomic import replacing
from tiemcli.progress import Progress
from tiemcli.result import Result, readable
from tiemcli.scorers.network import Network, load_network
from tiemcli.settings import Settings


@dataclass(frozen=True)
class Request:
    """All that one command asks for. facts: what the user says of the network. memory: bytes for work
    that clips share, None to find out. force: explain again
    what is already explained. signature: the seconds that are known to be decisive, if any, for the
    report to mark."""

    clips: tuple[Path, ...]
    model: Path
    facts: Facts
    settings: Settings
    folder: Path
    device: str
    batch_size: int | None
    force: bool
    signature: tuple[float, float] | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Failure:
    """A clip without a result, and why."""

    path: Path
    error: TiemError


@dataclass(frozen=True)
class Finished:
    """A clip with a result. explanation: None where an earlier run's result still stands."""

    result: Result
    explanation: Explanation | None


@dataclass(frozen=True)
class Reading:
    """A clip ready to be scored."""

    sha256: str
    fingerprint: str
    source: Source


@dataclass(frozen=True)
class Scored:
    """A clip whose outputs are to be written."""

    reading: Reading
    explanation: Explanation


def prepare(request: Request) -> Network:
    """Check all that can be checked without writing, and load the network."""
    _check_names(request.clips)
    model = load_model(request.model, request.facts)
    try:
        window_sizes(model.sizes["T"], request.settings.window_choice)
    except ValueError as error:
        raise UsageError(f"--windows {request.settings.windows}: {error}") from error
    network = load_network(
        model,
        request.device,
        request.batch_size,
        request.memory,
        request.settings.reuse == "auto",
        request.settings.precision,
    )
    wished = request.settings.target_score
    if wished is not None and network.port.output_kind != "value" and not 0 < wished <= 1:
        raise UsageError(f"--target-score {wished}", "a probability is in (0, 1]")
    return network


def run(request: Request, network: Network, progress: Progress) -> Iterator[Finished | Failure]:
    """Explain the clips in order, each once.

    While a clip is scored, the next one is read and the outputs of the one before are written, each
    in a thread; so an outcome is told when the clip after it has been scored, and no more than three
    clips are held. An interrupt ends both threads.
    """
    check_folder(request.folder)
    clips = tuple(dict.fromkeys(request.clips))
    reading = Task(partial(_read, clips[0], request, network))
    writing: Task[Finished | Failure] | None = None
    try:
        for following in (*clips[1:], None):
            try:
                read = reading.result()
                if following is not None:
                    reading = Task(partial(_read, following, request, network))
                scored = _score(read, request, network, progress)
            except BaseException as error:
                # Whatever ends the run, what is finished is told; only an interrupt does not wait.
                if writing is not None and (
                    writing.done or not isinstance(error, KeyboardInterrupt)
                ):
                    yield writing.result()
                raise
            if writing is not None:
                yield writing.result()
            writing = Task(partial(_write, scored, request))
        if writing is not None:
            yield writing.result()
    finally:
        stop(task for task in (reading, writing) if task is not None)


def result_path(clip: Path, folder: Path) -> Path:
    return folder / f"{clip.stem}.tiem.json"


def explained_before(clip: Path, request: Request, network: Network) -> bool:
    """Whether `run` would skip this clip. Raises ClipError if it cannot be opened."""
    return _standing(clip, request, _fingerprint(_sha256(clip), network.model, request)) is not None


def _read(path: Path, request: Request, network: Network) -> Reading | Finished | Failure:
    """All that can be known of a clip without scoring it."""
    try:
        sha256 = _sha256(path)
        fingerprint = _fingerprint(sha256, network.model, request)
        earlier = _standing(path, request, fingerprint)
        if earlier is not None:
            return Finished(earlier, None)
        return Reading(sha256, fingerprint, read_clip(path, network.model, request.settings))
    except ClipError as error:
        return Failure(path, error)


def _score(
    read: Reading | Finished | Failure, request: Request, network: Network, progress: Progress
) -> Scored | Finished | Failure:
    if not isinstance(read, Reading):
        return read
    try:
        explanation = explain(read.source, network, request.settings, progress)
    except ClipError as error:
        return Failure(read.source.timeline.path, error)
    return Scored(read, explanation)


def _write(scored: Scored | Finished | Failure, request: Request) -> Finished | Failure:
    """Write the outputs of a clip, the result last, by which it is known to be finished."""
    if not isinstance(scored, Scored):
        return scored
    reading, explanation = scored.reading, scored.explanation
    path = explanation.source.timeline.path
    target = result_path(path, request.folder)
    try:
        files = _write_files(explanation, target, request.settings)
        result = document.describe(explanation, reading.fingerprint, reading.sha256, files)
        if result.files.report is not None:
            from tiemcli.outputs import report  # by way of Jinja

            report.write(
                target.with_name(files["report"]), explanation, result, signature=request.signature
            )
        with replacing(target) as part:
            part.write_text(result.to_json() + "\n", encoding="utf-8")
    except (ClipError, OutputError) as error:
        return Failure(path, error)
    return Finished(result, explanation)


def _write_files(explanation: Explanation, target: Path, settings: Settings) -> dict[str, str]:
    """Write what was asked for beside the result; the names by kind, the report's to be written."""
    files = {}
    stem = target.name.removesuffix(".tiem.json")
    if "mp4" in settings.formats:
        kind = "masked" if settings.style == "mask" else "overlay"
        files[kind] = f"{stem}.{'masked' if settings.style == 'mask' else settings.style}.mp4"
        source = explanation.source
        timeline = source.timeline
        masked_video.write(
            target.with_name(files[kind]),
            timeline,
            source.sampled,
            explanation.shown.hard,
            style=settings.style,
            importance=explanation.temporal.importance,
            view=explanation.network.model.preprocessing.view(timeline.width, timeline.height),
        )
    wanted = [kind for kind in ("png", "gif", "svg") if kind in settings.formats]
    if wanted:
        from tiemcli.outputs import pictures  # by way of Pillow

        for kind in wanted:
            files[kind] = f"{stem}.tiem.{kind}"
            pictures.WRITERS[kind](target.with_name(files[kind]), explanation)
    if "html" in settings.formats:
        files["report"] = f"{stem}.tiem.html"
    if "npz" in settings.formats:
        files["arrays"] = f"{stem}.tiem.npz"
        arrays.write(target.with_name(files["arrays"]), explanation)
    return files


def _standing(clip: Path, request: Request, fingerprint: str) -> Result | None:
    """The result of an earlier run, if it is whole, the same, and its files are still there."""
    target = result_path(clip, request.folder)
    try:
        result = Result.model_validate(json.loads(target.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    if request.force or result.fingerprint != fingerprint:
        return None
    names = result.files.model_dump(exclude_none=True).values()
    return result if all(target.with_name(name).exists() for name in names) else None


def _fingerprint(clip_sha256: str, model: Model, request: Request) -> str:
    """One hash of all that decides a result, by which a finished clip is recognised."""
    settings = request.settings
    torch = settings.backend != "finite-difference" and find_spec("torch") is not None
    parts = [__version__, torch, clip_sha256, model.sha256, model.reading(), settings.to_record()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ClipError(f"{readable(path)}: not a file", "give a video file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ClipError(f"{readable(path)}: no such file", "check the clip's path") from None
    except OSError as error:
        raise ClipError(f"{readable(path)}: {error.strerror}", "give a video file") from error


def _check_names(clips: Sequence[Path]) -> None:
    stems: dict[str, Path] = {}
    for clip in clips:
        other = stems.setdefault(clip.stem, clip)
        if other != clip:
            raise UsageError(
                f"{other} and {clip} would both write {clip.stem}.tiem.json",
                "explain them into different folders with -o",
            )


def check_folder(folder: Path) -> None:
    """Make the folder, and see that it can be written into. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {error.strerror}", "choose another folder with -o"
        ) from error
