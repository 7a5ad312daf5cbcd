"""The distinct frames among masked clips: each frame under each of its masks, once."""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Floats, Ints


@dataclass(frozen=True)
class Distinct:
    """Which frame stands in each place of N clips.

    ids: (N, T) int64. t is frame t as it is, T + t is that of the base; 2T + f is the f-th frame
    under a mask of its own. where: (F,) int64, where that mask is among the K·T that were given, so
    that where % T is its frame.
    """

    ids: Ints
    where: Ints


def distinct_frames(keep: Floats, choice: Ints | None = None) -> Distinct:
    """The distinct frames under masks keep (K, T, h, w) float32, each clip under its own mask, or
    under those that `choice` (N, T) takes for each frame. What no clip takes is left out."""
    count, frames = keep.shape[:2]
    masks = np.ascontiguousarray(keep).reshape(count * frames, -1)
    frame = np.tile(np.arange(frames), count)
    clean, hidden = masks.min(axis=1) >= 1, masks.max(axis=1) <= 0
    ids = np.where(hidden, frames + frame, frame)
    taken = np.ones(len(masks), dtype=bool)
    if choice is not None:
        taken[:] = False
        taken[choice * frames + np.arange(frames)] = True
    seen: dict[tuple[int, int], int] = {}
    where: list[int] = []
    for index in np.flatnonzero(taken & ~clean & ~hidden).tolist():
        mask = masks[index]
        found = seen.setdefault((index % frames, hash(mask.tobytes())), len(where))
        # Masks of one hash that differ are told apart, though what repeats of the later is not found.
        if found == len(where) or not np.array_equal(mask, masks[where[found]]):
            found = len(where)
            where.append(index)
        ids[index] = 2 * frames + found
    ids = ids.reshape(count, frames)
    if choice is not None:
        ids = ids[choice, np.arange(frames)]
    return Distinct(ids, np.array(where, dtype=np.int64))
