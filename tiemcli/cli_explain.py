"""The options of `tiem explain`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tiemcli import options
from tiemcli.connection import Connection
from tiemcli.options import option
from tiemcli.settings import (
    Aggregate,
    Base,
    Estimator,
    Method,
    Precision,
    Preset,
    Reuse,
    Settings,
    Style,
    with_preset,
)

DEFAULTS = Settings()


def explain(
    context: typer.Context,
    model: options.Model,
    clips: Annotated[
        list[str] | None,
        typer.Argument(
            help="Video files, folders of them, or patterns such as 'a/**/*.mp4'; - reads a list.",
            metavar="CLIP...",
        ),
    ] = None,
    input_list: Annotated[
        str | None,
        option("--input-list", help="A file that names a clip a line; - is standard input."),
    ] = None,
    out: Annotated[Path, option("--out", "-o", help="Where results go.")] = Path(),
    target: options.Target = None,
    method: Annotated[
        Method,
        option("--method", help="How; tiem compare shows several beside each other."),
    ] = DEFAULTS.method,
    preset: Annotated[
        Preset,
        option("--preset", help="What flags stand at that are not given: as published, or best."),
    ] = "paper",
    layer: options.Layer = DEFAULTS.layer,
    backend: options.Backend = DEFAULTS.backend,
    area: options.Area = None,
    areas: Annotated[
        str | None, option("--areas", help="Several shares, such as .05,.1,.2.")
    ] = None,
    target_score: Annotated[
        float | None,
        option(
            "--target-score",
            help="Find the smallest area that scores this (Eq. 6); what is enough is .9 of the answer if left out.",
        ),
    ] = DEFAULTS.target_score,
    alpha: Annotated[
        float,
        option(
            "--alpha",
            help="Window sizes whose scores vary more than this share of the most varied one's count.",
        ),
    ] = DEFAULTS.alpha,
    windows: Annotated[
        str,
        option(
            "--windows",
            help="Sizes of windows to hide: all, dyadic (1, 2, 4 …) or 1,3,5; auto is all up to 16 frames, dyadic above.",
        ),
    ] = DEFAULTS.windows,
    tis_aggregate: Annotated[
        Aggregate,
        Base,
        option(
            "--tis-aggregate",
            help="From windows to frames: means (Eq. 4), least squares, or the shortest windows that take the answer.",
        ),
    ] = DEFAULTS.tis_aggregate,
    base: options.MaskBase = DEFAULTS.base,
    window_base: options.WindowBase = DEFAULTS.window_base,
    second_window_base: Annotated[
        Base | None,
        option("--second-window-base", help="Hide windows by this as well, and average the drops."),
    ] = DEFAULTS.second_window_base,
    constraint: options.Constraint = DEFAULTS.constraint,
    continuity: Annotated[
        float,
        option(
            "--continuity",
            help="Frames over which masks found by gradients are tied together; 0 leaves each to itself.",
        ),
    ] = DEFAULTS.continuity,
    cells: Annotated[
        int | None,
        option("--cells", help="Across a frame, of masks found by gradients; 16 if left out."),
    ] = DEFAULTS.cells,
    iterations: options.Iterations = DEFAULTS.iterations,
    queries: options.Queries = DEFAULTS.queries,
    estimator: Annotated[
        Estimator,
        option("--estimator", help="How finite differences search."),
    ] = DEFAULTS.estimator,
    sampling: options.Sampling = DEFAULTS.sampling,
    stride: options.Stride = DEFAULTS.stride,
    start: options.Start = DEFAULTS.start,
    end: options.End = DEFAULTS.end,
    style: Annotated[Style, option("--style", help="How the MP4 shows the mask.")] = DEFAULTS.style,
    format: Annotated[
        str, option("--format", help="What to write; the JSON always is.")
    ] = ",".join(DEFAULTS.formats),
    seed: options.Seed = DEFAULTS.seed,
    device: options.Device = "auto",
    batch_size: options.BatchSize = "auto",
    memory: options.Memory = "auto",
    reuse: Annotated[
        Reuse,
        option("--reuse", help="Compute once what the masked copies of a clip share, or not."),
    ] = DEFAULTS.reuse,
    precision: Annotated[
        Precision,
        option("--precision", help="Of scores; half is for GPUs, and moves them by about .001."),
    ] = DEFAULTS.precision,
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
    force: Annotated[
        bool,
        typer.Option(
            "--force/--resume",
            "-f",
            help="Explain again what is explained already, or keep it, which is the default.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be explained, and stop.")
    ] = False,
    shard: Annotated[
        str | None,
        option("--shard", help="Of the clips explain part I/N, such as 2/8, as one job of eight."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first clip that fails.")
    ] = False,
    max_failures: Annotated[
        int | None, option("--max-failures", help="Stop when so many clips have failed.")
    ] = None,
    timeout: Annotated[
        float | None,
        option("--timeout", help="Seconds that a clip, or loading the network, may take."),
    ] = None,
    isolate: Annotated[
        bool,
        option(
            "--isolate/--no-isolate",
            help="Work in processes of their own, so that a crash or a hang costs one clip.",
        ),
    ] = True,
    workers: Annotated[
        int | None,
        option("--workers", help="Clips explained side by side, each with its own session."),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        option("--engine", help="Where: on this machine, or on a Ray cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        option("--address", help="Of the Ray cluster; auto finds it; a new one if left out."),
    ] = None,
    json: options.Json = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print a line of JSON as each clip finishes.")
    ] = False,
    quiet: options.Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Show which moments and which pixels made a network answer.

    Writes CLIP.tiem.json and CLIP.masked.mp4.

    \b
    Example:
      tiem explain clip.mp4 -m net.onnx --labels labels.txt -o out
    """
    from tiemcli import command
    from tiemcli.command_explain import Run, Talk
    from tiemcli.command_explain import explain as explain_clips
    from tiemcli.request import Request

    areas_given = [options.source(context, name) for name in ("area", "areas")]
    request = Request(
        model=model,
        facts=options.facts_in(context, but="stride"),
        settings=with_preset(
            Settings(
                target=target,
                method=method,
                layer=layer,
                backend=backend,
                areas=command.parse_areas(area, areas, areas_given),
                target_score=target_score,
                alpha=alpha,
                windows=windows,
                tis_aggregate=tis_aggregate,
                base=base,
                window_base=window_base,
                second_window_base=second_window_base,
                constraint=constraint,
                continuity=continuity,
                cells=cells,
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
                precision=precision,
                reuse=reuse,
            ),
            preset,
            options.given(context),
        ),
        device=device,
        batch_size=command.parse_batch_size(batch_size),
        memory=command.parse_memory(memory),
        force=force,
        custom_ops=tuple(custom_ops or ()),
        connection=Connection(request_timeout, retries, rate),
    )
    run = Run(
        clips=tuple(clips or ()),
        input_list=input_list,
        folder=out,
        shard=shard,
        most_failures=1 if fail_fast else max_failures,
        timeout=timeout,
        isolate=isolate,
        engine=engine,
        workers=workers,
        address=address,
    )
    talk = Talk(json=json, jsonl=jsonl, quiet=quiet, verbose=verbose)
    raise typer.Exit(explain_clips(request, run, talk, dry_run))
