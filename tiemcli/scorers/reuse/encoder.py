"""Encoding masked frames: packed into clips, whatever clip they belong to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.split import CODE, PLACES
from tiemcli.kernels.upsample import Upsampling
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.fused import mask_feeds, run_bound


@dataclass(frozen=True)
class Encoder:
    """A session of a graph made by `encoder`.

    slices: the shape and type of a frame's code for each cut. frames: T. uniform: a frame's code is
    the same in any place. clips: how many the network takes at once, None for any number.
    """

    session: ort.InferenceSession
    batching: Batching
    slices: tuple[tuple[tuple[int, ...], np.dtype], ...]
    frames: int
    uniform: bool
    clips: int | None

    @property
    def frame_bytes(self) -> int:
        """What the codes of a frame take."""
        return sum(int(np.prod(shape)) * kind.itemsize for shape, kind in self.slices)

    @property
    def places(self) -> int:
        """How many frames a forward encodes; what a network takes at once is one forward, as it is
        where the same clip fills it."""
        return self.frames * (self.clips or 1)

    def tables(self, rows: int) -> list[np.ndarray]:
        """A table for each cut, of no values yet."""
        return [np.empty((rows, *shape), kind) for shape, kind in self.slices]

    def fill(
        self,
        tables: Sequence[np.ndarray],
        rows: Ints,
        frames: Ints,
        masks: Callable[[Ints], Floats],
        upsampling: Upsampling | None,
        between: Mapping[str, ort.OrtValue],
    ) -> int:
        """Write F masked frames' codes to these rows of the tables; how many forwards that took.

        frames: (F,), which frame of the clip and its base each is. masks: those of any of them,
        (M, h, w) for M of their indices. between: DELTA and BASE, (T, C, H, W).
        """
        packs = self._packed(frames).reshape(-1, self.clips or 1, self.frames)
        outputs = [CODE.format(index) for index in range(len(tables))]

        def run(part: slice) -> Doubles:
            packed = packs[part].reshape(-1, self.frames)
            standing = np.maximum(packed, 0)
            flat = masks(standing.ravel())
            fed = mask_feeds(flat.reshape(*packed.shape, *flat.shape[1:]), upsampling)
            places = {PLACES: frames[standing]}
            codes = run_bound(self.session, between, fed | places, outputs)
            meant = packed.ravel() >= 0
            for table, code in zip(tables, codes, strict=True):
                table[rows[packed[packed >= 0]]] = code[meant]
            return np.empty(part.stop - part.start)

        self.batching.map(len(packs), run)
        return len(packs)

    def _packed(self, frames: Ints) -> Ints:
        """Which of F frames stands in each place of n clips, -1 where none does: (n, T)."""
        order = np.argsort(frames, kind="stable")
        if self.uniform:
            clip, place = np.divmod(np.arange(len(frames)), self.frames)
        else:
            place = frames[order]
            clip = np.arange(len(frames)) - np.searchsorted(place, place)
        count = int(clip.max()) + 1
        count += -count % (self.clips or 1)
        packed = np.full((count, self.frames), -1)
        packed[clip, place] = order
        return packed
