"""The options of `tiem compare` and `tiem evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from tiemcli import options
from tiemcli.connection import Connection
from tiemcli.options import option
from tiemcli.settings import CURVE_STEPS, Settings

DEFAULTS = Settings()
METHODS = "tiem,step,rise,random"

Signature = Annotated[
    str | None,
    option(
        "--signature",
        help="Frames that tell the answer: sampled ones as 7-15 or 3,5,8, or seconds as 2.25s-3.5s.",
    ),
]
TruthFile = Annotated[
    Path | None,
    option("--truth", help="A JSON file of signatures, boxes and masks by the name of the clip."),
]


def compare(
    context: typer.Context,
    clip: Annotated[Path, typer.Argument(help="A video file.", metavar="CLIP")],
    model: options.Model,
    methods: Annotated[
        str,
        option("--methods", help="Methods to compare, or presets of tiem; all is every method."),
    ] = METHODS,
    out: Annotated[Path, option("--out", "-o", help="Where the sheet goes.")] = Path(),
    signature: Signature = None,
    truth: TruthFile = None,
    seeds: Annotated[int, option("--seeds", help="Runs of each method; what is shown is ±.")] = 1,
    steps: Annotated[
        int, option("--steps", help="Of the insertion and deletion curves.")
    ] = CURVE_STEPS,
    randomise: Annotated[
        bool,
        option(
            "--randomise",
            help="Also explain the network with shuffled weights: a method should differ there.",
        ),
    ] = False,
    target: options.Target = DEFAULTS.target,
    area: options.Area = None,
    layer: options.Layer = DEFAULTS.layer,
    backend: options.Backend = DEFAULTS.backend,
    base: options.MaskBase = DEFAULTS.base,
    window_base: options.WindowBase = DEFAULTS.window_base,
    constraint: options.Constraint = DEFAULTS.constraint,
    iterations: options.Iterations = DEFAULTS.iterations,
    queries: options.Queries = DEFAULTS.queries,
    sampling: options.Sampling = DEFAULTS.sampling,
    stride: options.Stride = DEFAULTS.stride,
    start: options.Start = DEFAULTS.start,
    end: options.End = DEFAULTS.end,
    seed: options.Seed = DEFAULTS.seed,
    device: options.Device = "auto",
    batch_size: options.BatchSize = "auto",
    memory: options.Memory = "auto",
    custom_ops: options.CustomOps = None,
    request_timeout: options.RequestTimeout = Connection.timeout,
    retries: options.Retries = Connection.retries,
    rate: options.Rate = Connection.rate,
    layout: options.Layout = None,
    frames: options.Frames = None,
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
    quiet: options.Quiet = False,
) -> None:
    """Explain one clip by several methods, and measure them alike.

    Writes CLIP.compare.png, frames by methods, and CLIP.compare.json.

    \b
    Example:
      tiem compare clip.mp4 -m net.onnx --methods tiem,rise,random --signature 7-15
    """
    from tiemcli import command, command_compare
    from tiemcli.comparison import Comparison, contestants
    from tiemcli.request import Request

    request = Request(
        model=model,
        facts=options.facts_in(context, but="stride"),
        settings=Settings(
            target=target,
            layer=layer,
            backend=backend,
            areas=None if area is None else (area,),
            base=base,
            window_base=window_base,
            constraint=constraint,
            iterations=iterations,
            queries=queries,
            sampling=sampling,
            stride=stride,
            start=start,
            end=end,
            seed=seed,
        ),
        device=device,
        batch_size=command.parse_batch_size(batch_size),
        memory=command.parse_memory(memory),
        force=True,
        custom_ops=tuple(custom_ops or ()),
        connection=Connection(request_timeout, retries, rate),
    )
    comparison = Comparison(
        request, clip, out, contestants(methods), signature, truth, seeds, steps, randomise
    )
    raise typer.Exit(command_compare.compare(comparison, as_json=json, quiet=quiet))


def evaluate(
    results: Annotated[
        list[Path],
        typer.Argument(help="CLIP.tiem.json files, or folders of them.", metavar="RESULTS..."),
    ],
    signature: Signature = None,
    truth: TruthFile = None,
    model: Annotated[
        str | None,
        option("--model", "-m", help="The network, if it is not where it was explained."),
    ] = None,
    steps: Annotated[
        int, option("--steps", help="Of the insertion and deletion curves; 0 leaves them out.")
    ] = CURVE_STEPS,
    device: options.Device = "auto",
    batch_size: options.BatchSize = "auto",
    custom_ops: options.CustomOps = None,
    request_timeout: options.RequestTimeout = Connection.timeout,
    retries: options.Retries = Connection.retries,
    rate: options.Rate = Connection.rate,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compute metrics of stored results, and of what is known of their clips.

    Pixels are measured where CLIP.tiem.npz lies beside (--format npz).

    \b
    Example:
      tiem evaluate out --signature 7-15
    """
    from tiemcli import command, command_compare
    from tiemcli.evaluation import Evaluation

    evaluation = Evaluation(
        tuple(results),
        model,
        signature,
        truth,
        steps,
        device,
        command.parse_batch_size(batch_size),
        tuple(custom_ops or ()),
        Connection(request_timeout, retries, rate),
    )
    raise typer.Exit(command_compare.evaluate(evaluation, as_json=json, quiet=quiet))
