"""The landscape behind the sample's robot: what stands still while a film runs."""

from dataclasses import dataclass

import numpy as np

from tiemcli.samples.paint import ROUND, Canvas, Color, Pixels, Points, mix

Hill = tuple[float, float, float, float]
"""Height of its line, height of its waves, their number per unit, their phase."""


@dataclass(frozen=True)
class Theme:
    """A landscape's light and lie; places in heights of the picture, from the top left."""

    zenith: Color
    horizon: Color
    far: Color
    near: Color
    sun: tuple[float, float]
    hills: tuple[Hill, ...]
    trees: tuple[tuple[float, float, bool], ...]
    tufts: tuple[tuple[float, float, int], ...]

    @staticmethod
    def random(rng: np.random.Generator) -> "Theme":
        """Return a landscape of one of four times of day, its hills and trees random."""
        zenith, horizon, far, near = PALETTES[rng.integers(len(PALETTES))]
        tint = tuple(rng.uniform(0, 1, 3))
        return Theme(
            zenith=mix(zenith, tint, 0.15),
            horizon=mix(horizon, tint, 0.1),
            far=mix(far, tint, 0.12),
            near=mix(near, tint, 0.12),
            sun=(rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.35)),
            hills=tuple(
                (level, height, rng.uniform(0.6, 1.4), rng.uniform(0, 6.3))
                for level, height in ((0.46, 0.1), (0.54, 0.06), (0.62, 0.04), (0.7, 0.012))
            ),
            trees=tuple(
                (rng.uniform(0, 4 / 3), rng.uniform(0.08, 0.17), bool(rng.random() < 0.6))
                for _ in range(rng.integers(3, 9))
            ),
            tufts=tuple(
                (rng.uniform(0, 4 / 3), rng.uniform(0.74, 1.0), int(rng.integers(4)))
                for _ in range(60)
            ),
        )


PALETTES: tuple[tuple[Color, Color, Color, Color], ...] = (
    ((0.24, 0.52, 0.86), (0.80, 0.92, 0.97), (0.45, 0.62, 0.76), (0.40, 0.66, 0.30)),
    ((0.27, 0.30, 0.62), (1.00, 0.74, 0.52), (0.58, 0.42, 0.60), (0.36, 0.48, 0.34)),
    ((0.20, 0.60, 0.68), (0.96, 0.93, 0.74), (0.38, 0.60, 0.60), (0.62, 0.64, 0.28)),
    ((0.40, 0.30, 0.66), (0.98, 0.72, 0.76), (0.46, 0.40, 0.66), (0.30, 0.52, 0.46)),
)
"""Zenith, horizon, farthest hills, meadow."""


@dataclass(frozen=True)
class Backdrop:
    """Sky and land, each (H, W, 4) uint8, and the land's mask, (H, W) uint8, 255 where it covers."""

    sky: Pixels
    land: Pixels
    mask: Pixels


def paint_backdrop(theme: Theme, height: int, width: int) -> Backdrop:
    """Paint a landscape of this many pixels."""
    y, x = np.mgrid[0:height, 0:width] / height
    sky = _between(theme.zenith, theme.horizon, np.clip(y / 0.6, 0, 1) ** 0.8)
    distance = np.hypot(x - theme.sun[0], y - theme.sun[1])
    glow = (0.55 * np.exp(-distance / 0.22))[..., None]
    sky = sky * (1 - glow) + np.array([1.0, 0.93, 0.76]) * glow
    disc = np.clip((0.062 - distance) * height / 2 + 0.5, 0, 1)[..., None]
    sky = sky * (1 - disc) + np.array([1.0, 0.98, 0.88]) * disc

    mask = np.zeros((height, width), np.uint8)
    land = np.zeros((height, width, 3))
    canvas = Canvas(np.zeros((height, width, 4), np.uint8))
    for index, hill in enumerate(theme.hills):
        share = index / (len(theme.hills) - 1)
        ridge = _ridge(hill, x[0])
        inside = y >= ridge
        depth = np.clip((y - ridge) / (0.12 + 0.25 * share), 0, 1)
        color = mix(theme.far, theme.near, share)
        lit = mix(color, (1.0, 0.95, 0.75), 0.3)
        # Haze gathers at the foot of far hills; the meadow grows darker towards the viewer.
        foot = mix(color, theme.horizon, 0.5) if index < 3 else mix(color, (0.1, 0.2, 0.16), 0.45)
        shade = _between(lit, color, np.clip(depth * 4, 0, 1))
        shade = shade * (1 - depth[..., None]) + np.array(foot) * depth[..., None]
        land[inside] = shade[inside]
        mask[inside] = 255
        if index == 2:
            canvas.pixels[..., :3] = (land * 255).round()
            before = canvas.pixels.copy()
            for place, tall, pine in theme.trees:
                foot_y = float(_ridge(hill, np.array([place]))[0]) + 0.03
                _tree(canvas, np.array([place, foot_y]), tall, pine, theme)
            changed = (canvas.pixels[..., :3] != before[..., :3]).any(-1)
            mask[changed] = 255
            land = canvas.pixels[..., :3] / 255
    canvas.pixels[..., :3] = (np.clip(land, 0, 1) * 255).round()
    for place, low, kind in sorted(theme.tufts, key=lambda tuft: tuft[1]):
        _tuft(canvas, np.array([place, low]), kind, theme)
    opaque = np.zeros((height, width, 4), np.uint8)
    opaque[..., :3] = (np.clip(sky, 0, 1) * 255).round()
    return Backdrop(opaque, canvas.pixels, mask)


def _ridge(hill: Hill, x: Points) -> Points:
    level, height, number, phase = hill
    waves = np.sin(6.28 * number * x + phase) + 0.45 * np.sin(14.3 * number * x + 2.3 * phase)
    rough = 0.12 * np.sin(41 * number * x + 5 * phase)
    return level - height * (waves + rough) / 1.57


def _between(a: Color, b: Color, share: Points) -> Points:
    return np.array(a) + (np.array(b) - np.array(a)) * share[..., None]


def _tree(canvas: Canvas, foot: Points, tall: float, pine: bool, theme: Theme) -> None:
    leaf = mix(mix(theme.near, theme.far, 0.35), (0.06, 0.24, 0.16), 0.45)
    trunk = mix(theme.far, (0.25, 0.16, 0.12), 0.7)
    canvas.limb(foot, foot - np.array([0.0, 0.4 * tall]), 0.06 * tall, 0.05 * tall, trunk)
    if not pine:
        for across, up, radius in ((-0.18, 0.55, 0.25), (0.18, 0.58, 0.24), (0.0, 0.78, 0.28)):
            center = foot + tall * np.array([across, -up])
            canvas.slab(center, (radius * tall, radius * tall), leaf, outline=ROUND)
        return
    for up, wide in ((0.2, 0.34), (0.42, 0.27), (0.64, 0.19)):
        top = foot - np.array([0.0, tall * (up + 0.42)])
        left = foot + tall * np.array([-wide, -up])
        right = foot + tall * np.array([wide, -up])
        middle = foot + tall * np.array([0.12 * wide, 0.05 - up])
        canvas.fill(np.stack([top, right, middle]), mix(leaf, (0.04, 0.08, 0.2), 0.4))
        canvas.fill(np.stack([top, middle, left]), mix(leaf, (1.0, 0.95, 0.7), 0.18))


def _tuft(canvas: Canvas, foot: Points, kind: int, theme: Theme) -> None:
    size = 0.02 + 0.05 * (foot[1] - 0.7)
    blade = mix(theme.near, (0.1, 0.25, 0.12), 0.4)
    for lean in (-0.6, -0.1, 0.5):
        tip = foot + size * np.array([lean, -1.0])
        canvas.limb(foot, tip, 0.1 * size, 0.04 * size, blade)
    if kind == 0:
        petal = ((1.0, 0.86, 0.4), (0.98, 0.62, 0.66), (0.95, 0.95, 1.0))[int(foot[0] * 97) % 3]
        canvas.slab(
            foot + size * np.array([0.1, -1.1]), (0.26 * size, 0.26 * size), petal, outline=ROUND
        )
