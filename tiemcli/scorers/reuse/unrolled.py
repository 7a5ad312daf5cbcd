"""Scoring that computes every distinct slice in time once, for a network that convolves in time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tiemcli.kernels import fuse
from tiemcli.kernels.arrays import Bools, Doubles, Floats, Ints
from tiemcli.kernels.patterns import distinct_rows
from tiemcli.kernels.prefix import Axes, Cut
from tiemcli.kernels.schedule import Schedule, front_work, groups, schedule
from tiemcli.kernels.split import suffix
from tiemcli.kernels.tables import Front, fronts
from tiemcli.kernels.unroll import find_unrolling
from tiemcli.kernels.upsample import Upsampling
from tiemcli.kernels.windows import enumerate_windows, window_membership, window_sizes
from tiemcli.kernels.work import value_shapes
from tiemcli.scorers import Progress, unheard
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.fused import FusedScorer, no_room_is_an_error
from tiemcli.scorers.reuse.distinct import distinct_frames
from tiemcli.scorers.reuse.shared import Whole
from tiemcli.scorers.reuse.suffix import Suffix
from tiemcli.scorers.reuse.tables import Tables, make_tables
from tiemcli.scorers.session import providers_for
from tiemcli.weights import with_weights

# Tables are used where they are predicted to take at most this share of the time without them.
PAYS = 0.85
# What tables may take of the memory that is given: the rest is for what runs hold meanwhile, 0.4 GB
# in R(2+1)D-18.
SHARE = 0.75


@dataclass(frozen=True)
class Unrolled:
    """A network on the CPU in two parts, to be bound to any number of clips.

    suffix: the rest, which reads the tables. memory: bytes that the tables of one call may take.
    saved: the share of the work of a clip's windows that is saved.
    """

    tables: Tables
    suffix: Suffix
    memory: int
    saved: float

    @property
    def description(self) -> str:
        """What is saved, in a line for a user."""
        saved = f"which saves {100 * self.saved:.0f} % of the windows' work"
        return f"equal stretches of frames are convolved once, {saved}"

    @property
    def given_up(self) -> str:
        """What is not done where it changes the answer, for a user."""
        return "equal stretches of frames are not convolved once for all clips"

    def scorer(
        self, plain: FusedScorer, clip: Floats, base: Floats, target: int
    ) -> "UnrolledScorer":
        """The scorer of one output under masks between clip and base, (C, T, H, W) float32; `plain`
        is the same without tables."""
        return UnrolledScorer(self, plain, clip, base, target)


def unroll(whole: Whole) -> Unrolled | None:
    """The network cut where the windows of its clips take least time in tables that fit into the
    memory; None where tables do not pay, or elsewhere than on the CPU.

    Raises TiemError where the runtime fails at a part.
    """
    if whole.looped is not None or providers_for(whole.device) != ["CPUExecutionProvider"]:
        return None
    still = whole.clips(np.zeros((1, *whole.model.shape[1:], 3), np.uint8))
    shapes = value_shapes(whole.proto, still, whole.run)
    unrolling = find_unrolling(with_weights(whole.proto, whole.folder), whole.port, shapes)
    if unrolling is None:
        return None
    ids = _window_ids(whole.port.sizes["T"])
    rows = [distinct_rows(ids, level.reach) for level in unrolling.levels]
    cuts = [
        (front_work(front, rows, len(ids)), index, front)
        for index, front in enumerate(fronts(whole.proto, whole.port.output, unrolling, shapes))
    ]
    best, least = None, np.inf
    for at_least, _, front in sorted(cuts):
        if at_least < least:
            most = min(least, PAYS * front.whole * len(ids))
            found = groups(front, ids, int(SHARE * whole.memory), most)
            if found is not None:
                best, (_, least) = front, found
    if best is None:
        return None
    return unrolled_at(whole, best, 1 - least / (best.whole * len(ids)))


def unrolled_at(whole: Whole, front: Front, saved: float) -> Unrolled:
    """The network cut behind this front, see `unroll`."""
    cuts = []
    for name in front.crossing:
        slices = front.unrolling.slices[name]
        sizes = dict(zip("NTCHW", (1, len(front.needed[name]), *slices.shape), strict=True))
        axes = Axes(slices.axes.index("T"), slices.axes.index("N"))
        shape = tuple(sizes[axis] for axis in slices.axes)
        cuts.append(Cut(name, axes, shape, front.row_bytes(name), onnx.TensorProto.FLOAT))
    rest = whole.session(suffix(whole.proto, whole.port, cuts, ()), "cpu")
    return Unrolled(
        make_tables(whole.proto, front),
        Suffix(rest, Batching(whole.batch_size), {}),
        int(SHARE * whole.memory),
        saved,
    )


def _window_ids(frames: int) -> Ints:
    """The pictures of a clip's windows, (N, T): frames of the clip, and behind them of the base."""
    windows = enumerate_windows(frames, window_sizes(frames))
    hidden = window_membership(frames, windows).astype(np.int64)
    return np.arange(frames) + frames * hidden


class UnrolledScorer:
    """A `Scorer` of one clip, base and target on the CPU, which fills tables where that pays.

    plain: scores what does not pay. clip, base: (C, T, H, W) float32 in the network's units. target:
    the index of the output that is Φ. pays: as PAYS.
    """

    def __init__(
        self,
        network: Unrolled,
        plain: FusedScorer,
        clip: Floats,
        base: Floats,
        target: int,
        *,
        pays: float = PAYS,
    ) -> None:
        self.shape = plain.shape
        self.forwards = 0
        self.computed = 0.0
        self.combining = 1.0
        self._network, self._plain, self._target, self._pays = network, plain, target, pays
        # A row is a frame.
        self._base = np.ascontiguousarray(base.swapaxes(0, 1))
        self._delta = np.ascontiguousarray((clip - base).swapaxes(0, 1))

    @property
    def _front(self) -> Front:
        return self._network.tables.front

    def score(
        self,
        keep: Floats,
        upsampling: Upsampling | None = None,
        choice: Ints | None = None,
        progress: Progress = unheard,
    ) -> Doubles:
        """Φ under each of N keep-masks, as `Scorer.score` says: (N,) float64."""
        masks = keep[:, :, None, None] if keep.ndim == 2 else keep
        distinct = distinct_frames(masks, choice)
        parts = self._groups(distinct.ids, self._pays)
        if parts is None:
            self.forwards += len(distinct.ids)
            self.computed += len(distinct.ids)
            return self._plain.score(keep, upsampling, choice, progress)
        own = masks.reshape(-1, *masks.shape[2:])[distinct.where]
        return self._run(distinct.ids, parts, own, upsampling, progress, fuse.SCORE)

    def outputs(self, keep: Floats) -> Doubles:
        """Every output, softmaxed if the network gives logits, under N masks: (N, K) float64.

        By tables even where they do not pay, so that these can be compared with what does without.
        """
        masks = keep[:, :, None, None] if keep.ndim == 2 else keep
        distinct = distinct_frames(masks)
        parts = self._groups(distinct.ids, np.inf) or []
        own = masks.reshape(-1, *masks.shape[2:])[distinct.where]
        return self._run(distinct.ids, parts, own, None, unheard, fuse.OUTPUTS)

    def _run(
        self,
        ids: Ints,
        parts: Sequence[Ints],
        own: Floats,
        upsampling: Upsampling | None,
        progress: Progress,
        wanted: str,
    ) -> Doubles:
        """What is wanted of every clip, group by group."""
        self.forwards += len(ids)
        with no_room_is_an_error():
            answers = [self._group(ids[p], own, upsampling, progress, wanted) for p in parts]
        joined: Doubles = np.concatenate(answers)[np.argsort(np.concatenate(parts))]
        return joined

    def _groups(self, ids: Ints, pays: float) -> list[Ints] | None:
        """Clips that share tables; None where those take more than this share of the time."""
        # No level has fewer rows a clip than there are pictures a frame.
        if len(np.unique(ids)) > pays * ids.size:
            return None
        most = pays * len(ids) * self._front.whole
        found = groups(self._front, ids, self._network.memory, most)
        return None if found is None else found[0]

    def _group(
        self,
        ids: Ints,
        own: Floats,
        upsampling: Upsampling | None,
        progress: Progress,
        wanted: str,
    ) -> Doubles:
        """What is wanted of clips that share tables. own: masks (F, h, w) of the ids from 2T on."""
        front, count = self._front, len(ids)
        plan = schedule(front, front.rows(ids))
        work = sum(front.segments[unit.segment].work * len(unit.rows) for unit in plan.units)
        self.computed += count * front.rest / front.whole + work / front.whole
        heard = _Shares(progress, work + count * front.rest, count)

        def pictures(rows: Ints) -> Floats:
            return self._pictures(plan, ids, rows, own, upsampling)

        stores = self._network.tables.fill(plan, pictures, heard.add)
        tables = [stores[front.unrolling.slices[name].shape] for name in front.crossing]
        index = [plan.index[name] for name in front.crossing]
        return self._network.suffix.answers(
            tables, index, self._target, wanted, lambda done: heard.add(done * front.rest)
        )

    def _pictures(
        self, plan: Schedule, ids: Ints, rows: Ints, own: Floats, upsampling: Upsampling | None
    ) -> Floats:
        """Rows (R,) of the first level, one frame each: (R, C, H, W)."""
        frame = plan.rows.place[rows]
        shown = ids[plan.rows.clip[rows], frame]
        frames = self.shape[0]
        keep = np.empty((len(rows), *own.shape[1:]), dtype=np.float32)
        keep[...] = (shown < frames)[:, None, None]
        masked: Bools = shown >= 2 * frames
        keep[masked] = own[shown[masked] - 2 * frames]
        if upsampling is not None:
            keep = upsampling(keep)
        pictures: Floats = self._base[frame] + keep[:, None] * self._delta[frame]
        return pictures


class _Shares:
    """Tells a `Progress` of clips, of `count` in all, as work of `whole` in all is done."""

    def __init__(self, progress: Progress, whole: int, count: int) -> None:
        self._progress, self._whole, self._count = progress, whole, count
        self._done = self._told = 0

    def add(self, work: int) -> None:
        self._done += work
        clips = self._count * self._done // self._whole
        if clips > self._told:
            self._progress(clips - self._told)
            self._told = clips
