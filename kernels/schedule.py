"""In which order a front's tables are filled, and where in memory each row lies meanwhile.

Time is streamed: the last level is asked for its places in turn, each fetches what it reads, and
rows are forgotten once nothing will read them. Memory so goes with how far levels reach, not with T.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tiemcli.kernels.arrays import Ints
from tiemcli.kernels.patterns import Rows
from tiemcli.kernels.tables import MOVE, Front, Segment

# Rows that are worth a call of their own, where a run would take more: time is streamed the finer.
WORTH_A_CALL = 16
Shape = tuple[int, int, int]
RowsOfLevels = Mapping[int, Rows] | Sequence[Rows]


@dataclass(frozen=True)
class Unit:
    """One run of a segment. rows: of its level, (R,) int64. reads: by read, the slot of each row's
    own source, (R,) int64. writes: by table, the first of R slots in a row."""

    segment: int
    rows: Ints
    reads: Mapping[str, Ints]
    writes: Mapping[str, int]


@dataclass(frozen=True)
class Schedule:
    """Units in order. slots: how many each shape of slices needs; slot 0 is all zeros. index: for
    each table that the rest reads, the slots of N clips' places, (N, P) int64. rows: of the first
    level."""

    units: tuple[Unit, ...]
    slots: Mapping[Shape, int]
    index: Mapping[str, Ints]
    rows: Rows

    @property
    def bytes(self) -> int:
        """What the slots take."""
        return sum(4 * math.prod(shape) * count for shape, count in self.slots.items())


def front_work(front: Front, rows: RowsOfLevels, clips: int) -> float:
    """The time that clips take through tables and the rest, in multiply-adds."""
    total = float(front.rest * clips)
    for segment in front.segments:
        count = int(np.diff(rows[segment.level].start)[segment.places].sum())
        moved = sum(map(front.row_bytes, segment.tables))
        moved += sum(front.row_bytes(front.unrolling.reads[name].source) for name in segment.reads)
        total += count * (segment.work + MOVE * moved / 4)
    handed = sum(front.row_bytes(name) * len(front.needed[name]) for name in front.crossing)
    return total + MOVE * clips * handed / 2


def schedule(front: Front, rows: RowsOfLevels) -> Schedule:
    """Every unit of the front's segments, for the distinct rows of their levels."""
    blocks = [list(_blocks(segment, rows[segment.level])) for segment in front.segments]
    order, last = _order(front, blocks)
    unrolling = front.unrolling
    slot = {
        table: np.zeros(len(rows[unrolling.slices[table].level].clip) + 1, np.int64)
        for table in front.needed
    }
    stores = {unrolling.slices[table].shape: _Store() for table in front.needed}
    units, dying = list[Unit](), dict[int, list[tuple[Shape, int, int]]]()
    for turn, (number, block) in enumerate(order):
        segment, places = front.segments[number], blocks[number][block]
        own = rows[segment.level]
        mine = own.at(places)
        read = {}
        for name in segment.reads:
            known = unrolling.reads[name]
            there = known.places[own.place[mine]]
            source = rows[unrolling.slices[known.source].level].index[own.clip[mine], there]
            # The last entry is that of no row: zeros.
            read[name] = slot[known.source][np.where(there < 0, -1, source)]
        writes = {}
        for table in segment.tables:
            shape = unrolling.slices[table].shape
            first = stores[shape].take(len(mine))
            slot[table][mine] = first + np.arange(len(mine))
            writes[table] = first
            dying.setdefault(last[number, block, table], []).append((shape, first, len(mine)))
        units.append(Unit(number, mine, read, writes))
        for shape, first, count in dying.pop(turn, ()):
            stores[shape].give_back(first, count)
    index = {
        table: slot[table][rows[unrolling.slices[table].level].index] for table in front.crossing
    }
    slots = {shape: store.size for shape, store in stores.items()}
    return Schedule(tuple(units), slots, index, rows[0])


def groups(front: Front, ids: Ints, memory: int, most: float) -> tuple[list[Ints], float] | None:
    """Clips that share tables, as few groups as have each its tables in so many bytes, and the time
    that all take; None where that is more than `most`. Times are in multiply-adds.

    ids: (N, T), which picture stands in frame t of clip n.
    """
    # Clips that differ in few places lie side by side, and so mostly in one group.
    order, count = np.lexsort(ids.T[::-1]), 1
    while True:
        parts = np.array_split(order, count)
        rows = [front.rows(ids[part]) for part in parts]
        work = sum(front_work(front, r, len(p)) for r, p in zip(rows, parts, strict=True))
        if work > most:
            return None
        if count == len(ids) or all(schedule(front, r).bytes <= memory for r in rows):
            return parts, work
        count = min(max(count + 1, count * 3 // 2), len(ids))


def _blocks(segment: Segment, rows: Rows) -> Iterator[Ints]:
    """A segment's places, as few together as make a run worth its call."""
    counts, start, held = np.diff(rows.start)[segment.places], 0, 0
    for stop, count in enumerate(counts, 1):
        held += count
        if held >= min(segment.run, WORTH_A_CALL) or stop == len(counts):
            yield segment.places[start:stop]
            start, held = stop, 0


def _order(
    front: Front, blocks: Sequence[Sequence[Ints]]
) -> tuple[list[tuple[int, int]], dict[tuple[int, int, str], int]]:
    """The segments and blocks of all units, each after those that it reads; and by segment, block
    and table filled, the turn after which nothing reads that any more."""
    filled = {
        (table, place): (number, block)
        for number, segment in enumerate(front.segments)
        for block, places in enumerate(blocks[number])
        for table in segment.tables
        for place in places.tolist()
    }
    turns = dict[tuple[int, int], int]()
    last: dict[tuple[int, int, str], int] = {}

    def visit(number: int, block: int) -> None:
        sources = {
            (*filled[known.source, place], known.source)
            for known in (front.unrolling.reads[name] for name in front.segments[number].reads)
            for place in known.places[blocks[number][block]].tolist()
            if place >= 0
        }
        for *source, _ in sorted(sources):
            if tuple(source) not in turns:
                visit(*source)
        turns[number, block] = len(turns)
        last.update(dict.fromkeys(sources, turns[number, block]))

    for number in reversed(range(len(blocks))):
        for block in range(len(blocks[number])):
            if (number, block) not in turns:
                visit(number, block)
    kept = {(*unit, table) for (table, _), unit in filled.items() if table in front.crossing}
    return list(turns), last | dict.fromkeys(kept, len(turns))


@dataclass
class _Store:
    """Slots given out in runs, the first that fits; slot 0 is never given."""

    size: int = 1
    free: list[tuple[int, int]] = field(default_factory=list)

    def take(self, count: int) -> int:
        for position, (first, length) in enumerate(self.free):
            if length >= count:
                self.free[position : position + 1] = (
                    [(first + count, length - count)] if length > count else []
                )
                return first
        first, length = self.size, 0
        if self.free and sum(self.free[-1]) == self.size:
            first, length = self.free.pop()
        self.size += count - length
        return first

    def give_back(self, first: int, count: int) -> None:
        merged = list[tuple[int, int]]()
        for start, length in sorted([*self.free, (first, count)]):
            if merged and sum(merged[-1]) == start:
                merged[-1] = merged[-1][0], merged[-1][1] + length
            else:
                merged.append((start, length))
        self.free = merged
