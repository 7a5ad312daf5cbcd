"""Shaded solids for the sample's little film, drawn with OpenCV polygons on an oversized canvas."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]
Color = tuple[float, float, float]
"""Red, green, blue in [0, 1]."""

LEVELS = 7
LIGHT = np.array([-0.52, -0.66])
"""Where on a unit ball the brightest point lies: the sun is up on the left."""
SHIFT = 4
"""OpenCV reads polygon corners in sixteenths of a pixel."""
ARC = np.linspace(0, 1, 12)
CIRCLE = np.linspace(0, 2 * np.pi, 32, endpoint=False)
# A superellipse of exponent 4: the outline of a rounded box of half size 1.
ROUNDED = np.stack(
    [
        np.sign(np.cos(CIRCLE)) * np.abs(np.cos(CIRCLE)) ** 0.5,
        np.sign(np.sin(CIRCLE)) * np.abs(np.sin(CIRCLE)) ** 0.5,
    ],
    axis=1,
)
ROUND = np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], axis=1)


def mix(a: Color, b: Color, share: float) -> Color:
    """Return the color `share` of the way from a to b."""
    red, green, blue = (float(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return (red, green, blue)


@cache
def ramp(color: Color) -> list[tuple[Color, float]]:
    """Return the tones of a solid from shadow to full light, and how far each is shrunk."""
    shadow = mix((color[0] * 0.5, color[1] * 0.5, color[2] * 0.56), (0.16, 0.14, 0.34), 0.2)
    bright = mix(color, (1.0, 0.97, 0.86), 0.34)
    tones = [mix(shadow, color, step) for step in np.linspace(0, 1, LEVELS - 2)]
    shrinks = np.linspace(1, 0.22, LEVELS).tolist()
    return list(zip([*tones, mix(color, bright, 0.5), bright], shrinks, strict=True))


def tube(a: Points, b: Points, ra: float, rb: float) -> tuple[Points, Points]:
    """Return the outline of the hull of two circles as the circles' centers and rims.

    Both (N, 2), in the unit of the arguments: corner n lies at centers[n] + rims[n].
    """
    across = b - a
    length = float(np.hypot(*across))
    if length <= abs(ra - rb) + 1e-6:
        center, radius = (a, ra) if ra >= rb else (b, rb)
        return np.broadcast_to(center, ROUND.shape), radius * ROUND
    heading = np.arctan2(across[1], across[0])
    opening = np.arccos((ra - rb) / length)
    back = heading + opening + ARC * (2 * np.pi - 2 * opening)
    front = heading - opening + ARC * 2 * opening
    angles = np.concatenate([back, front])
    radii = np.repeat([ra, rb], len(ARC))[:, None]
    rims = radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.repeat(np.stack([a, b]), len(ARC), axis=0), rims


def turn(points: Points, angle: float) -> Points:
    """Return the points rotated about the origin by `angle` radians, clockwise on the screen."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


@dataclass(frozen=True)
class Canvas:
    """A picture to draw on, in units of its own height, x to the right and y down.

    pixels: (H, W, 4) uint8: red, green, blue, and 255 where the acting figure was drawn last.
    """

    pixels: Pixels

    @property
    def unit(self) -> int:
        """Pixels a unit: the picture's height."""
        return int(self.pixels.shape[0])

    def fill(self, outline: Points, color: Color, actor: bool = False) -> None:
        """Fill a polygon, (N, 2), with one color."""
        corners = np.round(outline * (self.unit * 2**SHIFT)).astype(np.int32)
        cv2.fillPoly(self.pixels, [corners], self._value(color, actor), shift=SHIFT)

    def limb(
        self, a: Points, b: Points, ra: float, rb: float, color: Color, actor: bool = False
    ) -> None:
        """Draw a tapered rod from a to b as a solid: each tone smaller and nearer to the light."""
        centers, rims = tube(a, b, ra, rb)
        towards = LIGHT * min(ra, rb)
        for tone, shrink in ramp(color):
            self.fill(centers + shrink * rims + (1 - shrink) * towards, tone, actor)

    def slab(
        self,
        center: Points,
        half: tuple[float, float],
        color: Color,
        angle: float = 0.0,
        actor: bool = False,
        outline: Points = ROUNDED,
    ) -> None:
        """Draw a rounded box of half width and half height `half` as a solid."""
        radius = 0.8 * min(half)
        for tone, shrink in ramp(color):
            inset = radius * (1 - shrink)
            size = np.array(half) - inset
            self.fill(center + LIGHT * inset + turn(outline * size, angle), tone, actor)

    def flat(
        self,
        center: Points,
        half: tuple[float, float],
        color: Color,
        angle: float = 0.0,
        actor: bool = False,
        outline: Points = ROUND,
    ) -> None:
        """Draw an unshaded disc, or another outline of half size 1, stretched to `half`."""
        self.fill(center + turn(outline * np.array(half), angle), color, actor)

    def shade(self, center: Points, half: tuple[float, float], share: float) -> None:
        """Darken a soft ellipse, by `share` in its middle: a shadow on the ground."""
        (left, top), (right, bottom) = (
            np.clip(
                np.round((center + sign * 1.6 * np.array(half)) * self.unit).astype(int),
                0,
                self.pixels.shape[1::-1],
            )
            for sign in (-1, 1)
        )
        if right <= left or bottom <= top:
            return
        x = (np.arange(left, right) / self.unit - center[0]) / half[0]
        y = (np.arange(top, bottom) / self.unit - center[1]) / half[1]
        depth = share * np.exp(-1.4 * (x[None, :] ** 2 + y[:, None] ** 2) ** 1.5)
        patch = self.pixels[top:bottom, left:right, :3]
        patch[:] = (patch * (1 - depth[..., None])).astype(np.uint8)

    @staticmethod
    def _value(color: Color, actor: bool) -> tuple[float, float, float, float]:
        red, green, blue = color
        return (red * 255, green * 255, blue * 255, 255 if actor else 0)
