"""Clips whose telling frames and pixels are known: a swimmer glides, and strokes once.

In every frame a figure drifts over moving water, and about it drift discs and a bar that spins: all
that is free of the class. The figure's limb rests at any angle, except in the signature frames,
where it moves in one of four ways. At any one moment of a stroke the limb is equally likely to point
anywhere, as it is at rest, so that no single frame tells the class: only motion does.
"""

from dataclasses import dataclass

import numpy as np

from tiemcli.kernels.arrays import Bools, Doubles, Floats

STROKES = ("clockwise", "anticlockwise", "swing", "flip")
FRAMES, SIDE = 16, 48
SHORTEST, LONGEST = 4, 8
"""Of the signature, frames."""

TORSO, LIMB, REACH = 5.0, 2.3, 11.5
"""The torso's radius, half the limb's width, and its length from the torso's centre, pixels."""
MARGIN = REACH + LIMB + 0.5
DISCS = 3
_TORSO_COLOUR, _LIMB_COLOUR = (0.95, 0.9, 0.75), (0.95, 0.3, 0.1)
_WATER = (0.15, 0.4, 0.55)


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip and all that is true of it.

    pixels: (3, T, H, W) float32 in [0, 1]; stroke: index into `STROKES`; signature: (T,) bool, the
    frames of the stroke, one run; region: (T, H, W) bool, the limb in every frame, which tells the
    class in the signature frames only; angles: (T,) where the limb points, radians clockwise.
    """

    pixels: Floats
    stroke: int
    signature: Bools
    region: Bools
    angles: Doubles


def make_clips(seed: int | tuple[int, ...], count: int) -> list[Clip]:
    """`count` clips, the strokes in turn; clip n of a seed is the same whatever the count."""
    return [
        make_clip(np.random.default_rng([*np.atleast_1d(seed), index]), index % len(STROKES))
        for index in range(count)
    ]


def make_clip(random: np.random.Generator, stroke: int) -> Clip:
    """One clip. Strokes from equal generators differ within the signature frames alone."""
    length = int(random.integers(SHORTEST, LONGEST + 1))
    start = int(random.integers(0, FRAMES - length + 1))
    signature = np.zeros(FRAMES, dtype=np.bool_)
    signature[start : start + length] = True
    angles = np.full(FRAMES, random.uniform(0, 2 * np.pi))
    first, step = random.uniform(0, 2 * np.pi), np.radians(random.uniform(50, 70))
    angles[signature] = first + _turns(stroke, int(random.integers(2)) + np.arange(length), step)
    angles += np.radians(random.normal(0, 5, FRAMES))

    frames = _water(random)
    for _ in range(DISCS):
        disc = _discs(_drift(random, 0), random.uniform(2, 4.5))
        _paint(frames, disc, random.uniform(0, 1, 3))
    spin = random.uniform(0, 2 * np.pi) + np.radians(random.uniform(-70, 70)) * np.arange(FRAMES)
    bar = _bars(_drift(random, 0), spin, random.uniform(6, 10), random.uniform(1.5, 2.5))
    _paint(frames, bar, random.uniform((0, 0.3, 0.3), (0.3, 1, 1)))

    centres = _drift(random, MARGIN)
    _paint(frames, _discs(centres, TORSO), _TORSO_COLOUR + random.normal(0, 0.03, 3))
    limb = _bars(centres, angles, REACH, LIMB)
    _paint(frames, limb, _LIMB_COLOUR + random.normal(0, 0.03, 3))
    frames *= np.float32(random.uniform(0.85, 1.05))
    pixels = np.ascontiguousarray(frames.transpose(3, 0, 1, 2)).clip(0, 1)
    return Clip(pixels, stroke, signature, limb > 0.5, angles)


def _turns(stroke: int, moments: np.ndarray, step: float) -> Doubles:
    """How far the limb has turned at each moment of a stroke, radians."""
    if STROKES[stroke] == "clockwise":
        return moments * step
    if STROKES[stroke] == "anticlockwise":
        return -moments * step
    if STROKES[stroke] == "swing":
        return moments % 2 * step
    return moments % 2 * np.pi


def _drift(random: np.random.Generator, margin: float) -> Doubles:
    """(T, 2): a straight way at constant speed between two places `margin` inside the frame."""
    ends = random.uniform(margin, SIDE - 1 - margin, (2, 2))
    return np.linspace(ends[0], ends[1], FRAMES)


def _water(random: np.random.Generator) -> Floats:
    """(T, H, W, 3) float32: smooth waves of a bluish colour that drift at a random speed."""
    coarse = random.normal(0, 0.13, (14, 14, 3)) + random.normal(0, 0.1, (14, 14, 1))
    spread = _interpolation(14, 2 * SIDE)
    waves = np.einsum("ya,xb,abc->yxc", spread, spread, coarse, optimize=True) + _WATER
    waves += random.normal(0, 0.02, waves.shape)
    rows, columns = np.rint(_drift(random, 0)).astype(np.int64).T[:, :, None] + np.arange(SIDE)
    return np.asarray(waves[rows[:, :, None], columns[:, None, :]], dtype=np.float32)


def _interpolation(coarse: int, fine: int) -> Doubles:
    """(fine, coarse): each of `fine` places as a mixture of the two nearest of `coarse` ones."""
    places = np.linspace(0, coarse - 1, fine)
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(coarse))))


def _grid(centres: Doubles) -> tuple[Floats, Floats]:
    """Each pixel's (row, column) as seen from the centre of its frame: (T, H, 1) and (T, 1, W)."""
    away = np.arange(SIDE) - centres[:, :, None]
    return away[:, 0, :, None].astype(np.float32), away[:, 1, None, :].astype(np.float32)


def _discs(centres: Doubles, radius: float) -> Floats:
    """(T, H, W) float32: the share of each pixel that a disc covers."""
    rows, columns = _grid(centres)
    return np.asarray((radius + np.float32(0.5) - np.sqrt(rows**2 + columns**2)).clip(0, 1))


def _bars(centres: Doubles, angles: Doubles, length: float, half_width: float) -> Floats:
    """(T, H, W) float32: the share of each pixel that a bar with round ends covers.

    It goes from the centre in the direction of `angles`, (T,) radians clockwise from the right.
    """
    rows, columns = _grid(centres)
    down, right = (
        way.astype(np.float32)[:, None, None] for way in (np.sin(angles), np.cos(angles))
    )
    along = (rows * down + columns * right).clip(0, length)
    distance = np.sqrt((rows - along * down) ** 2 + (columns - along * right) ** 2)
    return (half_width + np.float32(0.5) - distance).clip(0, 1)


def _paint(frames: Floats, cover: Floats, colour: np.ndarray) -> None:
    """Lay a colour (3,) over frames (T, H, W, 3), in place, where `cover` (T, H, W) says so."""
    frames += cover[..., None] * (colour.astype(np.float32) - frames)
