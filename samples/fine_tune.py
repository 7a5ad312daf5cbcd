"""`python -m tiemcli.samples.fine_tune`: train one of the paper's networks on labelled clips."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tiemcli.errors import TiemError

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """A user's mistake is one line and its exit code, a bug a traceback."""
    try:
        app()
    except TiemError as error:
        from tiemcli.terminal import print_error

        print_error(error)
        sys.exit(error.exit_code)


@app.command()
def fine_tune(
    folder: Annotated[Path, typer.Argument(help="Holds LABEL/CLIP.avi.", metavar="FOLDER")],
    network: Annotated[
        Literal["r2plus1d-18", "resnet50-lstm"],
        typer.Option("--network", help="The paper's, of Table 4 or 5."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file of weights to write.")] = Path(
        "weights.pt"
    ),
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            help="To start from: DEFAULT downloads torchvision's, none is random; or its file.",
        ),
    ] = "DEFAULT",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes; the paper's 50, or 100 for resnet50-lstm, if left out."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Clips a step; 16 if left out.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip.")] = 16,
    size: Annotated[str, typer.Option(help="Of the frames, 128 or HEIGHTxWIDTH.")] = "128",
    train_list: Annotated[
        Path | None,
        typer.Option(
            help="Clips to learn from, a line each, as UCF101's trainlist01.txt; the others test.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all that is random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Fine-tune one of the paper's networks on clips sorted into a folder for each label.

    The weights that do best on the validation clips are written, for
    tiem export paper:NETWORK --weights weights.pt -o net.onnx
    """
    from tiemcli.facts import facts_from_flags
    from tiemcli.samples.tune import Request, run

    run(
        Request(
            folder=folder,
            network=network,
            out=out,
            backbone=backbone,
            epochs=epochs,
            batch=batch_size,
            frames=frames,
            size=facts_from_flags({"size": size}).size,
            train_list=train_list,
            seed=seed,
            device=device,
        )
    )


if __name__ == "__main__":
    main()
