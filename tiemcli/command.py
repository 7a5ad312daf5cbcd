"""What each command does, once its options are read."""

import json
import math
import re
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from tiemcli.batch import (
    Failure,
    Finished,
    Request,
    explained_before,
    prepare,
    result_path,
    run,
)
from tiemcli.errors import ClipError, UsageError
from tiemcli.outputs import gallery
from tiemcli.result import Result, readable
from tiemcli.scorers.network import Network
from tiemcli.settings import Backend, Settings
from tiemcli.terminal import (
    Terminal,
    print_demo,
    print_error,
    print_networks,
    print_result,
    print_whitebox,
)

INTERRUPTED = 130
# Where an option may come from, strongest first.
STRENGTH = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")


@dataclass(frozen=True)
class Talk:
    """How a command speaks. json, jsonl: stdout is a document, or a line a clip."""

    json: bool = False
    jsonl: bool = False
    quiet: bool = False
    verbose: bool = False


def parse_areas(
    area: float | None, areas: str | None, sources: Sequence[str]
) -> tuple[float, ...] | None:
    """--area or --areas as shares, None if neither is given.

    sources: where each comes from, by click's names; the stronger source wins.
    """
    if area is not None and areas is not None:
        strength = [STRENGTH.index(source) for source in sources]
        if strength[0] == strength[1]:
            raise UsageError("--area and --areas are both given", "give one of them")
        area, areas = (area, None) if strength[0] < strength[1] else (None, areas)
    if areas is None:
        return None if area is None else (area,)
    try:
        return tuple(sorted({float(part) for part in areas.split(",")}))
    except ValueError:
        raise UsageError(f"--areas {areas}", "give shares such as .05,.1,.2") from None


def parse_batch_size(text: str) -> int | None:
    """--batch-size, None for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--batch-size {text}", "give auto or a number of clips")
    return int(text)


def parse_memory(text: str) -> int | None:
    """--memory in bytes, None for auto."""
    if text == "auto":
        return None
    found = re.fullmatch(r"(\d*\.?\d+)\s*([KMGT]?)(I?)B?", text.upper())
    if found is None or not 0 < float(found[1]) < math.inf:
        raise UsageError(f"--memory {text}", "give auto or a size such as 4GB or 500MB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** "_KMGT".index(unit or "_"))


def explain(request: Request, talk: Talk, dry_run: bool) -> int:
    """Explain the clips, tell the outcome, and return the exit code."""
    if talk.json + talk.jsonl + dry_run > 1:
        raise UsageError("--json, --jsonl and --dry-run do not go together", "give one of them")
    network = prepare(request)
    if dry_run:
        return _say_what_would_be_done(request, network)
    results: list[Result] = []
    failures: list[Failure] = []
    interrupted = False
    with Terminal(quiet=talk.quiet) as terminal:
        if network.notes:
            terminal.note(f"assumed: {'; '.join(network.notes)}")
        if network.reuse is not None:
            terminal.note(network.reuse.description)
        try:
            for outcome in run(request, network, terminal):
                terminal.close()
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                    print_error(outcome.error)
                else:
                    if results and not (talk.json or talk.jsonl or talk.quiet):
                        print()
                    results.append(outcome.result)
                    _tell(outcome, request.folder, talk, terminal)
                if talk.jsonl:
                    print(json.dumps(_record(outcome)), flush=True)
        except KeyboardInterrupt:
            terminal.note("interrupted: finished clips are kept, the same command goes on")
            interrupted = True
        if len(request.clips) > 1:
            terminal.note(f"{len(results)} explained, {len(failures)} failed")
    if talk.json:
        document = {
            "results": [json.loads(result.to_json()) for result in results],
            "failures": [_record(failure) for failure in failures],
        }
        print(json.dumps(document, indent=2))
    if interrupted:
        return INTERRUPTED
    return 1 if failures else 0


def _say_what_would_be_done(request: Request, network: Network) -> int:
    failed = False
    for clip in request.clips:
        try:
            done = explained_before(clip, request, network)
        except ClipError as error:
            print_error(error)
            failed = True
            continue
        where = readable(result_path(clip, request.folder))
        print(f"{readable(clip)} -> {where}{' (explained before)' if done else ''}")
    return 1 if failed else 0


def _tell(finished: Finished, folder: Path, talk: Talk, terminal: Terminal) -> None:
    result = finished.result
    name = Path(result.clip.path).name
    for warning in result.warnings:
        terminal.note(f"warning: {name}: {warning}", "yellow")
    if result.backend == "finite-difference" and result.settings["backend"] == "auto":
        terminal.note(f"{name}: no gradients, queries instead: {result.backend_reason}")
    if talk.verbose:
        spent = ", ".join(f"{stage} {seconds} s" for stage, seconds in result.cost.seconds.items())
        terminal.note(f"{name}: {', '.join(result.model.providers)}; {spent}")
    if not (talk.json or talk.jsonl or talk.quiet):
        print_result(result, folder, kept=finished.explanation is None)


def _record(outcome: Finished | Failure) -> dict[str, Any]:
    if isinstance(outcome, Finished):
        record: dict[str, Any] = json.loads(outcome.result.to_json())
        return record
    return {
        "path": readable(outcome.path),
        "error": outcome.error.message,
        "hint": outcome.error.hint,
    }


def demo(folder: Path, backend: Backend, *, open_page: bool) -> int:
    """Explain the sample and say how much of the importance falls on its signature frames."""
    from tiemcli.facts import Facts

    with as_file(files("tiemcli.samples")) as samples:
        truth = json.loads((samples / "truth.json").read_text(encoding="utf-8"))
        request = Request(
            clips=(samples / truth["clip"],),
            model=samples / truth["network"],
            facts=Facts(),
            settings=Settings(backend=backend, formats=("mp4", "json", "html")),
            folder=folder,
            device="auto",
            batch_size=None,
            force=True,
            signature=tuple(truth["signature"]),
        )
        network = prepare(request)
        with Terminal(quiet=False) as terminal:
            (outcome,) = run(request, network, terminal)
    if isinstance(outcome, Failure):
        raise outcome.error
    print_result(outcome.result, folder, kept=False)
    print_demo(outcome.result, truth)
    if open_page:
        webbrowser.open((folder / str(outcome.result.files.report)).resolve().as_uri())
    return 0


def report(folder: Path) -> None:
    """Write the gallery of a folder's results, and say where."""
    print(readable(gallery.write(folder)))


def schema() -> None:
    """Print the JSON Schema of a result."""
    print(json.dumps(Result.model_json_schema(by_alias=True), indent=2))


def whitebox(seeds: int, queries: int, as_json: bool) -> None:
    """Run the white-box benchmark and print its rows."""
    from tiemcli.bench.whitebox import run_whitebox

    with Terminal(quiet=False) as terminal:
        rows = list(run_whitebox(seeds, queries, terminal.note))
    if as_json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print_whitebox(rows, seeds)


def networks(only: str, *, as_json: bool, as_markdown: bool) -> None:
    """Make the files of many networks, try to differentiate them, and print a row each."""
    from tiemcli.bench.network_table import markdown
    from tiemcli.bench.networks import rows

    with Terminal(quiet=False) as terminal:
        table = list(rows(only, terminal.note))
    if not table:
        raise UsageError(
            f"--only {only}: no file of the zoo is named so", "leave it out to see all"
        )
    if as_json:
        print(json.dumps({"rows": [asdict(row) for row in table]}, indent=2))
    elif as_markdown:
        print(markdown(table, date.today()), end="")
    else:
        print_networks(table)


def speed(only: str, *, as_json: bool, as_markdown: bool) -> None:
    """Measure what tiem takes beside what else there is, and print a row for each comparison."""
    from tiemcli.bench.speed.comparison import rows
    from tiemcli.bench.speed.table import markdown, show

    began = time.perf_counter()
    with Terminal(quiet=False) as terminal:
        table = list(rows(only, terminal.note))
    if as_json:
        print(json.dumps({"rows": [asdict(row) for row in table]}, indent=2))
    elif as_markdown:
        print(markdown(table, date.today(), time.perf_counter() - began), end="")
    else:
        show(table)
