"""A network made ready for scoring: fused, its batch freed and verified, its output understood."""

import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort

from tiemcli.errors import ModelError, TiemError, first_line
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.kernels.free_batch import free_batch
from tiemcli.kernels.fuse import Port, fuse
from tiemcli.memory import available_memory
from tiemcli.model import Model
from tiemcli.scorers.answer import expected_answers, rows_of, understand
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.fused import FusedScorer, device_of
from tiemcli.scorers.half import in_half_precision
from tiemcli.scorers.reuse.shared import SAME, AnsweringScorer, Reuse, Whole, difference
from tiemcli.scorers.reuse.splitting import split_frame_wise
from tiemcli.scorers.reuse.unrolled import unroll
from tiemcli.scorers.session import fold_constants, make_session
from tiemcli.settings import Precision

if TYPE_CHECKING:
    from tiemcli.gradients import Differentiable

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
class Network:
    """One network on one device, to be bound to any number of clips.

    session: of the fused graph. looped: the batch that could not be freed, None where it is free.
    rewritten: the session's graph had to be changed for that. notes: what was assumed or given up, a
    line each. reuse: how work is saved that several clips share, None where none is.
    """

    model: Model
    port: Port
    session: ort.InferenceSession
    batching: Batching
    looped: int | None
    rewritten: bool
    notes: tuple[str, ...]
    reuse: Reuse | None = None

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self.session.get_providers())

    @property
    def device(self) -> str:
        """Where the session computes, as torch names it: cpu or cuda:N."""
        kind, index = device_of(self.session)
        return kind if kind == "cpu" else f"{kind}:{index}"

    @cached_property
    def differentiable(self) -> "Differentiable":
        """The network in torch, made once for all clips.

        Raises ModelError where there is no torch, or no function for one of its operators.
        """
        try:
            import torch

            from tiemcli.gradients import Differentiable
        except ImportError as error:
            raise ModelError("torch is not installed (pip install torch)") from error
        device = self.device if torch.cuda.is_available() else "cpu"
        return Differentiable(self.model.with_weights(), device)

    @property
    def quantised(self) -> bool:
        """Whether any operator of the network rounds."""
        return _is_quantised(self.model.proto)

    def scorer(self, clip: Floats, base: Floats, target: int = 0) -> AnsweringScorer:
        """The scorer of one output under masks between clip and base, (C, T, H, W) float32."""
        plain = self.whole(clip, base, target)
        return self.reuse.scorer(plain, clip, base, target) if self.reuse else plain

    def whole(self, clip: Floats, base: Floats, target: int = 0) -> FusedScorer:
        """The same, computing every clip anew."""
        copies = self.looped or 1
        return FusedScorer(self.session, self.batching, clip, base, target, copies=copies)

    def outputs(self, clip: Floats) -> Doubles:
        """Every output for a clip (C, T, H, W) float32, softmaxed if logits: (K,) float64."""
        frames = clip.shape[1]
        everything: Doubles = self.whole(clip, clip).outputs(np.ones((1, frames), np.float32))[0]
        return everything


def load_network(
    model: Model,
    device: str,
    batch_size: int | None = None,
    memory: int | None = None,
    reuse: bool = True,
    precision: Precision = "full",
) -> Network:
    """Sessions made, output kind settled, batch freed if it can be, shared work found.

    batch_size: clips a run, None to find the best while scoring. memory: bytes that tables of shared
    work may take, None for a quarter of what is free. reuse: whether to look for such work. precision:
    of what is scored. Raises ModelError where the network cannot be run as the model says, or not in
    that precision, DeviceError where the device does not come up.
    """
    probes = _probe_clips(model)
    network, proto = _whole_network(model, device, batch_size, precision, probes)
    if not reuse:
        return network
    whole = Whole(
        model=model,
        graph=proto,
        port=network.port,
        device=device,
        looped=network.looped,
        batch_size=batch_size,
        memory=available_memory() // 4 if memory is None else memory,
    )
    found, given_up = _find_reuse(whole, network.whole(*probes), probes)
    return replace(network, reuse=found, notes=(*network.notes, *given_up))


def _find_reuse(
    whole: Whole, plain: FusedScorer, probes: Floats
) -> tuple[Reuse | None, tuple[str, ...]]:
    """How work is saved that clips share, and a line on what had to be given up.

    plain: the scorer between the probes without reuse. Ways are tried in this order, the one that
    saves most first.
    """
    notes: tuple[str, ...] = ()
    for look in (split_frame_wise, unroll):
        found, given_up = _tried(look, whole, plain, probes)
        if found is not None:
            return found, ()
        notes += given_up
    return None, tuple(dict.fromkeys(notes))


def _tried(
    look: Callable[[Whole], Reuse | None], whole: Whole, plain: FusedScorer, probes: Floats
) -> tuple[Reuse | None, tuple[str, ...]]:
    """What a way finds, if scores are the same with it and without; or why it is given up."""
    try:
        found = look(whole)
        if found is None:
            return None, ()
        apart = difference(found, plain, whole.port.output_kind, *probes)
    except TiemError as error:
        return None, (f"clips share no work: {error.message}",)
    except MemoryError:
        return None, ("clips share no work: there is no memory to look for any",)
    except Exception:  # noqa: BLE001  a bug of ours, seen as one; but the network answers without
        bug = f"clips share no work, by a bug: please report it\n{traceback.format_exc()}"
        warnings.warn(bug, RuntimeWarning, stacklevel=1)
        return None, ()
    if apart <= SAME:
        return found, ()
    return None, (f"{found.given_up}: it would change scores by {apart:.0e}",)


def _whole_network(
    model: Model, device: str, batch_size: int | None, precision: Precision, probes: Floats
) -> tuple[Network, onnx.ModelProto]:
    """The network without reuse, and the graph that is fused in its session."""
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
            rewritten, batching = proto is not run.proto, Batching(batch_size)
            return Network(model, port, session, batching, None, rewritten, notes), proto
    copies = model.batch or 1
    tolerance = QUANTISED_TOLERANCE if _is_quantised(model.proto) else tolerance
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
    what = f"a batch larger than {copies} fails or changes the answer"
    notes = (*notes, f"clips go one by one: {what}")
    return Network(model, port, session, Batching(1), copies, False, notes), run.proto


def _is_quantised(proto: onnx.ModelProto) -> bool:
    return any("Quant" in node.op_type or "Integer" in node.op_type for node in proto.graph.node)


def _probe_clips(model: Model) -> Floats:
    """Two smooth random clips (2, C, T, H, W) float32 in the network's units, always the same."""
    random = np.random.default_rng(0)
    _, frames, height, width = model.shape
    coarse = random.integers(0, 256, size=(2, frames, 4, 4, 3)).astype(np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    clips = coarse[:, :, rows][:, :, :, columns]
    return np.stack([model.preprocessing.clip(clip) for clip in clips])


def _run_as_it_is(model: Model, device: str, probes: Floats) -> list[np.ndarray]:
    """The raw output for each probe, the network fed one clip at a time (its fixed batch filled)."""
    session = make_session(model.proto, model.path.parent, device)
    outputs = []
    for probe in probes:
        fed = model.tensor(np.repeat(probe[None], model.batch or 1, axis=0))
        try:
            (output,) = session.run([model.output], {model.input: fed})
        except Exception as error:
            raise ModelError(
                f"the network does not run on {fed.dtype} input of shape {list(fed.shape)}: "
                f"{first_line(error)}",
                "check --layout, --frames and --size",
            ) from error
        outputs.append(np.asarray(output))
    return outputs


def _candidates(model: Model) -> Iterator[onnx.ModelProto]:
    """The graph as it is, which often takes any batch whatever it declares, then rewritten ones.

    Folding its constants first lets shapes be inferred that the file computes as it runs.
    """
    yield model.proto
    if model.batch is not None:
        for proto in (model.proto, fold_constants(model.proto, model.path.parent)):
            freed = None if proto is None else free_batch(proto, model.input)
            if freed is not None:
                yield freed


def _fused(
    proto: onnx.ModelProto, model: Model, port: Port, device: str
) -> ort.InferenceSession | None:
    try:
        return make_session(fuse(proto, port), model.path.parent, device)
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
