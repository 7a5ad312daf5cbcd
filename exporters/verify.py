"""Whether an ONNX file answers as the network that it was made from."""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from tiemcli.errors import ModelError, first_line
from tiemcli.exporters.original import Original
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.fuse import Port
from tiemcli.kernels.layout import network_shape
from tiemcli.model import Model, OnnxModel, load_model
from tiemcli.pipeline import read_clip
from tiemcli.scorers.answer import rows_of, understand
from tiemcli.scorers.session import make_session
from tiemcli.settings import Settings

CLIP = "clip.mp4"  # the one that ships with tiem
# Two networks that answer the same for everything have no range to compare by.
_NARROWEST = 1e-6
# No rounding goes so far.
FAR = 0.1
_BRANCHES = "does its code branch on the clip? --converter dynamo may say where"


@dataclass(frozen=True)
class Agreement:
    """How a file is fed and how well it answers.

    shape: of its input, None where it is free. facts: all of them, those that were assumed too.
    random, clip: the largest difference from the original's answer on noise and on the clip that
    ships with tiem, in units of the range of all its answers. notes: what was assumed.
    """

    input: str
    shape: tuple[int | None, ...]
    facts: Facts
    classes: int
    random: float
    clip: float
    notes: tuple[str, ...]

    @property
    def batch(self) -> int | None:
        return self.shape[0]


def verify(path: Path, original: Original, allowed: float) -> Agreement:
    """Compare a file with its original, by the input that the file's own facts describe.

    allowed: the largest difference, in units of the range of the original's answers. Raises
    ModelError for a larger one, and for a file that cannot be read, run or understood.
    """
    model = load_model(path, Facts())
    clips = {"random": _noise(model), "clip": _sample(model)}
    # A batch of one clip alone: what its rows are can be read from no other.
    copies = np.repeat(clips["random"][:1], model.batch or 1, axis=0)
    expected = {name: _answer(original, model, batch) for name, batch in clips.items()}
    found = _run(model, clips | {"copies": copies})
    if model.batch is None:
        _check_apart(found["clip"], found["random"])
    port, assumed = understand(model, [rows_of(model, found[name]) for name in ("copies", "clip")])
    spread = max(_NARROWEST, float(np.ptp(np.concatenate([a.ravel() for a in expected.values()]))))
    differences = {name: _difference(found[name], expected[name]) / spread for name in clips}
    worst = float(np.max(list(differences.values())))  # unlike max, NaN where there is one
    if not worst <= allowed:
        raise ModelError(
            f"the file answers differently from the original, by {worst:.1e} of its range where "
            f"{allowed:.0e} is allowed",
            _BRANCHES if worst > FAR else "give another --converter or --opset, or a --tolerance",
        )
    return Agreement(
        input=model.input,
        shape=_shape(model),
        facts=_settled(model, port),
        classes=port.classes,
        random=differences["random"],
        clip=differences["clip"],
        notes=tuple(f"assumed: {line}" for line in assumed),
    )


def _noise(model: Model) -> Floats:
    """Two seeded random clips (N, C, T, H, W) as the network is fed them; as many as it must have.

    Grain on a few large patches a frame: no network is made for grain alone, and some that are
    sound answer to it wildly.
    """
    _, frames, height, width = model.shape
    random = np.random.default_rng(0)
    shape = (model.batch or 2, frames, height, width, 3)
    grain = random.integers(0, 32, size=shape)
    patches = random.integers(0, 256 - 32, size=(*shape[:2], 4, 4, 3))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    pixels = (patches[:, :, rows][:, :, :, columns] + grain).astype(np.uint8)
    return np.stack([model.preprocessing.clip(clip) for clip in pixels])


def _sample(model: Model) -> Floats:
    """The clip that ships with tiem, read and prepared as any other is; as often as it must be."""
    with as_file(files("tiemcli.samples") / CLIP) as path:
        clip = read_clip(path, model, Settings()).input
    return np.repeat(clip[None], model.batch or 1, axis=0)


def _answer(original: Original, model: Model, clips: Floats) -> np.ndarray:
    answer = original.answer(model.tensor(clips).astype(original.dtype))
    if not (answer.size and np.isfinite(answer).all()):
        raise ModelError("the original's answer is no number", "check --mean, --std and --scale")
    return answer


def _run(model: OnnxModel, clips: dict[str, Floats]) -> dict[str, np.ndarray]:
    session = make_session(model.proto, model.path.parent, "cpu")
    try:
        return {
            name: np.asarray(session.run([model.output], {model.input: model.tensor(batch)})[0])
            for name, batch in clips.items()
        }
    except Exception as error:
        raise ModelError(
            f"the file does not run: {first_line(error)}",
            "give another --converter or --opset, or --batch 1; for Keras set KERAS_BACKEND=torch",
        ) from error


def _check_apart(one: np.ndarray, two: np.ndarray) -> None:
    """Raise ModelError where the answers to one clip and to two are not an answer for each."""
    if not one.shape or two.shape != (2 * len(one), *one.shape[1:]):
        raise ModelError(
            f"the network answers {list(one.shape)} numbers for a clip, {list(two.shape)} for two",
            "give --batch 1",
        )


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        raise ModelError(
            f"the file answers {list(found.shape)} numbers, the original {list(expected.shape)}",
            "give another --converter, or --batch 1",
        )
    return float(np.abs(found.astype(np.float64) - expected).max())


def _shape(model: Model) -> tuple[int | None, ...]:
    fixed = network_shape(model.layout, model.sizes, batch=model.batch or 1)
    return (fixed[0] if model.batch else None, *fixed[1:])


def _settled(model: Model, port: Port) -> Facts:
    """All that the file must say for nothing to be left to assume."""
    pixels = model.preprocessing
    return Facts(
        layout=model.layout,
        frames=model.sizes["T"],
        stride=model.stride,
        size=(pixels.height, pixels.width),
        mean=pixels.mean,
        std=pixels.std,
        scale=pixels.scale,
        color=pixels.color,
        resize=pixels.resize,
        output=port.output_kind,
        output_name=model.output,
        aggregate=port.aggregate if port.rows > 1 else None,
        labels=model.labels or None,
    )
