"""What `tiem explain` does, once its options are read: a light process that leaves the work to others."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tiemcli.errors import Bug, ClipError, TiemError, UsageError, shown
from tiemcli.outputs.folder import check_folder
from tiemcli.result import AskedRecord, Result, readable
from tiemcli.runs.claims import Claims, sweep
from tiemcli.runs.engine import Engine, Failure, Finished, Item
from tiemcli.runs.finding import Found, find_clips, shard
from tiemcli.runs.summary import Summary
from tiemcli.runs.supervisor import supervise
from tiemcli.terminal import Terminal, print_error, print_result, result_line
from tiemcli.wording import asked_text

if TYPE_CHECKING:
    from tiemcli.request import Request

# Why a run ended, besides that it was done.
INTERRUPTED = "interrupted"
MOST_FAILURES = "--max-failures"


@dataclass(frozen=True)
class Talk:
    """How a command speaks. json, jsonl: stdout is a document, or a line a clip."""

    json: bool = False
    jsonl: bool = False
    quiet: bool = False
    verbose: bool = False


@dataclass(frozen=True)
class Run:
    """Which clips a command explains, and how it goes about it.

    clips: files, folders and patterns. input_list: a file that names more. folder: where results go.
    shard: i/n, the part of the clips that is this run's. most_failures: at so many the run ends.
    timeout: seconds that a clip may take. isolate: work in processes that may crash. workers: how
    many side by side, None for as many as suit the engine. address: of a Ray cluster.
    """

    clips: tuple[str, ...]
    input_list: str | None
    folder: Path
    shard: str | None = None
    most_failures: int | None = None
    timeout: float | None = None
    isolate: bool = True
    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("max-failures", self.most_failures),
            ("timeout", self.timeout),
            ("workers", self.workers),
        ):
            if value is not None and not value > 0:
                raise UsageError(f"--{name} {value:g}", "give a number above 0, or leave it out")
        if self.engine != "ray" and self.address is not None:
            raise UsageError(f"--address {self.address} is of a Ray cluster", "add --engine ray")
        if not self.isolate:
            for flag, given in (
                ("--timeout", self.timeout is not None),
                ("--workers", self.workers is not None),
                ("--engine ray", self.engine == "ray"),
            ):
                if given:
                    raise UsageError(f"{flag} needs processes of its own", "leave out --no-isolate")


def explain(request: "Request", run: Run, talk: Talk, dry_run: bool) -> int:
    """Explain the clips, or say what would be done; returns the exit code."""
    if talk.json + talk.jsonl + dry_run > 1:
        raise UsageError("--json, --jsonl and --dry-run do not go together", "give one of them")
    if not dry_run:
        return explain_clips(request, run, talk).exit_code
    return _say_what_would_be_done(request, find_clips(run.clips, run.input_list, run.folder), run)


def explain_clips(request: "Request", run: Run, talk: Talk) -> "Told":
    """Explain the clips, telling of each, and return what has been told."""
    found = find_clips(run.clips, run.input_list, run.folder)
    items = found.items if run.shard is None else shard(found.items, run.shard)
    check_folder(run.folder)
    summary = Summary(run.folder, run.shard) if found.many else None
    folders = {item.result.parent for item in items}
    _sweep(folders)
    with Terminal(quiet=talk.quiet) as terminal:
        for note in found.notes:
            terminal.note(note)
        told = Told(items, run.folder, talk, terminal, many=found.many)
        stopped = None
        try:
            with (
                Claims() as claims,
                closing(
                    supervise(items, _engine(request, run, terminal), claims, told, run.timeout)
                ) as outcomes,
            ):
                for outcome in outcomes:
                    if summary is not None:
                        summary.tell(outcome)
                    told.outcome(outcome)
                    if len(told.failures) == run.most_failures:
                        stopped = f"{MOST_FAILURES} {run.most_failures}"
                        break
        except KeyboardInterrupt:
            stopped = INTERRUPTED
        except TiemError as error:
            stopped = error.message
            raise
        finally:
            _sweep(folders)
            if summary is not None and (told.anything or stopped is None):
                summary.finish(items, stopped)
            told.end(stopped)
    return told


def _sweep(folders: set[Path]) -> None:
    for folder in folders:
        sweep(folder)


def _engine(request: "Request", run: Run, terminal: Terminal) -> Engine:
    if run.engine == "ray":
        from tiemcli.runs.ray_engine import RayEngine

        return RayEngine(request, run.folder, run.address, run.workers, terminal.note)
    from tiemcli.runs.local import InThread, Processes

    return Processes(request, run.workers or 1) if run.isolate else InThread(request)


class Told:
    """What a run has told so far, and tells a person or a script of it.

    many: a line a clip instead of a table, and failures last.
    """

    def __init__(
        self, items: Sequence[Item], folder: Path, talk: Talk, terminal: Terminal, *, many: bool
    ) -> None:
        self._items, self._folder, self._talk = items, folder, talk
        self._terminal, self._many = terminal, many
        self._noted = False
        self._stopped: str | None = None
        self._asked: list[AskedRecord] = []
        self._kept = self._warned = 0
        self.results: dict[Item, Result] = {}
        self.failures: list[Failure] = []
        if many:
            terminal.stage("clips", len(items))

    @property
    def anything(self) -> bool:
        """Whether a clip has been told of."""
        return bool(self.results or self.failures)

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return 130 if self._stopped == INTERRUPTED else 1 if self.failures else 0

    def ready(self, notes: Sequence[str]) -> None:
        if not self._noted:
            for note in notes:
                self._terminal.note(note)
        self._noted = True

    def lost(self, reason: str) -> None:
        self._terminal.note(f"a worker {reason}; its clips are tried again", "yellow")

    def stage(self, name: str, total: int) -> None:
        if not self._many:
            self._terminal.stage(name, total)

    def advance(self, done: int) -> None:
        if not self._many:
            self._terminal.advance(done)

    def outcome(self, outcome: Finished | Failure) -> None:
        if self._many:
            self._terminal.advance(1)
        else:
            self._terminal.close()
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            if isinstance(outcome.error, Bug):
                self._terminal.trace(outcome.error.trace)
            if not self._many:
                print_error(outcome.error)
        else:
            self._finished(outcome)
        if self._talk.jsonl:
            print(json.dumps(_record(outcome)), flush=True)

    def _finished(self, finished: Finished) -> None:
        result, talk = finished.result, self._talk
        prints = not (talk.json or talk.jsonl or talk.quiet)
        if self.results and prints and not self._many:
            print()
        self.results[finished.item] = result
        self._kept += finished.kept
        self._warned += bool(result.warnings)
        if not finished.kept and result.cost.asked is not None:
            self._asked.append(result.cost.asked)
        clip = Path(result.clip.path).name
        if not self._many or talk.verbose:
            for warning in result.warnings:
                self._terminal.note(f"warning: {clip}: {warning}", "yellow")
            if result.backend == "finite-difference" and result.settings["backend"] == "auto":
                self._terminal.note(
                    f"{clip}: no gradients, queries instead: {result.backend_reason}"
                )
        if talk.verbose:
            stages = result.cost.seconds.items()
            spent = ", ".join(f"{stage} {seconds} s" for stage, seconds in stages)
            self._terminal.note(f"{clip}: {', '.join(result.model.providers)}; {spent}")
        if prints and self._many:
            name = finished.item.result.relative_to(self._folder)
            self._terminal.line(result_line(result, name, kept=finished.kept))
        elif prints:
            print_result(result, finished.item.result, kept=finished.kept)

    def _counts(self) -> str:
        explained, failed = len(self.results), len(self.failures)
        before = f" ({self._kept} of them before)" if self._kept else ""
        left = len(self._items) - explained - failed
        return f"{explained} explained{before}, {failed} failed" + (
            f", {left} not tried" if left else ""
        )

    def end(self, stopped: str | None) -> None:
        """Failures last, then how many of what; the document, if that is what stdout is for."""
        self._stopped = stopped
        self._terminal.close()
        if self._many:
            for failure in self.failures:
                print_error(failure.error)
        if self._asked:
            self._terminal.note(asked_text(self._asked))
        if len(self._items) > 1:
            self._terminal.note(self._counts())
        if self._warned and self._many and not self._talk.verbose:
            clips = "1 has" if self._warned == 1 else f"{self._warned} have"
            self._terminal.note(f"{clips} warnings: see summary.jsonl", "yellow")
        if stopped == INTERRUPTED:
            self._terminal.note("interrupted: finished clips are kept, the same command goes on")
        elif stopped is not None and stopped.startswith(MOST_FAILURES):
            self._terminal.note(
                f"stopped by {stopped}: mend or remove what failed, which the same command tries again"
            )
        if self._talk.json:
            results = [self.results[item] for item in self._items if item in self.results]
            document = {
                "results": [json.loads(result.to_json()) for result in results],
                "failures": [_record(failure) for failure in self.failures],
            }
            print(json.dumps(document, indent=2))


def _say_what_would_be_done(request: "Request", found: Found, run: Run) -> int:
    from tiemcli.batch import explained_before, prepare

    network = prepare(request)
    failed = False
    for item in found.items if run.shard is None else shard(found.items, run.shard):
        try:
            done = explained_before(item, request, network)
        except ClipError as error:
            print_error(error)
            failed = True
            continue
        before = " (explained before)" if done else ""
        print(shown(f"{readable(item.clip)} -> {readable(item.result)}{before}"))
    return 1 if failed else 0


def _record(outcome: Finished | Failure) -> dict[str, Any]:
    if isinstance(outcome, Finished):
        record: dict[str, Any] = json.loads(outcome.result.to_json())
        return record
    return {
        "path": readable(outcome.item.clip),
        "error": outcome.error.message,
        "hint": outcome.error.hint,
    }
