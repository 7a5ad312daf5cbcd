"""The sample's film: a robot walks through a landscape and, for a moment, acts."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from tiemcli.samples.acts import acting, strength
from tiemcli.samples.backdrop import Backdrop, Theme, paint_backdrop
from tiemcli.samples.paint import ROUND, Canvas, Color, Pixels, Points, mix
from tiemcli.samples.robot import Paint, draw

SECONDS = 4.0
"""Length of every film."""
ASPECT = 4 / 3
STRIDE = 0.46
"""Ground covered by one turn of the gait, in heights of the robot: what keeps feet from sliding."""


@dataclass(frozen=True)
class Scene:
    """Everything that determines a film; times in seconds, lengths in heights of the picture.

    act: the class; it shows while start < time < end and at no other time.
    """

    act: str
    start: float
    end: float
    theme: Theme
    paint: Paint
    origin: float
    speed: float
    ground: float
    size: float
    gait: float
    clouds: tuple[tuple[float, float, float], ...]
    wind: float
    bird: tuple[float, float, float]
    ball: tuple[float, float, float, float]
    ball_color: Color

    def phase(self, time: float) -> float:
        """Return the share of the act that has passed; outside (0, 1) the robot just walks."""
        return (time - self.start) / (self.end - self.start)

    def walked(self, time: float) -> float:
        """Return the ground covered: the robot slows to a stand in every act alike."""
        steps = np.arange(0, time, 1 / 48)
        return self.speed / 48 * float((1 - 0.85 * evidence(self, steps)).sum())


def evidence(scene: Scene, times: Points) -> Points:
    """Return how much of the act shows at each time, in [0, 1]."""
    return np.array([strength(scene.phase(float(time))) for time in times])


def film(scene: Scene, times: Points, size: tuple[int, int], oversample: int) -> Pixels:
    """Render the film at these times.

    size: width and height of a frame, any aspect: the picture is 4:3 and stretched to it.
    Returns (T, height, width, 4) uint8, RGB and the share of the pixel that is robot × 255.
    """
    height = oversample * size[1]
    backdrop = paint_backdrop(scene.theme, height, round(height * ASPECT))
    frames = [_frame(scene, backdrop, float(time)) for time in times]
    return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])


def _frame(scene: Scene, backdrop: Backdrop, time: float) -> Pixels:
    canvas = Canvas(backdrop.sky.copy())
    for x, y, wide in scene.clouds:
        span = ASPECT + 0.6
        _cloud(canvas, (x + scene.wind * time) % span - 0.3, y, wide, scene.theme)
    cv2.copyTo(backdrop.land, backdrop.mask, canvas.pixels)
    _bird(canvas, scene, time)
    _ball(canvas, scene, time)
    walked = scene.walked(time)
    pose = acting(
        scene.act, scene.phase(time), scene.gait + 2 * np.pi * walked / (STRIDE * scene.size)
    )
    feet = np.array([scene.origin + walked, scene.ground])
    height = pose.lift
    canvas.shade(
        feet + np.array([0.05, 0.0]) * scene.size,
        (0.3 * scene.size * (1 - 0.8 * height), 0.055 * scene.size * (1 - 0.8 * height)),
        0.55 * (1 - 1.6 * height),
    )
    draw(canvas, pose, scene.paint, feet, scene.size)
    return canvas.pixels


def _cloud(canvas: Canvas, x: float, y: float, wide: float, theme: Theme) -> None:
    shade = mix(theme.horizon, (1.0, 1.0, 1.0), 0.45)
    for drop, color, shrink in ((0.03, shade, 1.0), (0.0, mix(shade, (1.0, 1.0, 1.0), 0.75), 0.94)):
        for across, up, radius in (
            (-0.42, 0.0, 0.17),
            (-0.15, 0.12, 0.26),
            (0.18, 0.08, 0.22),
            (0.42, -0.01, 0.16),
        ):
            center = np.array([x + across * wide, y + (drop - up) * wide])
            canvas.flat(center, (radius * wide * shrink, radius * wide * shrink * 0.8), color)
        canvas.flat(
            np.array([x, y + (drop + 0.07) * wide]), (0.56 * wide * shrink, 0.1 * wide), color
        )


def _bird(canvas: Canvas, scene: Scene, time: float) -> None:
    start, altitude, speed = scene.bird
    x, y = start - speed * time, altitude + 0.02 * np.sin(3 * time + start)
    flap = float(np.sin(11 * time + 5 * start))
    color = mix(scene.theme.far, (0.1, 0.1, 0.2), 0.65)
    body = np.array([x, y])
    for side in (-1, 1):
        elbow = body + np.array([0.028 * side, -0.012 - 0.016 * flap])
        tip = body + np.array([0.06 * side, -0.004 - 0.04 * flap])
        for a, b, width in ((body, elbow, 0.0075), (elbow, tip, 0.005)):
            canvas.limb(a, b, width, width * 0.7, color)
    canvas.limb(body + np.array([-0.02, 0.0]), body + np.array([0.014, 0.002]), 0.009, 0.006, color)


def _ball(canvas: Canvas, scene: Scene, time: float) -> None:
    start, ground, radius, speed = scene.ball
    x = start + speed * time
    bounce = 1.6 * radius * abs(float(np.sin(3.1 * time + 7 * start)))
    canvas.shade(np.array([x, ground + radius * 0.9]), (radius * 1.1, radius * 0.3), 0.4)
    center = np.array([x, ground - bounce])
    canvas.slab(center, (radius, radius), scene.ball_color, outline=ROUND)
    spin = speed * time / radius
    for third in range(3):
        angle = spin + third * 2 * np.pi / 3
        middle = center + 0.5 * radius * np.array([np.cos(angle), np.sin(angle)])
        canvas.flat(middle, (0.4 * radius, 0.16 * radius), (0.98, 0.96, 0.9), angle)


def random_scene(rng: np.random.Generator, act: str) -> Scene:
    """Return a film of the act whose place, pace, light, colors and moment are all random."""
    size = rng.uniform(0.56, 0.72)
    speed = rng.uniform(0.16, 0.4)
    lasting = rng.uniform(0.9, 1.7)
    start = rng.uniform(0.15, SECONDS - lasting - 0.15)
    act_x = rng.uniform(0.3, ASPECT - 0.3)
    scene = Scene(
        act=act,
        start=start,
        end=start + lasting,
        theme=Theme.random(rng),
        paint=random_paint(rng),
        origin=0.0,
        speed=speed,
        ground=rng.uniform(0.86, 0.95),
        size=size,
        gait=rng.uniform(0, 2 * np.pi),
        clouds=tuple(
            (rng.uniform(0, 2), rng.uniform(0.08, 0.3), rng.uniform(0.15, 0.36))
            for _ in range(rng.integers(1, 5))
        ),
        wind=rng.uniform(-0.06, 0.06),
        bird=(rng.uniform(0.2, 2.2), rng.uniform(0.1, 0.35), rng.uniform(0.15, 0.4)),
        ball=(
            rng.uniform(-0.3, ASPECT + 0.3),
            rng.uniform(0.72, 0.82),
            rng.uniform(0.03, 0.055),
            rng.uniform(-0.3, 0.3),
        ),
        ball_color=tuple(rng.uniform(0.2, 1, 3)),
    )
    return replace(scene, origin=act_x - scene.walked(start + lasting / 2))


def random_paint(rng: np.random.Generator) -> Paint:
    """Return a robot of random colors: a light shell, dark joints, a strong accent."""
    hue = rng.random()
    return Paint(
        shell=tuple(rng.uniform(0.7, 0.97, 3)),
        accent=hue_color(hue, rng.uniform(0.55, 0.85), rng.uniform(0.75, 1)),
        joint=tuple(rng.uniform(0.2, 0.4, 3)),
        glow=hue_color(hue + rng.uniform(0.3, 0.7), 0.45, 1.0),
    )


def hue_color(hue: float, saturation: float, value: float) -> Color:
    """Return the color of a hue given in turns."""
    ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    red, green, blue = value * (1 - saturation * (1 - ramp))
    return (float(red), float(green), float(blue))
