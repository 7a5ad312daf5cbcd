"""The options of `tiem explain`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tiemcli import options
from tiemcli.options import option
from tiemcli.settings import (
    Aggregate,
    Backend,
    Base,
    Estimator,
    Method,
    Precision,
    Reuse,
    Sampling,
    Settings,
    Style,
)

DEFAULTS = Settings()


def explain(
    context: typer.Context,
    clips: Annotated[list[Path], typer.Argument(help="Video files.", metavar="CLIP...")],
    model: Annotated[Path, option("--model", "-m", help="The network, an ONNX file.")],
    out: Annotated[Path, option("--out", "-o", help="Where results go.")] = Path(),
    target: Annotated[
        str | None,
        option("--target", help="Label or index to explain; the top answer if left out."),
    ] = None,
    method: Annotated[Method, option("--method", help="How.")] = DEFAULTS.method,
    backend: Annotated[
        Backend,
        option("--backend", help="Gradients through the network, or queries alone."),
    ] = DEFAULTS.backend,
    area: Annotated[
        float | None, option("--area", help="Share of the clip to keep; .1 if left out.")
    ] = None,
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
        option("--tis-aggregate", help="From windows to frames: means (Eq. 4), or least squares."),
    ] = DEFAULTS.tis_aggregate,
    base: Annotated[Base, option("--base", help="What masks put in place.")] = DEFAULTS.base,
    window_base: Annotated[
        Base,
        option("--window-base", help="What windows put in place."),
    ] = DEFAULTS.window_base,
    constraint: Annotated[
        Literal["exact", "penalty"],
        option("--constraint", help="Areas met, or asked for (Eq. 7)."),
    ] = DEFAULTS.constraint,
    iterations: Annotated[
        int | None,
        option("--iterations", help="Gradient steps, at most; 60, or 400 for the penalty."),
    ] = DEFAULTS.iterations,
    queries: Annotated[
        int, option("--queries", help="Evaluations for a mask without gradients, at most.")
    ] = DEFAULTS.queries,
    estimator: Annotated[
        Estimator,
        option("--estimator", help="How finite differences search."),
    ] = DEFAULTS.estimator,
    sampling: Annotated[
        Sampling,
        option(
            "--sampling", help="Frames from all over the clip, or consecutive ones from its middle."
        ),
    ] = DEFAULTS.sampling,
    stride: options.Stride = DEFAULTS.stride,
    start: Annotated[
        float | None, option("--start", help="Explain from this second.")
    ] = DEFAULTS.start,
    end: Annotated[float | None, option("--end", help="Explain up to this second.")] = DEFAULTS.end,
    style: Annotated[Style, option("--style", help="How the MP4 shows the mask.")] = DEFAULTS.style,
    format: Annotated[
        str, option("--format", help="What to write; the JSON always is.")
    ] = ",".join(DEFAULTS.formats),
    seed: options.Seed = DEFAULTS.seed,
    device: Annotated[str, option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[
        str, option("--batch-size", help="Clips evaluated at once; auto finds the best.")
    ] = "auto",
    memory: Annotated[
        str,
        option(
            "--memory",
            help="For what is computed once, such as 4GB; auto is a quarter of what is free.",
        ),
    ] = "auto",
    reuse: Annotated[
        Reuse,
        option("--reuse", help="Compute once what the masked copies of a clip share, or not."),
    ] = DEFAULTS.reuse,
    precision: Annotated[
        Precision,
        option("--precision", help="Of scores; half is for GPUs, and moves them by about .001."),
    ] = DEFAULTS.precision,
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
        bool, typer.Option("--force", "-f", help="Explain again what is explained already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be explained, and stop.")
    ] = False,
    json: options.Json = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print a line of JSON as each clip finishes.")
    ] = False,
    quiet: options.Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Show which moments and which pixels made a network answer.

    Writes CLIP.tiem.json and CLIP.masked.mp4. For example:
    tiem explain clip.mp4 -m net.onnx --labels labels.txt -o out
    """
    from tiemcli import command
    from tiemcli.batch import Request

    given = map(context.get_parameter_source, ("area", "areas"))
    sources = ["" if source is None else source.name for source in given]
    request = Request(
        clips=tuple(clips),
        model=model,
        facts=options.facts_in(context, but="stride"),
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
            precision=precision,
            reuse=reuse,
        ),
        folder=out,
        device=device,
        batch_size=command.parse_batch_size(batch_size),
        memory=command.parse_memory(memory),
        force=force,
    )
    raise typer.Exit(
        command.explain(
            request, command.Talk(json=json, jsonl=jsonl, quiet=quiet, verbose=verbose), dry_run
        )
    )
