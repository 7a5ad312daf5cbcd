"""A network of which only the answers are known: clips are masked here and answered elsewhere."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tiemcli.axes import settle_batch, settle_layout, settle_sizes
from tiemcli.errors import ClipError, ModelError
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.blend import blend
from tiemcli.kernels.fuse import Port
from tiemcli.kernels.upsample import Upsampling
from tiemcli.model import Model, assumed, settle_preprocessing
from tiemcli.scorers import Progress, unheard
from tiemcli.scorers.answer import Rows, answers_in, expected_answers, rows_of, understand
from tiemcli.scorers.batching import LARGEST_BATCH, Batching
from tiemcli.scorers.endpoint import Asked, Endpoint
from tiemcli.scorers.fused import no_room_is_an_error, numbers
from tiemcli.scorers.reuse.distinct import distinct_frames
from tiemcli.scorers.verified import one_by_one, probe_clips

if TYPE_CHECKING:
    from tiemcli.gradients import Differentiable

# How far a clip's answer may be from the one it had alone, in units of the answers' range and of a
# share of the largest: what half precision, in which it may be computed, makes of another batch.
ALIKE, STILL = 1e-2, 0.1


@dataclass(frozen=True)
class OutsideNetwork:
    """A `Network` that is an endpoint."""

    model: Model
    port: Port
    endpoint: Endpoint
    batching: Batching
    looped: int | None
    notes: tuple[str, ...]
    reuse: None = None
    quantised: bool = False

    @property
    def providers(self) -> tuple[str, ...]:
        return self.endpoint.providers

    @property
    def differentiable(self) -> "Differentiable":
        """Raises ModelError."""
        raise ModelError("only the network's answers are known, not how it comes to them")

    def scorer(self, clip: Floats, base: Floats, target: int = 0) -> "OutsideScorer":
        """The scorer of one output under masks between clip and base, (C, T, H, W) float32."""
        return OutsideScorer(self, clip, base, target)

    def whole(self, clip: Floats, base: Floats, target: int = 0) -> "OutsideScorer":
        """The same: nothing is shared but equal clips."""
        return self.scorer(clip, base, target)

    def outputs(self, clip: Floats) -> Doubles:
        """Every output for a clip (C, T, H, W) float32, softmaxed if logits: (K,) float64."""
        everything: Doubles = self.answers(clip[None])[0]
        return everything

    def answers(self, clips: Floats) -> Doubles:
        """The same for clips (N, C, T, H, W): (N, K). Raises ClipError or ModelError."""
        count = max(len(clips), self.model.batch or 0)
        filled = clips[np.minimum(np.arange(count), len(clips) - 1)]
        output = self.endpoint.answers(self.model.tensor(filled))
        try:
            answers = answers_in(numbers(output.astype(np.float64)), count, self.port)
        except ValueError as error:
            raise ClipError(
                f"{self.model.name} answers {count} clip(s) in another form than before: "
                f"{output.dtype} of shape {list(output.shape)}"
            ) from error
        return answers[: len(clips)]

    def asked(self) -> Asked:
        """What it took so far to ask for answers."""
        return self.endpoint.asked()


class OutsideScorer:
    """A `Scorer` of one clip, base and target; of equal masked clips in a call one is asked about.

    clip, base: (C, T, H, W) float32 in the network's units. target: the index of the output that is Φ.
    """

    def __init__(self, network: OutsideNetwork, clip: Floats, base: Floats, target: int) -> None:
        _, frames, height, width = clip.shape
        self.shape = frames, height, width
        self.forwards = 0
        self.computed = 0.0
        self.combining = 1.0
        self._network, self._clip, self._base, self._target = network, clip, base, target

    def score(
        self,
        keep: Floats,
        upsampling: Upsampling | None = None,
        choice: Ints | None = None,
        progress: Progress = unheard,
    ) -> Doubles:
        """Φ under each of N keep-masks, as `Scorer.score` says: (N,) float64."""
        everything = self._answers(keep, upsampling, choice, progress)
        return everything[:, self._target]

    def outputs(self, keep: Floats) -> Doubles:
        """Every output, softmaxed if the network gives logits, under N masks: (N, K) float64."""
        return self._answers(keep, None, None, unheard)

    def _answers(
        self, keep: Floats, upsampling: Upsampling | None, choice: Ints | None, progress: Progress
    ) -> Doubles:
        masks = keep[:, :, None, None] if keep.ndim == 2 else keep
        frames = np.arange(self.shape[0])
        taken = np.arange(len(masks))[:, None] if choice is None else choice
        ids = distinct_frames(masks, choice).ids
        _, first, which = np.unique(ids, axis=0, return_index=True, return_inverse=True)

        def forward(part: slice) -> Doubles:
            cells = masks[taken[first[part]], frames]
            pixels = cells if upsampling is None else upsampling(cells)
            return self._network.answers(blend(self._clip, self._base, pixels))

        self.forwards += len(ids)
        self.computed += len(first)
        with no_room_is_an_error():
            answers = self._network.batching.map(len(first), forward, progress)
        progress(len(ids) - len(first))
        return answers[which.ravel()]


def load_outside(
    endpoint: Endpoint, said: Facts, own: Facts, batch_size: int | None = None
) -> OutsideNetwork:
    """An endpoint understood by its answers to two clips, alone and together.

    said: the user's own facts. own: what the endpoint itself is known to say. batch_size: clips a
    request, None to find the best while scoring. Raises ModelError, DeviceError.
    """
    model = outside_model(endpoint, said, own)
    probes = probe_clips(model)
    try:
        with no_room_is_an_error():
            return _understood(endpoint, model, batch_size, probes)
    except ClipError as error:
        raise ModelError(error.message, error.hint) from error


def outside_model(endpoint: Endpoint, said: Facts, own: Facts) -> Model:
    """How an endpoint is fed and read. Raises ModelError."""
    facts = said.over(own)
    if facts.input:
        raise ModelError(
            f"{endpoint.name} cannot be fed {', '.join(facts.input)}: it takes the clip alone",
            "leave out --input, or explain the network's ONNX file",
        )
    if facts.output_name not in (None, endpoint.output):
        raise ModelError(
            f"{endpoint.name} has no output {facts.output_name!r}", f"it has {endpoint.output}"
        )
    layout = settle_layout(endpoint.dims, facts, endpoint.input)
    sizes = settle_sizes(layout, endpoint.dims, facts)
    return Model(
        name=endpoint.name,
        sha256=endpoint.identity,
        input=endpoint.input,
        element_type=endpoint.element_type,
        layout=layout,
        batch=settle_batch(layout, endpoint.dims, sizes),
        sizes=sizes,
        stride=facts.stride,
        preprocessing=settle_preprocessing(facts, sizes, endpoint.element_type),
        fed={},
        fed_sha256={},
        output=endpoint.output,
        output_kind=None if facts.output == "auto" else facts.output,
        aggregate=facts.aggregate,
        labels=facts.labels or (),
        own=own,
        assumed=tuple(assumed(facts, layout, sizes, endpoint.element_type)),
    )


def _understood(
    endpoint: Endpoint, model: Model, batch_size: int | None, probes: Floats
) -> OutsideNetwork:
    reference = [_alone(endpoint, model, probe) for probe in probes]
    port, assumptions = understand(model, reference)
    expected = expected_answers(reference, port)
    batching = _batching(endpoint, model, batch_size)
    notes = (*endpoint.notes, *assumptions)
    most = model.batch or endpoint.largest_batch
    if most is not None and batch_size is not None and most < batch_size:
        notes = (*notes, f"clips go {most} at a time: {endpoint.name} takes no more")
    network = OutsideNetwork(model, port, endpoint, batching, None, notes)
    if most == 1:
        one = f"clips go one by one: {endpoint.name} takes no more"
    elif _agrees(network, probes, expected):
        return network
    else:
        again = expected_answers([_alone(endpoint, model, probe) for probe in probes], port)
        if not _alike(again, expected):
            raise ModelError(
                f"{endpoint.name} answers the same clip differently each time",
                "does it draw random numbers, as dropout does? have it answer as in evaluation",
            )
        one = one_by_one(1)
    return replace(
        network,
        batching=Batching(1),
        looped=model.batch or 1,
        notes=(*endpoint.notes, *assumptions, one),
    )


def _batching(endpoint: Endpoint, model: Model, batch_size: int | None) -> Batching:
    """So many clips at once as it is fixed at, as the user says, or as turns out best."""
    if model.batch is not None:
        return Batching(model.batch)
    most = endpoint.largest_batch
    if batch_size is not None:
        return Batching(min(batch_size, most or batch_size))
    return Batching(None, min(most or LARGEST_BATCH, LARGEST_BATCH))


def _alone(endpoint: Endpoint, model: Model, clip: Floats) -> Rows:
    """What an endpoint says of one clip, with copies of it in a batch that is fixed."""
    filled = np.repeat(clip[None], model.batch or 1, axis=0)
    return rows_of(model, endpoint.answers(model.tensor(filled)))


def _agrees(network: OutsideNetwork, probes: Floats, expected: Doubles) -> bool:
    """Whether two clips are answered together as each is alone."""
    try:
        return _alike(network.answers(probes), expected)
    except ClipError:
        return False


def _alike(answers: Doubles, expected: Doubles) -> bool:
    unit = np.ptp(expected) + STILL * np.abs(expected).max()
    return bool(np.abs(answers - expected).max() <= ALIKE * unit)
