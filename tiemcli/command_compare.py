"""What `tiem compare`, `evaluate` and `bench paper` do, once their options are read."""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from tiemcli import comparison as comparing
from tiemcli.comparison import Comparison, Entry, Refusal
from tiemcli.errors import ClipError, UsageError, first_line
from tiemcli.evaluation import Evaluated, Evaluation, Networks, result_files
from tiemcli.evaluation import evaluate as evaluated
from tiemcli.outputs import comparison_sheet
from tiemcli.outputs.atomic import replacing
from tiemcli.result import readable
from tiemcli.terminal import Terminal, print_error
from tiemcli.terminal_metrics import print_comparison, print_evaluation, row_notes


def compare(comparison: Comparison, *, as_json: bool, quiet: bool) -> int:
    """Compare, write the sheet and the numbers, and return the exit code.

    0 where every method served, 1 where some did; where none did nothing is written, and it is the
    error's own.
    """
    with Terminal(quiet=quiet) as terminal:
        network, source, truth = comparing.begin(comparison)
        outcomes: list[Entry | Refusal] = []
        for outcome in comparing.entries(comparison, network, source, truth, terminal):
            terminal.close()
            outcomes.append(outcome)
            if isinstance(outcome, Refusal):
                print_error(outcome.error)
    entries = [outcome for outcome in outcomes if isinstance(outcome, Entry)]
    if not entries:
        return max(outcome.error.exit_code for outcome in outcomes if isinstance(outcome, Refusal))
    stem = comparison.clip.stem
    sheet, numbers = f"{stem}.compare.png", f"{stem}.compare.json"
    explanations = {entry.name: entry.explanation for entry in entries}
    comparison_sheet.write(
        comparison.folder / sheet, explanations, truth.signature, row_notes(entries)
    )
    document = comparing.record(comparison, outcomes, {"sheet": sheet})
    with replacing(comparison.folder / numbers) as part:
        part.write_text(_json(document) + "\n", encoding="utf-8")
    if as_json:
        print(_json(document))
    elif not quiet:
        print_comparison(
            comparison, entries, [comparison.folder / name for name in (sheet, numbers)]
        )
    return 0 if len(entries) == len(outcomes) else 1


def evaluate(evaluation: Evaluation, *, as_json: bool, quiet: bool) -> int:
    """Measure stored results, print them, and return the exit code."""
    rows: list[Evaluated] = []
    failures: list[dict[str, Any]] = []
    networks = Networks(evaluation)
    with Terminal(quiet=quiet) as terminal:
        for path in result_files(evaluation.results):
            try:
                rows += evaluated(evaluation, path, networks, terminal)
            except ClipError as error:
                terminal.close()
                print_error(error)
                failures.append(
                    {"path": readable(path), "error": error.message, "hint": error.hint}
                )
        terminal.close()
        for missing in dict.fromkeys(row.missing for row in rows if row.missing):
            terminal.note(missing)
    if as_json:
        document = {"rows": [_record(row) for row in rows], "failures": failures}
        print(_json(document))
    elif rows and not quiet:
        print_evaluation(rows)
    return 1 if failures else 0


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False)


def _record(row: Evaluated) -> dict[str, Any]:
    return {
        "result": readable(row.path),
        "clip": row.result.clip.path,
        "method": row.result.method,
        "area": row.mask.area,
        "metrics": row.measures.known(),
        "missing": row.missing,
    }


def paper(
    part: str,
    seeds: int,
    clips: int,
    stored: Path | None,
    figures: Path | None,
    *,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Measure the paper's tables, or read them, and print them; draw its figures if asked to."""
    from tiemcli.bench.paper import page, tables

    parts = tables.parts_in(part)
    with Terminal(quiet=False) as terminal:
        if figures is not None:  # first: what it lacks is told before an hour of measuring
            from tiemcli.bench.paper.drawings import draw

            for path in draw(figures, terminal.note):
                terminal.note(f"wrote {readable(path)}")
        if stored is None:
            measured = tables.rows(parts, seeds, clips, terminal.note)
            records = [page.finite({"part": name} | asdict(row)) for name, row in measured]
        else:
            records = [record for record in _stored_rows(stored) if record["part"] in parts]
            if not records:
                raise UsageError(f"{readable(stored)}: no rows of --part {part}", "measure them")
    if as_json:
        print(_json({"rows": records}))
    elif as_markdown:
        print(page.markdown(records, date.today()), end="")
    else:
        page.show(records)


def _stored_rows(path: Path) -> list[dict[str, Any]]:
    """Raises UsageError for a file that is not what `--json` printed."""
    hint = "give what tiem bench paper --json printed"
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
        strange = any("part" not in row for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{readable(path)}: {first_line(error)}", hint) from error
    if strange:
        raise UsageError(f"{readable(path)}: rows of another table", hint)
    return rows
