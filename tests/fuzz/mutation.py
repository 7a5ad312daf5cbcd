"""Random damage to a file's bytes."""

import random
from collections.abc import Callable, Sequence

Mutation = Callable[[bytearray, random.Random], bytearray]

# Where readers of files go wrong: at 0, at -1, at the ends of signed and unsigned numbers.
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip(file: bytearray, chance: random.Random) -> bytearray:
    """A few bits are wrong."""
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        file[chance.randrange(len(file))] ^= 1 << chance.randrange(8)
    return file


def overwrite(file: bytearray, chance: random.Random) -> bytearray:
    """A stretch is noise."""
    start, stop = _stretch(file, chance)
    file[start:stop] = chance.randbytes(stop - start)
    return file


def zero(file: bytearray, chance: random.Random) -> bytearray:
    """A stretch is zeros, as of a download with holes."""
    start, stop = _stretch(file, chance)
    file[start:stop] = bytes(stop - start)
    return file


def truncate(file: bytearray, chance: random.Random) -> bytearray:
    """The end is missing."""
    return file[: chance.randrange(len(file))]


def remove(file: bytearray, chance: random.Random) -> bytearray:
    """A stretch is missing."""
    start, stop = _stretch(file, chance)
    return file[:start] + file[stop:]


def repeat(file: bytearray, chance: random.Random) -> bytearray:
    """A stretch comes once more, elsewhere."""
    start, stop = _stretch(file, chance)
    where = chance.randrange(len(file))
    return file[:where] + file[start:stop] + file[where:]


def extreme(file: bytearray, chance: random.Random) -> bytearray:
    """A number is as large or as small as it can be, either way round."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        size = chance.choice((1, 2, 4, 8))
        where = chance.randrange(max(len(file) - size, 1))
        number = chance.choice(_EXTREMES) % 256**size
        file[where : where + size] = number.to_bytes(size, chance.choice(("big", "little")))
    return file


ANYWHERE: tuple[Mutation, ...] = (flip, overwrite, zero, truncate, remove, repeat, extreme)


def splice(file: bytearray, other: bytes, chance: random.Random) -> bytearray:
    """It begins as itself and ends as another file."""
    return file[: chance.randrange(len(file))] + other[chance.randrange(len(other)) :]


def mutated(
    file: bytes, others: Sequence[bytes], own: Sequence[Mutation], chance: random.Random
) -> bytes:
    """A file with one to three kinds of damage, `own` being those that know its format."""
    damaged = bytearray(file)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if not damaged:
            break
        kind = chance.choice((*ANYWHERE, *own, splice))
        if kind is splice:
            damaged = splice(damaged, chance.choice(others), chance)
        else:
            damaged = kind(damaged, chance)
    return bytes(damaged)


def _stretch(file: bytearray, chance: random.Random) -> tuple[int, int]:
    """(first, behind the last) of some bytes, often few."""
    start = chance.randrange(len(file))
    longest = chance.choice((4, 16, 256, len(file)))
    return start, min(start + 1 + chance.randrange(longest), len(file))
