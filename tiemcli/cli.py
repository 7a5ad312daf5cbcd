"""The command line: declarations only. Whatever is slow to import is imported where it is used."""

import errno
import inspect
import io
import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tiemcli import __version__
from tiemcli.errors import TiemError, UsageError
from tiemcli.settings import (
    Aggregate,
    Backend,
    Base,
    Estimator,
    Method,
    Sampling,
    Settings,
    Style,
)

DEFAULTS = Settings()

app = typer.Typer(
    name="tiem",
    help="Explain what a video classifier looked at, and when, from its ONNX file.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(help="Measure the method, and print a table.", no_args_is_help=True)
app.add_typer(bench, name="bench")


def main() -> None:
    """The `tiem` command: a user's mistake is one line and its exit code, a bug a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a code page that lacks a letter ends nothing
    try:
        app()
        sys.stdout.flush()
    except TiemError as error:
        from tiemcli.terminal import print_error

        print_error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        print(f"tiem: nothing more can be printed: {error.strerror}", file=sys.stderr)
        os._exit(1)  # another flush of the same stream would fail again


def _option(*names: str, help: str) -> Any:
    """An option that TIEM_NAME can set as well."""
    long = next(name for name in names if name.startswith("--"))
    variable = "TIEM_" + long.removeprefix("--").replace("-", "_").upper()
    return typer.Option(*names, help=help, envvar=variable, show_envvar=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"tiem {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which."),
    ] = False,
) -> None:
    """Options may also stand in the file tiem.toml here, or in variables such as TIEM_AREA."""
    path = Path("tiem.toml")
    if path.is_file():
        try:
            options = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{path}: {error}", "mend it or remove it") from error
        context.default_map = {"explain": _options_of(path, options)}


def _options_of(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What tiem.toml sets, by parameter; a list stands for the text with commas between."""
    known = set(inspect.signature(explain).parameters) - {"clips", "context"}
    named = {name.replace("-", "_"): value for name, value in given.items()}
    unknown = sorted(set(named) - known)
    if unknown:
        raise UsageError(f"{path}: no option {', '.join(unknown)}", "see tiem explain --help")
    table = named.pop("input", None)
    words = [f"{name}={value}" for name, value in table.items()] if table else []
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in named.items()
    } | ({"input": words} if words else {})


@app.command()
def explain(
    context: typer.Context,
    clips: Annotated[list[Path], typer.Argument(help="Video files.", metavar="CLIP...")],
    model: Annotated[Path, _option("--model", "-m", help="The network, an ONNX file.")],
    out: Annotated[Path, _option("--out", "-o", help="Where results go.")] = Path(),
    target: Annotated[
        str | None,
        _option("--target", help="Label or index to explain; the top answer if left out."),
    ] = None,
    method: Annotated[Method, _option("--method", help="How.")] = DEFAULTS.method,
    backend: Annotated[
        Backend,
        _option("--backend", help="Gradients through the network, or queries alone."),
    ] = DEFAULTS.backend,
    area: Annotated[
        float | None, _option("--area", help="Share of the clip to keep; .1 if left out.")
    ] = None,
    areas: Annotated[
        str | None, _option("--areas", help="Several shares, such as .05,.1,.2.")
    ] = None,
    target_score: Annotated[
        float | None,
        _option(
            "--target-score",
            help="Find the smallest area that scores this (Eq. 6); what is enough is .9 of the answer if left out.",
        ),
    ] = DEFAULTS.target_score,
    alpha: Annotated[
        float,
        _option(
            "--alpha",
            help="Window sizes whose scores vary more than this share of the most varied one's count.",
        ),
    ] = DEFAULTS.alpha,
    windows: Annotated[
        str,
        _option(
            "--windows",
            help="Sizes of windows to hide: all, dyadic (1, 2, 4 …) or 1,3,5; auto is all up to 16 frames, dyadic above.",
        ),
    ] = DEFAULTS.windows,
    tis_aggregate: Annotated[
        Aggregate,
        _option("--tis-aggregate", help="From windows to frames: means (Eq. 4), or least squares."),
    ] = DEFAULTS.tis_aggregate,
    base: Annotated[Base, _option("--base", help="What masks put in place.")] = DEFAULTS.base,
    window_base: Annotated[
        Base,
        _option("--window-base", help="What windows put in place."),
    ] = DEFAULTS.window_base,
    constraint: Annotated[
        Literal["exact", "penalty"],
        _option("--constraint", help="Areas met, or asked for (Eq. 7)."),
    ] = DEFAULTS.constraint,
    iterations: Annotated[
        int | None, _option("--iterations", help="Gradient steps; 60, or 400 for the penalty.")
    ] = DEFAULTS.iterations,
    queries: Annotated[
        int, _option("--queries", help="Evaluations for a mask without gradients.")
    ] = DEFAULTS.queries,
    estimator: Annotated[
        Estimator,
        _option("--estimator", help="How finite differences search."),
    ] = DEFAULTS.estimator,
    sampling: Annotated[
        Sampling,
        _option(
            "--sampling", help="Frames from all over the clip, or consecutive ones from its middle."
        ),
    ] = DEFAULTS.sampling,
    stride: Annotated[
        int | None, _option("--stride", help="Source frames from one sampled frame to the next.")
    ] = DEFAULTS.stride,
    start: Annotated[
        float | None, _option("--start", help="Explain from this second.")
    ] = DEFAULTS.start,
    end: Annotated[
        float | None, _option("--end", help="Explain up to this second.")
    ] = DEFAULTS.end,
    style: Annotated[
        Style, _option("--style", help="How the MP4 shows the mask.")
    ] = DEFAULTS.style,
    format: Annotated[
        str, _option("--format", help="What to write; the JSON always is.")
    ] = ",".join(DEFAULTS.formats),
    seed: Annotated[int, _option("--seed", help="Of all that is random.")] = DEFAULTS.seed,
    device: Annotated[str, _option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[
        str, _option("--batch-size", help="Clips evaluated at once; auto finds the best.")
    ] = "auto",
    layout: Annotated[
        str | None, _option("--layout", help="The network's axes, such as NCTHW or NTHWC.")
    ] = None,
    frames: Annotated[int | None, _option("--frames", help="Frames that it takes.")] = None,
    size: Annotated[
        str | None, _option("--size", help="Its frames' size, 112 or HEIGHTxWIDTH.")
    ] = None,
    mean: Annotated[str | None, _option("--mean", help="Per channel, after scaling.")] = None,
    std: Annotated[str | None, _option("--std", help="Per channel, after scaling.")] = None,
    scale: Annotated[
        str | None, _option("--scale", help="Factor on pixels of 0..255, such as 1/255.")
    ] = None,
    color: Annotated[
        Literal["rgb", "bgr", "gray"] | None, _option("--color", help="Its order of channels.")
    ] = None,
    resize: Annotated[
        Literal["stretch", "crop"] | None, _option("--resize", help="How frames get its size.")
    ] = None,
    output: Annotated[
        str | None, _option("--output", help="What it answers: auto, logits, probabilities, value.")
    ] = None,
    output_name: Annotated[
        str | None, _option("--output-name", help="Which output, where it has several.")
    ] = None,
    aggregate: Annotated[
        str | None,
        _option("--aggregate", help="Of answers for each frame or window: mean, max or an index."),
    ] = None,
    input: Annotated[
        list[str] | None,
        _option(
            "--input",
            help="What feeds another input, NAME=VALUE: a number, a .npy file, or clip:8 for 8 of the clip's frames.",
        ),
    ] = None,
    labels: Annotated[
        str | None, _option("--labels", help="Of its classes: A,B,C or a file, one a line.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Explain again what is explained already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be explained, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print a line of JSON as each clip finishes.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Show which moments and which pixels made a network answer.

    Writes CLIP.tiem.json and CLIP.masked.mp4. For example:
    tiem explain clip.mp4 -m net.onnx --labels labels.txt -o out
    """
    from tiemcli import command
    from tiemcli.batch import Request
    from tiemcli.facts import facts_from_flags

    given = map(context.get_parameter_source, ("area", "areas"))
    sources = ["" if source is None else source.name for source in given]
    request = Request(
        clips=tuple(clips),
        model=model,
        facts=facts_from_flags(
            {
                "layout": layout,
                "frames": frames,
                "size": size,
                "mean": mean,
                "std": std,
                "scale": scale,
                "color": color,
                "resize": resize,
                "output": output,
                "output_name": output_name,
                "aggregate": aggregate,
                "input": input,
                "labels": labels,
            }
        ),
        settings=Settings(
            target=target,
            method=method,
            backend=backend,
            areas=command.parse_areas(area, areas, sources),
            target_score=target_score,
            alpha=alpha,
            windows=windows,
            tis_aggregate=tis_aggregate,
            base=base,
            window_base=window_base,
            constraint=constraint,
            iterations=iterations,
            queries=queries,
            estimator=estimator,
            sampling=sampling,
            stride=stride,
            start=start,
            end=end,
            style=style,
            formats=tuple(format.split(",")),
            seed=seed,
        ),
        folder=out,
        device=device,
        batch_size=command.parse_batch_size(batch_size),
        force=force,
    )
    raise typer.Exit(
        command.explain(
            request, command.Talk(json=json, jsonl=jsonl, quiet=quiet, verbose=verbose), dry_run
        )
    )


@app.command()
def demo(
    out: Annotated[Path, _option("--out", "-o", help="Where results go.")] = Path("tiem-demo"),
    backend: Annotated[
        Backend,
        _option("--backend", help="Gradients through the network, or queries alone."),
    ] = DEFAULTS.backend,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Explain the clip that ships with tiem, whose decisive moment is known."""
    from tiemcli import command

    raise typer.Exit(command.demo(out, backend, open_page=show))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Where results are.", metavar="OUT")] = Path(),
) -> None:
    """Write index.html, a gallery of all that is explained in a folder."""
    from tiemcli import command

    command.report(folder)


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what may be wrong with this installation, and what to type."""
    # Not by way of `command`, which needs the runtime that may be what is wrong.
    from tiemcli.doctor import diagnose, exit_code
    from tiemcli.terminal import print_doctor

    checks = diagnose()
    print_doctor(checks, as_json=json)
    raise typer.Exit(exit_code(checks))


@app.command()
def schema() -> None:
    """Print the JSON Schema of CLIP.tiem.json."""
    from tiemcli import command

    command.schema()


@bench.command()
def whitebox(
    seeds: Annotated[int, typer.Option(min=1, help="Clips of noise to explain.")] = 5,
    queries: Annotated[
        int, typer.Option(min=2, help="Evaluations for a mask without gradients.")
    ] = DEFAULTS.queries,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The paper's white-box regressors (Table 2), where the right answer is known."""
    from tiemcli import command

    command.whitebox(seeds, queries, json)
