"""The options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tiemcli import settings

if TYPE_CHECKING:
    from tiemcli.facts import Facts


def option(*names: str, help: str, **more: Any) -> Any:
    """An option that TIEM_NAME can set as well."""
    long = next(name for name in names if name.startswith("--"))
    variable = "TIEM_" + long.removeprefix("--").replace("-", "_").upper()
    return typer.Option(*names, help=help, envvar=variable, show_envvar=False, **more)


Target = Annotated[
    str | None,
    option("--target", help="Label or index to explain; the top answer if left out."),
]
Layer = Annotated[
    str | None,
    option("--layer", help="A tensor of the network, for methods that look at one."),
]
Backend = Annotated[
    settings.Backend,
    option("--backend", help="Gradients through the network, or queries alone."),
]
Area = Annotated[float | None, option("--area", help="Share of the clip to keep; .1 if left out.")]
MaskBase = Annotated[settings.Base, option("--base", help="What masks put in place.")]
WindowBase = Annotated[
    settings.Base,
    option("--window-base", help="What windows put in place."),
]
Constraint = Annotated[
    settings.Constraint | None,
    option(
        "--constraint",
        help="Areas met, or asked for (Eq. 7); the method's own if left out, tiem's is exact.",
    ),
]
Iterations = Annotated[
    int | None,
    option(
        "--iterations",
        help="Gradient steps, at most; 60 if left out, 400 for the penalty, 2000 for ep-2d, ep-3d and step as published.",
    ),
]
Queries = Annotated[
    int, option("--queries", help="Evaluations for a mask without gradients, at most.")
]
Sampling = Annotated[
    settings.Sampling,
    option(
        "--sampling", help="Frames from all over the clip, or consecutive ones from its middle."
    ),
]
Start = Annotated[float | None, option("--start", help="Explain from this second.")]
End = Annotated[float | None, option("--end", help="Explain up to this second.")]
Device = Annotated[str, option("--device", help="auto, cpu, cuda or cuda:N.")]
BatchSize = Annotated[
    str, option("--batch-size", help="Clips evaluated at once; auto finds the best.")
]
Memory = Annotated[
    str,
    option(
        "--memory",
        help="For what is computed once, such as 4GB; auto is a quarter of what is free.",
    ),
]
Model = Annotated[
    str,
    option(
        "--model",
        "-m",
        help="The network: an ONNX file, python:FILE:FUNCTION, or a server's http:// or grpc:// URL.",
    ),
]

CustomOps = Annotated[
    list[Path] | None,
    typer.Option(
        "--custom-ops",
        metavar="LIBRARY",
        help="Operators of the network's own, a library whose code will run here: only if you trust it.",
    ),
]
RequestTimeout = Annotated[
    float, option("--request-timeout", help="Seconds that one request to a server may take.")
]
Retries = Annotated[
    int,
    option("--retries", help="Of a request that a server is too busy for, each after more time."),
]
Rate = Annotated[float | None, option("--rate", help="Requests a second to a server, at most.")]

Layout = Annotated[
    str | None, option("--layout", help="The network's axes, such as NCTHW or NTHWC.")
]
Frames = Annotated[int | None, option("--frames", help="Frames that it takes.")]
Stride = Annotated[
    int | None, option("--stride", help="Source frames from one sampled frame to the next.")
]
Size = Annotated[str | None, option("--size", help="Its frames' size, 112 or HEIGHTxWIDTH.")]
Mean = Annotated[str | None, option("--mean", help="Per channel, after scaling.")]
Std = Annotated[str | None, option("--std", help="Per channel, after scaling.")]
Scale = Annotated[str | None, option("--scale", help="Factor on pixels of 0..255, such as 1/255.")]
Color = Annotated[
    Literal["rgb", "bgr", "gray"] | None, option("--color", help="Its order of channels.")
]
Resize = Annotated[
    Literal["stretch", "crop"] | None, option("--resize", help="How frames get its size.")
]
Output = Annotated[
    str | None, option("--output", help="What it answers: auto, logits, probabilities, value.")
]
OutputName = Annotated[
    str | None, option("--output-name", help="Which output, where it has several.")
]
Aggregate = Annotated[
    str | None,
    option("--aggregate", help="Of answers for each frame or window: mean, max or an index."),
]
Input = Annotated[
    list[str] | None,
    option(
        "--input",
        metavar="NAME=VALUE",
        help="What feeds another input: a number, a .npy file, or clip:8 for 8 of the clip's frames.",
    ),
]
Labels = Annotated[
    str | None, option("--labels", help="Of its classes: A,B,C or a file, one a line.")
]
Seed = Annotated[int, option("--seed", help="Of all that is random.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")]


def source(context: typer.Context, name: str) -> str:
    """Where a parameter comes from, by click's names, such as COMMANDLINE or DEFAULT."""
    found = context.get_parameter_source(name)
    return "" if found is None else found.name


def given(context: typer.Context) -> set[str]:
    """The parameters that somebody set, on the command line, by a variable or in tiem.toml."""
    return {name for name in context.params if source(context, name) != "DEFAULT"}


def facts_in(context: typer.Context, but: str = "") -> "Facts":
    """What a command's options say of a network, `but` one that says something else there.

    Raises UsageError that names the flag.
    """
    from tiemcli.facts import Facts, facts_from_flags

    known = Facts.model_fields.keys() - {but}
    return facts_from_flags({name: v for name, v in context.params.items() if name in known})
