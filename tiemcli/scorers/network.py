"""What may be asked of a network, and one of a file made ready for that."""

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime as ort

from tiemcli.errors import ModelError, TiemError
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.kernels.fuse import Port
from tiemcli.memory import available_memory
from tiemcli.model import Model, OnnxModel
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.endpoint import Asked
from tiemcli.scorers.fused import FusedScorer, device_of
from tiemcli.scorers.reuse.shared import SAME, AnsweringScorer, Reuse, Whole, difference
from tiemcli.scorers.reuse.splitting import split_frame_wise
from tiemcli.scorers.reuse.unrolled import unroll
from tiemcli.scorers.verified import is_quantised, probe_clips, verified
from tiemcli.settings import Precision

if TYPE_CHECKING:
    from tiemcli.gradients import Differentiable


class Network(Protocol):
    """One network, to be bound to any number of clips.

    port: how it is fed and its answers read. batching: how many clips go at once. looped: the batch
    that could not be freed, None where it is free. notes: what was assumed or given up, a line each.
    reuse: how work is saved that several clips share, None where none is. providers: what computes.
    quantised: whether the network is known to round inside.
    """

    @property
    def model(self) -> Model: ...
    @property
    def port(self) -> Port: ...
    @property
    def batching(self) -> Batching: ...
    @property
    def looped(self) -> int | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def reuse(self) -> Reuse | None: ...
    @property
    def providers(self) -> tuple[str, ...]: ...
    @property
    def quantised(self) -> bool: ...

    @property
    def differentiable(self) -> "Differentiable":
        """The network in torch, made once for all clips. Raises ModelError where it cannot be."""
        ...

    def scorer(self, clip: Floats, base: Floats, target: int = 0) -> AnsweringScorer:
        """The scorer of one output under masks between clip and base, (C, T, H, W) float32."""
        ...

    def whole(self, clip: Floats, base: Floats, target: int = 0) -> AnsweringScorer:
        """The same, computing every clip anew."""
        ...

    def outputs(self, clip: Floats) -> Doubles:
        """Every output for a clip (C, T, H, W) float32, softmaxed if logits: (K,) float64."""
        ...

    def asked(self) -> Asked | None:
        """What it took so far to ask a network that is elsewhere; None for one that is here."""
        ...


@dataclass(frozen=True)
class OnnxNetwork:
    """A `Network` of a file, on one device.

    session: of the fused graph. rewritten: the session's graph had to be changed to free its batch.
    """

    model: OnnxModel
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
        return is_quantised(self.model.proto)

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

    def asked(self) -> None:
        """It is here."""


def load_network(
    model: OnnxModel,
    device: str,
    batch_size: int | None = None,
    memory: int | None = None,
    reuse: bool = True,
    precision: Precision = "full",
) -> OnnxNetwork:
    """Sessions made, output kind settled, batch freed if it can be, shared work found.

    batch_size: clips a run, None to find the best while scoring. memory: bytes that tables of shared
    work may take, None for a quarter of what is free. reuse: whether to look for such work. precision:
    of what is scored. Raises ModelError where the network cannot be run as the model says, or not in
    that precision, DeviceError where the device does not come up.
    """
    probes = probe_clips(model)
    found = verified(model, device, precision, probes)
    batching = Batching(batch_size if found.looped is None else 1)
    network = OnnxNetwork(
        model, found.port, found.session, batching, found.looped, found.rewritten, found.notes
    )
    if not reuse:
        return network
    whole = Whole(
        model=model,
        graph=found.graph,
        port=network.port,
        device=device,
        looped=network.looped,
        batch_size=batch_size,
        memory=available_memory() // 4 if memory is None else memory,
    )
    saving, given_up = _find_reuse(whole, network.whole(*probes), probes)
    return replace(network, reuse=saving, notes=(*network.notes, *given_up))


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
