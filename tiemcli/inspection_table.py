"""`tiem inspect` as a person reads it, or as JSON."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tiemcli.connection import Connection
from tiemcli.facts import Facts
from tiemcli.inspection import inspect
from tiemcli.inspection_document import (
    Batch,
    Feeding,
    File,
    Inspection,
    Origin,
    Output,
    PrefixReport,
    Value,
)
from tiemcli.inspection_outside import inspect_outside
from tiemcli.running_cost import Autograd, Cost, RunningCost
from tiemcli.scorers.loading import is_outside

SCHEMA = "tiem-inspection/1"
# Of the operators and labels, how many a line takes.
FEW = 6
_STATES = {
    "free": "several clips at once",
    "rewritten": "several clips at once",
    "looped": "clips go one by one",
}
_COLOURS = {"rgb": "RGB", "bgr": "BGR", "gray": "grey"}

Row = tuple[str, str]


def inspect_command(
    source: str,
    said: Facts,
    device: str,
    custom_ops: tuple[Path, ...] = (),
    connection: Connection | None = None,
    *,
    as_json: bool,
) -> None:
    """Inspect a network and print what is found. Raises what `inspect` raises."""
    with Console(stderr=True).status("inspecting"):
        if is_outside(source):
            inspection = inspect_outside(source, said, connection)
        else:
            inspection = inspect(Path(source), said, device, custom_ops)
    if as_json:
        print(json.dumps({"schema": SCHEMA, **asdict(inspection)}, indent=2))
        return
    console = Console(file=sys.stdout, highlight=False)
    for name, text in rows(inspection):
        console.print(Text.assemble((f"{name:<10}", "dim"), text), soft_wrap=True)
    for problem in inspection.problems:
        line = Text.assemble(("problem   ", "bold yellow"), problem.message)
        if problem.hint:
            line.append(f" — {problem.hint}", style="dim")
        console.print(line, soft_wrap=True)


def rows(found: Inspection) -> Iterator[Row]:
    """A line each of what is known, the name of it first."""
    if found.elsewhere:
        yield (
            "network",
            f"{found.elsewhere.name}, {', '.join(found.providers)}: only its answers are known",
        )
        yield "input", _value_text(found.elsewhere.input)
    if found.file:
        yield from _file_rows(found.file)
    if found.feeding:
        yield from _feeding_rows(found.feeding)
    for output in found.outputs:
        several = len(found.outputs) > 1
        note = "  inspected" if several and output.name == found.output else ""
        note = f"  {output.problem}" if several and output.problem else note
        yield "output", _output_text(output) + note
    if found.labels:
        few = ", ".join(found.labels[:FEW]) + (" …" if len(found.labels) > FEW else "")
        yield "labels", f"{len(found.labels)}: {few}{_by(found.labels_from)}"
    elif found.output:
        yield "labels", "unknown; --labels gives them"
    if found.file:
        yield from _work_rows(found, found.file.operators)
    if found.batch:
        yield "batch", _batch_text(found.batch)
    if found.cost:
        yield from _cost_rows(found.cost, found.providers)
    if found.assumed:
        yield "assumed", "; ".join(found.assumed)


def _file_rows(file: File) -> Iterator[Row]:
    numbers = f"{_amount(file.bytes, 'B')}, {_amount(file.parameters)} parameters"
    opsets = ", ".join(
        f"opset {version}" if domain == "ai.onnx" else f"{domain} {version}"
        for domain, version in file.opsets.items()
    )
    yield "network", ", ".join(filter(None, (file.path, numbers, opsets, file.producer)))
    for value in file.inputs:
        yield "input", _value_text(value)


def _work_rows(found: Inspection, operators: dict[str, int]) -> Iterator[Row]:
    yield "operators", _operators_text(operators)
    if found.multiply_adds is not None:
        bodies = " and ".join(name for name in ("Loop", "Scan", "If") if name in operators)
        rest = f", without those inside {bodies}" if bodies else ""
        yield "work", f"{_amount(found.multiply_adds)} multiply-adds a clip{rest}"
        yield "by frame", _prefix_text(found.prefix)
        yield "windows", found.reuse or "share no work"


def _feeding_rows(feeding: Feeding) -> Iterator[Row]:
    sizes = ", ".join(f"{letter} {size}" for letter, size in feeding.sizes.items())
    free = f"; free: {', '.join(feeding.free)}" if feeding.free else ""
    yield "layout", f"{feeding.layout}{_by(feeding.layout_from)}: {sizes}{free}"
    fed, told = feeding.preprocessing, feeding.preprocessing_from
    resized = {"stretch": "stretched", "crop": "covered and cropped"}[fed.resize]
    resized += f" to {fed.height}×{fed.width}{_by(told['resize'])}"
    color = f"{_COLOURS[fed.color]}{_by(told['color'])}"
    yield "frames", f"{resized}, {color}, {_scaling_text(feeding)}"
    for name, text in feeding.others.items():
        yield "fed", f"{name} = {text}"


def _scaling_text(feeding: Feeding) -> str:
    fed, told = feeding.preprocessing, feeding.preprocessing_from
    scale = "1" if fed.scale == 1 else f"1/{1 / fed.scale:g}" if fed.scale < 1 else f"{fed.scale:g}"
    text = f"pixels × {scale}{_by(told['scale'])}"
    if told["mean"] == told["std"] == "assumed":
        return f"{text}, no mean or std"
    mean, std = (" ".join(f"{number:g}" for number in numbers) for numbers in (fed.mean, fed.std))
    return f"{text}, mean {mean}{_by(told['mean'])}, std {std}{_by(told['std'])}"


def _output_text(output: Output) -> str:
    text = _value_text(output)
    if output.kind:
        rows = f"{output.rows} rows of " if output.rows and output.rows > 1 else ""
        text += f"  {output.kind}{_by(output.kind_from)}, {rows}{output.classes} a clip"
    return text


def _operators_text(operators: dict[str, int]) -> str:
    shown = [name for name in operators if name != "Constant"]
    few = ", ".join(f"{operators[name]} {name}" for name in shown[:FEW])
    return f"{few} and others" if len(shown) > FEW else few


def _prefix_text(prefix: PrefixReport | None) -> str:
    if prefix is None:
        return "none of the work was found to be on each frame alone"
    places = "" if prefix.uniform else ", by its place in the clip"
    names = ", ".join(cut.name for cut in prefix.cut)
    size = _amount(sum(cut.bytes_per_frame for cut in prefix.cut), "B")
    done = f"{_share(prefix.share)} of the work is on each frame alone{places}"
    return f"{done}; it ends in {names}, {size} a frame"


def _share(share: float) -> str:
    """Never all of what is not quite all, nor nothing of what is something."""
    if share == 1:
        return "all"
    if share < 0.001:
        return "under 0.1%"
    return "over 99.9%" if share > 0.999 else f"{share:.1%}"


def _batch_text(batch: Batch) -> str:
    return f"{_STATES[batch.state]}{f': {batch.reason}' if batch.reason else ''}"


def _cost_rows(cost: RunningCost, providers: tuple[str, ...]) -> Iterator[Row]:
    yield "gradients", _gradient_text(cost.gradient)
    rate = f"{_round(cost.speed.evaluations_per_second)} evaluations a second"
    where = providers[0].removesuffix("ExecutionProvider")
    yield "speed", f"{rate}, {_batch_size(cost.speed.batch)} ({where})"
    if cost.autograd:
        yield "cost", f"autograd: {_cost_text(cost, cost.autograd)}"
    yield "cost", f"queries: {_cost_text(cost, cost.queries)}"


def _batch_size(clips: int) -> str:
    return "one clip at a time" if clips == 1 else f"{clips} clips at a time"


def _gradient_text(gradient: Autograd) -> str:
    if gradient.seconds is None or gradient.cpu_seconds is None:
        return f"none: {gradient.reason}"
    time = f"{gradient.seconds:.2g} s each ({gradient.cpu_seconds:.2g} s of CPU)"
    return f"yes, but {gradient.warning}; {time}" if gradient.warning else f"yes, verified; {time}"


def _cost_text(cost: RunningCost, one: Cost) -> str:
    asked = f"at most {one.forwards} evaluations, {cost.windows} of them windows"
    gradients = f", {one.backwards} gradients" if one.backwards else ""
    return f"{asked}{gradients}: about {_round(one.seconds)} s a clip"


def _round(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def _by(origin: Origin | None) -> str:
    return "" if origin in (None, "file") else f" ({origin})"


def _value_text(value: Value) -> str:
    shape = ", ".join("?" if size is None else str(size) for size in value.shape or ())
    text = f"{value.name}  {value.type}" if value.type else value.name
    return text if value.shape is None else f"{text} [{shape}]"


def _amount(number: int, unit: str = "") -> str:
    """1234567 as 1.23 M, of a unit 1.23 MB."""
    rounded = float(f"{number:.3g}")
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= size:
            return f"{rounded / size:g} {prefix}{unit}"
    return f"{number} {unit}".rstrip()
