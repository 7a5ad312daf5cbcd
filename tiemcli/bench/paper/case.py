"""A clip, the network to explain on it, and what is known of the right answer."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiemcli.bench.paper.clips import STROKES, Clip, make_clips
from tiemcli.errors import UsageError
from tiemcli.kernels.arrays import Bools, Doubles, Floats
from tiemcli.scorers.network import Network

Kind = Literal["3-D CNN", "CNN-LSTM"]
KINDS: tuple[Kind, ...] = ("3-D CNN", "CNN-LSTM")

TRAINING_SEED = 0
SURE = 0.5
"""A trained network's answer counts as known above this probability."""


@dataclass(frozen=True, eq=False)
class Case:
    """One explanation to be made, and its truth.

    clip: (C, T, H, W) float32 in the network's units. signature: (T,) bool, the frames that speak
    for the target. region: (T, H, W) bool, the object whose motion tells the class, in every frame;
    None where unknown. weights: (T,) float64 ≥ 0, what each frame adds to the target's logit; None
    where the network does not tell.
    """

    name: str
    network: Network
    clip: Floats
    target: int
    signature: Bools
    region: Bools | None = None
    weights: Doubles | None = None


def signature_cases(
    kind: Kind, count: int, seed: int, progress: Callable[[str], None] = lambda what: None
) -> Iterator[Case]:
    """`count` made clips that a network trained on the spot gets right with p above `SURE`.

    seed: of the clips; the network is always the same and has seen none of them.
    Raises UsageError where torch is not installed.
    """
    progress(f"training the {kind}, about a minute")
    network = trained(kind)
    found = 0
    for name, clip in _unseen(seed):
        if found == count:
            return
        if network.outputs(clip.pixels)[clip.stroke] > SURE:
            found += 1
            yield Case(
                name=f"{kind}, {name}",
                network=network,
                clip=clip.pixels,
                target=clip.stroke,
                signature=clip.signature,
                region=clip.region,
            )


def trained(kind: Kind) -> Network:
    """The network, trained now and loaded as anybody's ONNX file would be."""
    try:
        from tiemcli.bench.paper.classifiers import export, load
        from tiemcli.bench.paper.training import train
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(
            "networks are trained for this table, and torch is not installed", "pip install torch"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(train(kind, TRAINING_SEED), path)
        return load(path)


def _unseen(seed: int) -> Iterator[tuple[str, Clip]]:
    """Clips without end, the strokes in turn, of seeds that no training uses; and their names."""
    block = 0
    while True:
        for index, clip in enumerate(make_clips((seed, block, 1), 4 * len(STROKES))):
            yield f"{STROKES[clip.stroke]} {4 * len(STROKES) * block + index}", clip
        block += 1


def data_folder() -> Path:
    """Where the real clips and networks lie: $TIEM_DATA, else beside the checkout.

    Raises UsageError where they do not.
    """
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("TIEM_DATA", beside))
    if not folder.is_dir():
        raise UsageError(
            f"the real clips and networks are not in {folder}", "set TIEM_DATA to their folder"
        )
    return folder
