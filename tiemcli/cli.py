"""The command line: declarations only. Whatever is slow to import is imported where it is used."""

import errno
import io
import os
import signal
import sys
import tomllib
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from tiemcli import __version__, options
from tiemcli.cli_compare import compare, evaluate
from tiemcli.cli_explain import explain
from tiemcli.cli_networks import export, inspect
from tiemcli.errors import TiemError, UsageError
from tiemcli.headings import Grouped
from tiemcli.options import option
from tiemcli.settings import Backend, Settings

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
    # Torch's idle threads would spin, and starve the decoder and the runtime's.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # glibc would keep a heap for each thread, and give none of it back over a thousand clips.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves as little behind as Ctrl-C
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
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: {error}", "mend it or remove it") from error
        context.default_map = {"explain": _options_of(path, said)}


def _options_of(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What tiem.toml sets, by parameter; a list stands for the text with commas between."""
    known = set(signature(explain).parameters) - {"clips", "context"}
    named = {name.replace("-", "_"): value for name, value in given.items()}
    if "custom_ops" in named:
        raise UsageError(f"{path}: custom-ops is code, which no file may ask for", "give the flag")
    unknown = sorted(set(named) - known)
    if unknown:
        raise UsageError(f"{path}: no option {', '.join(unknown)}", "see tiem explain --help")
    table = named.pop("input", {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: input is no table", 'write [input] and NAME = "VALUE" below it')
    fed = {"input": [f"{name}={_text(value)}" for name, value in table.items()]} if table else {}
    return {name: _text(value) for name, value in named.items()} | fed


def _text(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


app.command(cls=Grouped)(explain)
app.command(cls=Grouped)(compare)
app.command(cls=Grouped)(evaluate)
app.command()(export)
app.command(cls=Grouped)(inspect)


@app.command()
def demo(
    out: Annotated[Path, option("--out", "-o", help="Where results go.")] = Path("tiem-demo"),
    backend: Annotated[
        Backend,
        option("--backend", help="Gradients through the network, or queries alone."),
    ] = DEFAULTS.backend,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Explain the clip that ships with tiem, whose decisive moment is known.

    \b
    Example:
      tiem demo --open
    """
    from tiemcli import command

    raise typer.Exit(command.demo(out, backend, open_page=show))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Where results are.", metavar="OUT")] = Path(),
) -> None:
    """Write index.html, a gallery of all that is explained in a folder.

    \b
    Example:
      tiem report out
    """
    from tiemcli import command

    command.report(folder)


@app.command()
def doctor(
    json: options.Json = False,
) -> None:
    """Say what may be wrong with this installation, and what to type.

    \b
    Example:
      tiem doctor --json
    """
    # Not by way of `command`, which needs the runtime that may be what is wrong.
    from tiemcli.doctor import diagnose, exit_code
    from tiemcli.terminal import print_doctor

    checks = diagnose()
    print_doctor(checks, as_json=json)
    raise typer.Exit(exit_code(checks))


@app.command()
def schema() -> None:
    """Print the JSON Schema of CLIP.tiem.json.

    \b
    Example:
      tiem schema > tiem.schema.json
    """
    from tiemcli import command

    command.schema()


@bench.command()
def whitebox(
    seeds: Annotated[int, typer.Option(min=1, help="Clips of noise to explain.")] = 5,
    queries: Annotated[
        int, typer.Option(min=2, help="Evaluations for a mask without gradients.")
    ] = DEFAULTS.queries,
    json: options.Json = False,
) -> None:
    """The paper's white-box regressors (Table 2), where the right answer is known.

    \b
    Example:
      tiem bench whitebox --seeds 2
    """
    from tiemcli import command

    command.whitebox(seeds, queries, json)


@bench.command()
def networks(
    only: Annotated[str, typer.Option("--only", help="Files whose name has this in it.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/networks.md.")] = False,
    json: options.Json = False,
) -> None:
    """Which architectures, converters and derived files can be explained with gradients.

    \b
    Example:
      tiem bench networks --only r3d
    """
    from tiemcli import command

    command.networks(only, as_json=json, as_markdown=markdown)


@bench.command()
def paper(
    part: Annotated[
        str,
        typer.Option("--part", help="Of the tables: table2, signature, real, or several of them."),
    ] = "table2,signature,real",
    seeds: Annotated[int, typer.Option(min=2, help="Clips of noise for Table 2.")] = 5,
    clips: Annotated[int, typer.Option(min=2, help="Clips for each classifier.")] = 20,
    rows: Annotated[
        Path | None,
        typer.Option("--rows", help="Show what --json printed before instead of measuring."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Draw the paper's figures into this folder.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/paper.md.")] = False,
    json: options.Json = False,
) -> None:
    """The paper's tables and figures: every method where the right answer is known.

    All of it takes about an hour; trained networks need tiem[torch], figures tiem[figures], real
    clips the folder that TIEM_DATA names.

    \b
    Example:
      tiem bench paper --part table2 --figures figures
    """
    from tiemcli import command_compare

    command_compare.paper(part, seeds, clips, rows, figures, as_json=json, as_markdown=markdown)


@bench.command()
def speed(
    network: Annotated[
        str, typer.Option("--network", help="Networks whose name has this in it.")
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/benchmarks.md.")] = False,
    json: options.Json = False,
) -> None:
    """What tiem takes beside ONNX Runtime, torch and the paper's recipe, in processor time.

    All of it takes some ten minutes.

    \b
    Example:
      tiem bench speed --network r50
    """
    from tiemcli import command

    command.speed(network, as_json=json, as_markdown=markdown)
