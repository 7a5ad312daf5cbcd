"""A session with masks in front of a network, its batch freed and verified if it can be."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime as ort

from tiemcli.errors import ModelError, TiemError, first_line
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.kernels.free_batch import free_batch
from tiemcli.kernels.fuse import Port, fuse
from tiemcli.kernels.layout import network_shape
from tiemcli.kernels.sizes import largest_value
from tiemcli.memory import available_memory
from tiemcli.model import Model, OnnxModel
from tiemcli.scorers.answer import expected_answers, rows_of, understand
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.fused import FusedScorer
from tiemcli.scorers.half import in_half_precision
from tiemcli.scorers.session import (
    LONGEST_LOOP,
    ONLY_FATAL,
    ended_late,
    fold_constants,
    make_session,
)
from tiemcli.settings import Precision

# The largest difference, in units of the outputs' range, that a rewritten graph may show; where the
# input is in half precision, a last digit of it that falls the other way is worth more.
TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-3
# The same where all of the network is in half precision.
ALL_HALF_TOLERANCE = 1e-2
# The same for a network that rounds inside, where clips go one by one: the last digit of a pixel may
# turn a number of eight bits the other way.
QUANTISED_TOLERANCE = 2e-2
# What float32 rounds off, in units of the largest output: all there is where the range is nothing.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Verified:
    """A session of masks in front of a network that answers as the network does.

    graph: the network's in it. looped: the batch that could not be freed, None where it is free.
    rewritten: the graph had to be changed for that. notes: what was assumed or given up, a line each.
    """

    port: Port
    session: ort.InferenceSession
    graph: onnx.ModelProto
    looped: int | None
    rewritten: bool
    notes: tuple[str, ...]


def verified(model: OnnxModel, device: str, precision: Precision, probes: Floats) -> Verified:
    """The session, seen to answer two probes (2, C, T, H, W) as the network does alone.

    Raises ModelError where there is none, DeviceError where the device does not come up.
    """
    reference = [rows_of(model, output) for output in _run_as_it_is(model, device, probes)]
    port, notes = understand(model, reference)
    expected = expected_answers(reference, port)
    tolerance = HALF_TOLERANCE if model.element_type == onnx.TensorProto.FLOAT16 else TOLERANCE
    run = model
    if precision == "half":
        run = replace(model, proto=in_half_precision(model.proto, model.path.parent))
        tolerance = ALL_HALF_TOLERANCE
    # Not in the very batch that the file may be fixed at.
    several = 3 if model.batch == 2 else 2
    for proto in _candidates(run):
        session = _fused(proto, model, port, device)
        if session is not None and _agrees(session, probes, expected, tolerance, batch=several):
            return Verified(port, session, proto, None, proto is not run.proto, notes)
    copies = model.batch or 1
    tolerance = QUANTISED_TOLERANCE if is_quantised(model.proto) else tolerance
    session = _fused(run.proto, model, port, device)
    if session is None or not _agrees(session, probes, expected, tolerance, batch=1, copies=copies):
        if precision == "half":
            raise ModelError(
                "the network answers differently in half precision", "leave out --precision half"
            )
        raise ModelError(
            "the network answers differently with masks in front of it",
            "does it draw random numbers, as dropout does? export it in evaluation mode",
        )
    return Verified(port, session, run.proto, copies, False, (*notes, one_by_one(copies)))


def one_by_one(most: int) -> str:
    """What to tell where clips cannot be scored together, or not more than so many."""
    return f"clips go one by one: a batch larger than {most} fails or changes the answer"


def is_quantised(proto: onnx.ModelProto) -> bool:
    """Whether any operator of the network rounds."""
    return any("Quant" in node.op_type or "Integer" in node.op_type for node in proto.graph.node)


def probe_clips(model: Model) -> Floats:
    """Two smooth random clips (2, C, T, H, W) float32 in the network's units, always the same."""
    random = np.random.default_rng(0)
    _, frames, height, width = model.shape
    coarse = random.integers(0, 256, size=(2, frames, 4, 4, 3)).astype(np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    clips = coarse[:, :, rows][:, :, :, columns]
    return np.stack([model.preprocessing.clip(clip) for clip in clips])


def _run_as_it_is(model: OnnxModel, device: str, probes: Floats) -> list[np.ndarray]:
    """The raw output for each probe, the network fed one clip at a time (its fixed batch filled)."""
    _check_memory(model)
    session = make_session(model.proto, model.path.parent, device, model.custom_ops)
    outputs = []
    for probe in probes:
        fed = model.tensor(np.repeat(probe[None], model.batch or 1, axis=0))
        options = ort.RunOptions()
        options.log_severity_level = ONLY_FATAL
        try:
            with ended_late(options, model.proto):
                (output,) = session.run([model.output], {model.input: fed}, options)
        except Exception as error:
            if options.terminate:
                raise ModelError(
                    f"a loop of the network has not ended after {LONGEST_LOOP} s",
                    "does it ever? look at its graph",
                ) from error
            raise ModelError(
                f"the network does not run on {fed.dtype} input of shape {list(fed.shape)}: "
                f"{first_line(error)}",
                "check --layout, --frames and --size",
            ) from error
        outputs.append(np.asarray(output))
    return outputs


def _check_memory(model: OnnxModel) -> None:
    """Raises ModelError where the graph tells of a value that memory does not hold."""
    shape = network_shape(model.layout, model.sizes, model.batch or 1)
    name, wanted = largest_value(model.proto, model.input, shape)
    free = available_memory()
    if wanted > free:
        raise ModelError(
            f"the network's value {name!r} takes {wanted / 1e9:,.1f} GB, {free / 1e9:,.1f} GB are free",
            "check --frames and --size, or export it for a smaller input",
        )


def _candidates(model: OnnxModel) -> Iterator[onnx.ModelProto]:
    """The graph as it is, which often takes any batch whatever it declares, then rewritten ones.

    Folding its constants first lets shapes be inferred that the file computes as it runs.
    """
    yield model.proto
    if model.batch is not None:
        for proto in (
            model.proto,
            fold_constants(model.proto, model.path.parent, model.custom_ops),
        ):
            freed = None if proto is None else free_batch(proto, model.input)
            if freed is not None:
                yield freed


def _fused(
    proto: onnx.ModelProto, model: OnnxModel, port: Port, device: str
) -> ort.InferenceSession | None:
    try:
        return make_session(fuse(proto, port), model.path.parent, device, model.custom_ops)
    except ValueError as error:
        raise ModelError(str(error), "convert it with onnx.version_converter") from error
    except ModelError:
        return None


def _agrees(
    session: ort.InferenceSession,
    probes: Floats,
    expected: Doubles,
    tolerance: float,
    *,
    batch: int,
    copies: int = 1,
) -> bool:
    """Whether two probes, as clip and base in turn in batches of `batch`, answer as each did alone."""
    first, second = probes
    scorer = FusedScorer(session, Batching(batch), first, second, target=0, copies=copies)
    turns = np.arange(max(2, batch)) % 2
    keep = (1 - turns[:, None]).astype(np.float32).repeat(first.shape[1], axis=1)
    try:
        answers = scorer.outputs(keep)
    except TiemError:  # a pinned batch stumbles over this or that
        return False
    allowed = tolerance * np.ptp(expected) + ROUNDING * np.abs(expected).max()
    wanted = expected[turns]
    return answers.shape == wanted.shape and bool(np.abs(answers - wanted).max() <= allowed)
