"""Scoring that encodes every distinct frame once, for a network whose front takes them one by one."""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels import fuse
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.upsample import Upsampling
from tiemcli.kernels.windows import enumerate_windows, window_sizes
from tiemcli.scorers import Progress, unheard
from tiemcli.scorers.fused import FusedScorer, no_room_is_an_error, residents
from tiemcli.scorers.reuse.distinct import Distinct, distinct_frames
from tiemcli.scorers.reuse.encoder import Encoder
from tiemcli.scorers.reuse.suffix import Suffix

# Clips of masks of their own that are encoded before any is scored: enough to fill every place, and
# few enough that a user sees them go by. What repeats in later ones is encoded again.
CLIPS_AT_ONCE = 32
# Clips are computed whole where reuse would take more than this share of that: tables take time too.
PAYS = 0.85
# Where memory holds the codes of fewer clips, combinations of masks are not called cheap: a search
# asks for up to so many masks at once, which would be encoded again and again.
TOGETHER = 40


@dataclass(frozen=True)
class FrameWise:
    """A network in two parts, to be bound to any number of clips.

    combining: the suffix's share of a forward. memory: bytes that the codes of one call may take.
    """

    encoder: Encoder
    suffix: Suffix
    combining: float
    memory: int

    @property
    def description(self) -> str:
        """What is saved, in a line for a user."""
        return (
            f"each frame is encoded once, which saves {100 * self.saved:.1f} % of the windows' work"
        )

    @property
    def saved(self) -> float:
        """The share of the work of a clip's windows that is saved: they consist of two clips' frames."""
        frames = self.encoder.frames
        windows = len(enumerate_windows(frames, window_sizes(frames)))
        return (1 - self.combining) * (1 - 2 / windows)

    @property
    def given_up(self) -> str:
        """What is not done where it changes the answer, for a user."""
        return "frames are not encoded once for all clips"

    def scorer(
        self, plain: FusedScorer, clip: Floats, base: Floats, target: int
    ) -> "FrameWiseScorer":
        """The scorer of one output under masks between clip and base, (C, T, H, W) float32; `plain`
        is the same without reuse."""
        return FrameWiseScorer(self, plain, clip, base, target)


class FrameWiseScorer:
    """A `Scorer` of one clip, base and target, which holds the codes of their frames.

    plain: scores clips that share too little. clip, base: (C, T, H, W) float32 in the network's units.
    target: the index of the output that is Φ.
    """

    def __init__(
        self, network: FrameWise, plain: FusedScorer, clip: Floats, base: Floats, target: int
    ) -> None:
        self.shape: tuple[int, int, int] = plain.shape
        self.forwards = 0
        self.computed = 0.0
        held = network.memory // network.encoder.frame_bytes
        self.combining = network.combining if held >= TOGETHER * self.shape[0] else 1.0
        self._network, self._plain, self._target = network, plain, target
        frames = self.shape[0]
        between = {fuse.DELTA: clip - base, fuse.BASE: base}
        by_frame = {name: value.swapaxes(0, 1) for name, value in between.items()}
        self._between = residents(by_frame, network.encoder.session)
        # The codes of the clip's frames and of the base's, and which of them are there.
        self._codes = network.encoder.tables(2 * frames)
        self._known = np.zeros(2 * frames, dtype=bool)

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
        count = len(distinct.ids)
        if len(distinct.where) and self._price(distinct) > PAYS * count:
            self.forwards += count
            self.computed += count
            return self._plain.score(keep, upsampling, choice, progress)
        most = len(distinct.where) if choice is not None else CLIPS_AT_ONCE * self.shape[0]
        return self._answers(distinct, masks, upsampling, most, progress, fuse.SCORE)

    def outputs(self, keep: Floats) -> Doubles:
        """Every output, softmaxed if the network gives logits, under N masks: (N, K) float64."""
        masks = keep[:, :, None, None] if keep.ndim == 2 else keep
        distinct = distinct_frames(masks)
        every = len(distinct.where)
        return self._answers(distinct, masks, None, every, unheard, fuse.OUTPUTS)

    def _price(self, distinct: Distinct) -> float:
        """What scoring these clips would take, in forwards."""
        new = len(distinct.where) + len(self._unknown(distinct.ids))
        fronts = -(-new // self._network.encoder.places)
        return fronts * (1 - self._network.combining) + len(distinct.ids) * self._network.combining

    def _unknown(self, ids: Ints) -> Ints:
        """Which of these frames are the clip's or the base's and have not been encoded yet."""
        both = np.unique(ids[ids < len(self._known)])
        return both[~self._known[both]]

    def _answers(
        self,
        distinct: Distinct,
        masks: Floats,
        upsampling: Upsampling | None,
        most: int,
        progress: Progress,
        wanted: str,
    ) -> Doubles:
        """SCORE (N,) or OUTPUTS (N, K), no more than `most` codes being held beside the clip's and
        the base's, and no more than there is memory for. masks: (K, T, h, w)."""
        flat = masks.reshape(-1, *masks.shape[2:])
        kept = len(self._known)
        most = min(most, self._network.memory // self._network.encoder.frame_bytes)
        self.forwards += len(distinct.ids)
        self.computed += len(distinct.ids) * self._network.combining

        def answers(ids: Ints) -> Doubles:
            own = np.unique(ids[ids >= kept])
            if len(own) > most and len(ids) > 1:
                half = len(ids) // 2
                return np.concatenate([answers(ids[:half]), answers(ids[half:])])
            tables = self._tables(ids, own, distinct, flat, upsampling)
            rows = np.where(ids < kept, ids, kept + np.searchsorted(own, ids))
            every = [rows] * len(tables)
            return self._network.suffix.answers(tables, every, self._target, wanted, progress)

        with no_room_is_an_error():
            return answers(distinct.ids)

    def _tables(
        self,
        ids: Ints,
        own: Ints,
        distinct: Distinct,
        masks: Floats,
        upsampling: Upsampling | None,
    ) -> list[np.ndarray]:
        """The codes of the clip's frames and of the base's, those that `ids` has among them, and
        behind them those of `own`, the frames under masks of their own.

        masks: (K·T, h, w).
        """
        kept, frames, encoder = len(self._known), self.shape[0], self._network.encoder
        both = self._unknown(ids)
        tables = self._codes
        if len(own):
            tables = encoder.tables(kept + len(own))
            for table, codes in zip(tables, self._codes, strict=True):
                table[:kept] = codes
        where = distinct.where[own - kept]
        new = np.concatenate([both, own])
        if len(new):

            def masks_of(items: Ints) -> Floats:
                chosen = np.empty((len(items), *masks.shape[1:]), dtype=np.float32)
                chosen[...] = (new[items] < frames)[:, None, None]
                mine = items >= len(both)
                chosen[mine] = masks[where[items[mine] - len(both)]]
                return chosen

            rows = np.concatenate([both, kept + np.arange(len(own))])
            sources = np.concatenate([both, where]) % frames
            fronts = encoder.fill(tables, rows, sources, masks_of, upsampling, self._between)
            self.computed += fronts * (1 - self._network.combining)
        if len(own):
            for table, codes in zip(tables, self._codes, strict=True):
                codes[both] = table[both]
        self._known[both] = True
        return tables
