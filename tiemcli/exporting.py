"""What `tiem export` does, and what a person sees of it."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tiemcli.errors import UsageError
from tiemcli.exporters import export as exporter
from tiemcli.exporters.export import Exported
from tiemcli.exporters.finish import Finish
from tiemcli.exporters.original import Form, Wanted
from tiemcli.result import readable
from tiemcli.terminal import Terminal


def parse_batch(text: str) -> int | None:
    """--batch, None for free."""
    if text == "free":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--batch {text}", "give free or a number of clips")
    return int(text)


def export(
    source: str,
    wanted: Wanted,
    form: Form,
    *,
    out: Path,
    finish: Finish,
    tolerance: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the network and tell how well it agrees. Raises what `exporters.export` raises."""
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise UsageError(f"--tolerance {tolerance}", "give 0 or more")
    if not 0 <= wanted.seed < 2**32:  # as many as Keras has
        raise UsageError(f"--seed {wanted.seed}", "give a number from 0 to 4294967295")
    with Terminal(quiet=quiet) as terminal:
        exported = exporter.export(
            source, wanted, form, out=out, finish=finish, tolerance=tolerance, tell=terminal.note
        )
        for line in exported.notes:
            terminal.note(line, "yellow")
    if as_json:
        print(json.dumps(_document(exported), indent=2))
    elif not quiet:
        _print_table(exported)


def _document(exported: Exported) -> dict[str, Any]:
    agreement = exported.agreement
    return {
        "source": exported.source,
        "path": readable(exported.path),
        "bytes": exported.bytes,
        "converter": exported.converter,
        "opset": exported.opset,
        "precision": exported.finish.precision,
        "simplified": exported.finish.simplify,
        "input": agreement.input,
        "shape": agreement.shape,
        "classes": agreement.classes,
        "facts": agreement.facts.model_dump(exclude_none=True),
        "difference": {"random": agreement.random, "clip": agreement.clip},
        "tolerance": exported.tolerance,
        "notes": exported.notes,
    }


def _print_table(exported: Exported) -> None:
    console = Console(file=sys.stdout, highlight=False)
    agreement, facts = exported.agreement, exported.agreement.facts

    def row(name: str, text: str) -> None:
        console.print(Text.assemble((f"{name:<8}", "dim"), text), soft_wrap=True)

    by = f" by {exported.converter}" if exported.converter else ""
    slim = ", simplified" if exported.finish.simplify else ""
    shape = "×".join("any" if size is None else str(size) for size in agreement.shape)
    every = f", every {facts.stride} frames" if facts.stride and facts.stride > 1 else ""
    row("source", exported.source)
    row("file", f"opset {exported.opset}{by}, {exported.finish.precision}{slim}")
    row("input", f"{facts.layout} {shape}")
    row(
        "pixels",
        f"{facts.color}, {facts.resize}, ×{facts.scale:.4g}, mean {_numbers(facts.mean)}, "
        f"std {_numbers(facts.std)}{every}",
    )
    row("answer", f"{agreement.classes} {facts.output}{_named(facts.labels)}")
    row(
        "agrees",
        f"to {agreement.random:.1e} on noise, {agreement.clip:.1e} on a real clip "
        f"({exported.tolerance:.0e} of the answers' range is allowed)",
    )
    row("wrote", f"{readable(exported.path)}  {exported.bytes / 1e6:.1f} MB")


def _numbers(values: tuple[float, ...] | None) -> str:
    return " ".join(f"{value:.3g}" for value in dict.fromkeys(values or ()))


def _named(labels: tuple[str, ...] | None) -> str:
    if not labels:
        return ", unnamed"
    return f": {', '.join(labels[:3])}{' …' if len(labels) > 3 else ''}"
