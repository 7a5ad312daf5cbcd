"""Scoring by one fused ONNX graph: only masks cross to the device, the clip stays there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnxruntime as ort

from tiemcli.errors import ClipError, DeviceError, TiemError, first_line
from tiemcli.kernels import fuse
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import Upsampling
from tiemcli.scorers import Progress, unheard
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.session import is_out_of_memory

_NO_NUMBER = "try another --base or --window-base, and check --mean, --std and --scale"
_SMALLER = "free memory, or use --device cpu"
_ONE = np.ones((1, 1), dtype=np.float32)


class FusedScorer:
    """A `Scorer` of one clip, base and target, resident on the session's device.

    session: of a graph made by `fuse`. clip, base: (C, T, H, W) float32 in the network's units.
    target: the index of the output that is Φ. copies: how often every mask is given to the network,
    one at a time, because its batch cannot be freed; the first answer counts.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        batching: Batching,
        clip: Floats,
        base: Floats,
        target: int,
        *,
        copies: int = 1,
    ) -> None:
        _, frames, height, width = clip.shape
        self.shape = frames, height, width
        self.forwards = 0
        self.combining = 1.0
        self._session, self._batching, self._copies = session, batching, copies
        between = {fuse.DELTA: (clip - base)[None], fuse.BASE: base[None]}
        chosen = {fuse.TARGET: np.array([target], dtype=np.int64)}
        self._resident = residents(between | chosen, session)

    @property
    def computed(self) -> float:
        return float(self.forwards)

    def score(
        self,
        keep: Floats,
        upsampling: Upsampling | None = None,
        choice: Ints | None = None,
        progress: Progress = unheard,
    ) -> Doubles:
        """Φ under each of N keep-masks, as `Scorer.score` says: (N,) float64."""
        return self._run(keep, upsampling, choice, progress, fuse.SCORE)

    def outputs(self, keep: Floats) -> Doubles:
        """Every output, softmaxed if the network gives logits, under N masks: (N, K) float64."""
        return self._run(keep, None, None, unheard, fuse.OUTPUTS)

    def _run(
        self,
        keep: Floats,
        upsampling: Upsampling | None,
        choice: Ints | None,
        progress: Progress,
        wanted: str,
    ) -> Doubles:
        masks = keep[:, :, None, None] if keep.ndim == 2 else keep
        frames = np.arange(self.shape[0])

        def forward(part: slice) -> Doubles:
            chosen = masks[part] if choice is None else masks[choice[part], frames]
            fed = mask_feeds(np.repeat(chosen, self._copies, axis=0), upsampling)
            (result,) = run_bound(self._session, self._resident, fed, [wanted])
            return np.asarray(result, dtype=np.float64)[:: self._copies]

        count = len(masks if choice is None else choice)
        self.forwards += count
        with no_room_is_an_error():
            scores = self._batching.map(count, forward, progress)
        return numbers(scores)


def mask_feeds(masks: Floats, upsampling: Upsampling | None) -> dict[str, Floats]:
    """What the fused graph is fed for masks (N, T, h, w): a grid to upsample, or pixels."""
    nothing = np.zeros((1, masks.shape[1], 1, 1), dtype=np.float32)
    return {
        fuse.GRID: nothing if upsampling is None else masks,
        fuse.ROWS: _ONE if upsampling is None else upsampling.rows,
        fuse.COLUMNS: _ONE if upsampling is None else upsampling.columns.T,
        fuse.DENSE: masks if upsampling is None else nothing,
    }


def run_bound(
    session: ort.InferenceSession,
    resident: Mapping[str, ort.OrtValue],
    fed: Mapping[str, np.ndarray],
    wanted: Sequence[str],
) -> list[np.ndarray]:
    """These outputs of one run, on the host.

    resident: inputs that lie on the session's device already. fed: those that do not.
    Raises ClipError where the network fails, what the runtime raises where memory is out.
    """
    binding = session.io_binding()
    for name, value in resident.items():
        binding.bind_ortvalue_input(name, value)
    for name, array in fed.items():
        binding.bind_cpu_input(name, np.asarray(array, order="C"))
    for name in wanted:
        binding.bind_output(name, "cpu")
    try:
        session.run_with_iobinding(binding)
    except Exception as error:
        if is_out_of_memory(error):
            raise  # a smaller batch may do
        raise ClipError(f"the network fails under a mask: {first_line(error)}") from error
    answers: list[np.ndarray] = binding.copy_outputs_to_cpu()
    return answers


@contextmanager
def no_room_is_an_error() -> Iterator[None]:
    """Tell the user of what does not fit into memory even in the smallest batch: DeviceError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TiemError) or not is_out_of_memory(error):
            raise
        raise DeviceError("there is no memory for a single clip", _SMALLER) from error


def numbers(scores: Doubles) -> Doubles:
    """The scores themselves; ClipError where one is no number."""
    if not np.isfinite(scores).all():
        raise ClipError("the network's answer is no number under some mask", _NO_NUMBER)
    return scores


def residents(
    arrays: Mapping[str, np.ndarray], session: ort.InferenceSession
) -> dict[str, ort.OrtValue]:
    """Arrays on the session's device; on a CPU they are not copied."""
    device = device_of(session)
    return {
        name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *device)
        for name, array in arrays.items()
    }


def device_of(session: ort.InferenceSession) -> tuple[str, int]:
    """The device that the session's first provider computes on, as OrtValue names it."""
    if session.get_providers()[0] != "CUDAExecutionProvider":
        return "cpu", 0
    options = session.get_provider_options()["CUDAExecutionProvider"]
    return "cuda", int(options.get("device_id", 0))
