"""Which slices of a network's inner tensors differ among masked clips, in whole numbers alone.

A slice in time is decided by the frames that it reaches. Clips that show the same frames there share
it, and it is computed once: a row of a table, for a place in time and a pattern of frames.
"""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Bools, Ints


@dataclass(frozen=True)
class Rows:
    """The distinct slices of one level, place by place.

    index: (N, P) int64, the row of each clip at each of the level's P places. clip, place: (U,)
    int64, where row u is found. start: (P + 1,) int64, the first row of each place, and U.
    """

    index: Ints
    clip: Ints
    place: Ints
    start: Ints

    def at(self, places: Ints) -> Ints:
        """The rows at these places, in their order."""
        return np.concatenate([np.arange(self.start[p], self.start[p + 1]) for p in places])


def distinct_rows(ids: Ints, reach: Bools) -> Rows:
    """The rows of a level.

    ids: (N, T), which picture stands in frame t of clip n. reach: (P, T), whether what lies at place
    p depends on frame t.
    """
    index = np.empty((len(ids), len(reach)), dtype=np.int64)
    clips, start = [], [0]
    for place, frames in enumerate(reach):
        first, index[:, place] = _distinct(ids[:, frames])
        index[:, place] += start[-1]
        clips.append(first)
        start.append(start[-1] + len(first))
    counts = np.diff(start)
    return Rows(
        index, np.concatenate(clips), np.repeat(np.arange(len(reach)), counts), np.array(start)
    )


def _distinct(ids: Ints) -> tuple[Ints, Ints]:
    """Of (N, F) ids: the first clip of each distinct pattern, and each clip's pattern."""
    codes = np.zeros(len(ids), dtype=np.int64)
    for column in ids.T:
        # Codes stay below N, so that no product of them overflows.
        codes = np.unique(codes * (column.max() + 1) + column, return_inverse=True)[1]
    _, first, patterns = np.unique(codes, return_index=True, return_inverse=True)
    return first, patterns
