"""The options of the commands that make a network's file and look into one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tiemcli import options
from tiemcli.connection import Connection
from tiemcli.options import option


def export(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="torchvision:NAME, hf:NAME, torch:FILE.py:FACTORY, program:FILE.pt2, script:FILE.pt, keras:FILE, paper:NAME or zoo:NAME.",
        ),
    ],
    out: Annotated[Path, option("--out", "-o", help="The ONNX file to write.")],
    weights: Annotated[
        str,
        option("--weights", help="A file, DEFAULT for the published ones, none for random ones."),
    ] = "DEFAULT",
    classes: Annotated[
        int | None,
        option("--classes", help="How many, if not the source's own; the head is random.", min=1),
    ] = None,
    per_frame: Annotated[
        Literal["mean", "max", "gru", "lstm"] | None,
        option("--per-frame", help="What joins an image network's answers; mean if left out."),
    ] = None,
    layout: options.Layout = None,
    frames: options.Frames = None,
    stride: options.Stride = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    resize: options.Resize = None,
    output: options.Output = None,
    aggregate: options.Aggregate = None,
    labels: options.Labels = None,
    converter: Annotated[
        Literal["auto", "dynamo", "torchscript"],
        option("--converter", help="Of torch's; auto is TorchScript's where dynamo's fails."),
    ] = "auto",
    opset: Annotated[
        int | None, option("--opset", help="Version of ONNX; the converter's own if left out.")
    ] = None,
    batch: Annotated[
        str, option("--batch", help="Clips that the file takes at once: a number, or free.")
    ] = "free",
    precision: Annotated[
        Literal["fp32", "fp16"], option("--precision", help="Of weights and arithmetic.")
    ] = "fp32",
    simplify: Annotated[
        bool, typer.Option("--simplify", help="Fold constants, drop what does nothing.")
    ] = False,
    tolerance: Annotated[
        float | None,
        option(
            "--tolerance",
            help="Difference from the original, as a share of its range; .001 if left out, .02 for fp16.",
        ),
    ] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a network of another framework as ONNX.

    The file is kept if it answers as the original does, and says itself how it is fed, so that
    nothing need be said to explain.

    \b
    Example:
      tiem export torch:net.py:factory -o net.onnx
    """
    from tiemcli import exporting
    from tiemcli.exporters.finish import Finish
    from tiemcli.exporters.original import Form, Wanted

    exporting.export(
        source,
        Wanted(weights, classes, per_frame, options.facts_in(context), seed),
        Form(converter, opset, exporting.parse_batch(batch)),
        out=out,
        finish=Finish(precision, simplify),
        tolerance=tolerance,
        as_json=json,
        quiet=quiet,
    )


def inspect(
    context: typer.Context,
    network: Annotated[
        str,
        typer.Argument(
            help="An ONNX file, python:FILE:FUNCTION, or a server's URL.", metavar="NET"
        ),
    ],
    device: Annotated[str, option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    custom_ops: options.CustomOps = None,
    request_timeout: options.RequestTimeout = Connection.timeout,
    retries: options.Retries = Connection.retries,
    rate: options.Rate = Connection.rate,
    layout: options.Layout = None,
    frames: options.Frames = None,
    stride: options.Stride = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    scale: options.Scale = None,
    color: options.Color = None,
    resize: options.Resize = None,
    output: options.Output = None,
    output_name: options.OutputName = None,
    aggregate: options.Aggregate = None,
    input: options.Input = None,
    labels: options.Labels = None,
    json: options.Json = False,
) -> None:
    """Say what there is to know of a network before explaining.

    How it is fed and read, how fast it runs, whether it has gradients, what an explanation costs.

    \b
    Example:
      tiem inspect net.onnx --labels labels.txt
    """
    from tiemcli.inspection_table import inspect_command

    inspect_command(
        network,
        options.facts_in(context),
        device,
        tuple(custom_ops or ()),
        Connection(request_timeout, retries, rate),
        as_json=json,
    )
