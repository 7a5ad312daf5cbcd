"""What a network's output means: which numbers are one clip's, and how they become one answer."""

from dataclasses import dataclass

import numpy as np

from tiemcli.errors import ModelError
from tiemcli.kernels.arrays import Doubles
from tiemcli.kernels.fuse import OutputKind, Port
from tiemcli.model import Model

# How far the rows of a clip and its copy may be apart, in units of the output's range.
ALIKE = 1e-2


@dataclass(frozen=True)
class Rows:
    """What a network answers for one clip: (R, K) float64, a row for the clip, or one a frame or
    window of it; classes_first: its output has them as (K, R)."""

    values: Doubles
    classes_first: bool = False


def rows_of(model: Model, output: np.ndarray) -> Rows:
    """The first clip's rows in the output of a full batch, all copies of that clip.

    Raises ModelError if there are none, or if the copies' are not alike.
    """
    if not np.issubdtype(output.dtype, np.floating):
        raise ModelError(
            f"the network's output {model.output!r} is {output.dtype}, no scores",
            "choose another by --output-name",
        )
    clips = model.batch or 1
    values = output.astype(np.float64)
    if values.ndim < 2:
        values = values.reshape(clips if values.size == clips else 1, -1)
    while values.ndim > (2 if model.aggregate is None else 3) and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 2 and len(values) == clips and _is_row_of_rows(model, values):
        values = values[:, :, None]
    apart = values.ndim == 3 and len(values) == clips
    if not (apart or (values.ndim == 2 and len(values) % clips == 0)) or not values.size:
        raise ModelError(
            f"the network's output {model.output!r} has shape {list(output.shape)} for {clips} "
            "clip(s), not one row of scores each",
            "is this a video classifier? choose another output by --output-name",
        )
    copies = values.reshape(clips, -1, values.shape[-1])
    with np.errstate(invalid="ignore"):  # what is no number is another error
        differ = np.abs(copies - copies[0]).max() > ALIKE * np.ptp(values)
    if differ:
        raise ModelError(
            f"the network's output {model.output!r} of shape {list(output.shape)} is not in the "
            f"order of its {clips} clips: it differs where they do not",
            "choose another output by --output-name, or export it again",
        )
    if not apart:
        return Rows(copies[0])
    first = values[0]
    return Rows(first.T, True) if _has_classes_first(model, first.shape) else Rows(first)


def _is_row_of_rows(model: Model, values: Doubles) -> bool:
    """Whether the numbers of one row are one a frame, as a scorer of frames gives them; logits are
    never one alone, whose softmax is 1."""
    if model.aggregate is None or model.output_kind == "logits":
        return False
    return values.shape[1] not in (1, len(model.labels))


def _has_classes_first(model: Model, shape: tuple[int, ...]) -> bool:
    """Whether (A, B) numbers are B rows of A classes: as the labels say, or for B frames or windows
    that share the frames out."""
    first, last = shape
    frames = model.sizes["T"]
    if model.labels:
        return first == len(model.labels) != last
    if frames in shape:
        return last == frames != first
    return frames % last == 0 != frames % first


def understand(model: Model, reference: list[Rows]) -> tuple[Port, tuple[str, ...]]:
    """How to read the output, and what had to be assumed for it, a line each.

    reference: the network's own answers to some clips. Raises ModelError where they are no numbers
    or are not what the user says of them.
    """
    if not all(np.isfinite(rows.values).all() for rows in reference):
        raise ModelError("the network's answer is no number", "check --mean, --std and --scale")
    rows, classes = reference[0].values.shape
    notes = list(model.assumed)
    kind = model.output_kind or model.declared_kind or _infer_kind(reference)
    if model.output_kind is None:
        notes.append(f"output {kind}")
    if model.labels and len(model.labels) != classes:
        raise ModelError(
            f"{len(model.labels)} labels for {classes} outputs", "give --labels in the right number"
        )
    if isinstance(model.aggregate, int) and not -rows <= model.aggregate < rows:
        raise ModelError(
            f"the network's output has {rows} row(s) for a clip, none of index {model.aggregate}",
            "give another --aggregate: mean, max, or an index such as 0 or -1",
        )
    if rows > 1 and model.aggregate is None:
        what = "frames" if rows == model.sizes["T"] else f"{rows} windows"
        notes.append(f"the answer is the mean over {what}")
    port = Port(
        input=model.input,
        layout=model.layout,
        sizes=model.sizes,
        element_type=model.element_type,
        output=model.output,
        output_kind=kind,
        classes=classes,
        rows=rows,
        aggregate="mean" if model.aggregate is None else model.aggregate,
        classes_first=reference[0].classes_first,
    )
    return port, tuple(notes)


def _infer_kind(reference: list[Rows]) -> OutputKind:
    """Probabilities if the rows are distributions."""
    rows = np.concatenate([answer.values for answer in reference])
    if rows.shape[1] == 1:
        return "value"
    distributions = (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3)
    return "probabilities" if distributions else "logits"


def expected_answers(reference: list[Rows], port: Port) -> Doubles:
    """What the fused graph should answer for the probes: (2, K) float64."""
    return _joined(np.stack([rows.values for rows in reference]), port)


def answers_in(output: np.ndarray, clips: int, port: Port) -> Doubles:
    """The answers for so many clips in an output for all of them, as `fuse.read` has them: (N, K)
    float64, softmaxed if they are logits. Raises ValueError where it is not of their size."""
    values = output.astype(np.float64)
    if port.classes_first:
        return _joined(values.reshape(clips, port.classes, port.rows).swapaxes(1, 2), port)
    return _joined(values.reshape(clips, port.rows, port.classes), port)


def _joined(answers: Doubles, port: Port) -> Doubles:
    """Rows (N, R, K) float64 as one a clip, (N, K)."""
    rows: Doubles
    match port.aggregate:
        case "mean":
            rows = answers.mean(axis=1)
        case "max":
            rows = answers.max(axis=1)
        case row:
            rows = answers[:, row]
    if port.output_kind == "logits":
        rows = np.exp(rows - rows.max(axis=1, keepdims=True))
        rows /= rows.sum(axis=1, keepdims=True)
    return rows
