"""What each command does, once its options are read."""

import json
import math
import re
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.resources import as_file, files
from pathlib import Path

from tiemcli.errors import UsageError
from tiemcli.result import Result, readable
from tiemcli.settings import Backend, Settings
from tiemcli.terminal import (
    Terminal,
    print_demo,
    print_networks,
    print_whitebox,
)

# Where an option may come from, strongest first.
STRENGTH = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")


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


def demo(folder: Path, backend: Backend, *, open_page: bool) -> int:
    """Explain the sample and say how much of the importance falls on its signature frames."""
    from tiemcli.command_explain import Run, Talk, explain_clips
    from tiemcli.facts import Facts
    from tiemcli.request import Request

    with as_file(files("tiemcli.samples")) as samples:
        truth = json.loads((samples / "truth.json").read_text(encoding="utf-8"))
        request = Request(
            model=str(samples / truth["network"]),
            facts=Facts(),
            settings=Settings(
                backend=backend, areas=(0.02, 0.05, 0.1), formats=("mp4", "json", "html")
            ),
            device="auto",
            batch_size=None,
            force=True,
            signature=tuple(truth["signature"]),
        )
        run = Run((str(samples / truth["clip"]),), None, folder)
        told = explain_clips(request, run, Talk())
    for result in told.results.values():
        print_demo(result, truth)
        if open_page:
            webbrowser.open((folder / str(result.files.report)).resolve().as_uri())
    return told.exit_code


def report(folder: Path) -> None:
    """Write the gallery of a folder's results, and say where."""
    from tiemcli.outputs import (
        gallery,  # by way of decoders, which the parent of a run does without
    )

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
