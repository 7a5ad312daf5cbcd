"""The robot that walks through the sample's film: a pose and a canvas in, a figure drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tiemcli.samples.acts import Pose
from tiemcli.samples.paint import ROUND, ROUNDED, Canvas, Color, Points, mix, turn

THIGH = 0.165
"""Length of the upper and of the lower leg, in heights of the robot."""
ARM = 0.15
"""Length of the upper arm and of the forearm."""


@dataclass(frozen=True)
class Paint:
    """The robot's colors."""

    shell: Color
    accent: Color
    joint: Color
    glow: Color


@dataclass(frozen=True)
class _Rig:
    """Where the robot stands: from its own space to the screen.

    feet: (2,) the ground point below its hips, in the picture's units; size: its height in them.
    """

    canvas: Canvas
    pose: Pose
    feet: Points
    size: float

    def place(self, side: float, up: float, forward: float) -> tuple[Points, float]:
        """Return the screen point (2,) of a point of the body, and how near it is."""
        yaw = self.pose.yaw
        across = side * np.cos(yaw) + forward * np.sin(yaw)
        near = forward * np.cos(yaw) - side * np.sin(yaw)
        return self.flat(float(across), up - 0.14 * float(near)), float(near)

    def flat(self, across: float, up: float) -> Points:
        """Return the screen point of a point of the body's own upright plane."""
        pivot = 0.5 if self.pose.lift > 0.03 else 0.0
        point = turn(np.array([across, pivot - up]), self.pose.roll)
        return self.feet + self.size * (point + np.array([0.0, -pivot - self.pose.lift]))

    def limb(self, a: Points, b: Points, ra: float, rb: float, color: Color) -> None:
        self.canvas.limb(a, b, ra * self.size, rb * self.size, color, actor=True)

    def slab(
        self, center: Points, wide: float, high: float, color: Color, outline: Points = ROUNDED
    ) -> None:
        half = (wide * self.size, high * self.size)
        self.canvas.slab(center, half, color, self.pose.roll, actor=True, outline=outline)

    def patch(
        self, center: Points, wide: float, high: float, color: Color, outline: Points = ROUND
    ) -> None:
        half = (wide * self.size, high * self.size)
        self.canvas.flat(center, half, color, self.pose.roll, actor=True, outline=outline)


def draw(canvas: Canvas, pose: Pose, paint: Paint, feet: Points, size: float) -> None:
    """Draw the robot; the canvas's fourth channel is 255 where it shows."""
    rig = _Rig(canvas, pose, feet, size)
    parts: list[tuple[float, Callable[[], None]]] = [(0.0, lambda: _trunk(rig, paint))]
    for which, side in enumerate((1.0, -1.0)):
        parts.append(_leg(rig, paint, which, side))
        parts.append(_arm(rig, paint, which, side))
    for _, part in sorted(parts, key=lambda entry: entry[0]):
        part()


def _leg(rig: _Rig, paint: Paint, which: int, side: float) -> tuple[float, Callable[[], None]]:
    pose = rig.pose
    step, foot = pose.step[which], pose.foot[which] + 0.045
    hip, near = rig.place(0.1 * side, pose.hip, 0.0)
    reach = np.array([step, foot - pose.hip])
    length = min(float(np.hypot(*reach)), 2 * THIGH)
    bend = float(np.sqrt(max(THIGH**2 - length**2 / 4, 0.0)))
    normal = np.array([-reach[1], reach[0]]) / max(float(np.hypot(*reach)), 1e-6)
    middle = reach / 2 + bend * normal
    knee, _ = rig.place(0.105 * side, pose.hip + float(middle[1]), float(middle[0]))
    ankle, _ = rig.place(0.11 * side, foot, step)
    toe, _ = rig.place(0.11 * side, foot - 0.012, step + 0.05)

    def part() -> None:
        rig.limb(hip, knee, 0.05, 0.045, paint.joint)
        rig.limb(knee, ankle, 0.05, 0.056, paint.shell)
        rig.limb(ankle, toe, 0.052, 0.045, paint.accent)

    return near - 0.05, part


def _arm(rig: _Rig, paint: Paint, which: int, side: float) -> tuple[float, Callable[[], None]]:
    pose = rig.pose
    top = pose.hip + 0.23
    shoulder, near = rig.place(0.19 * side, top, 0.0)
    upper = _direction(pose.swing[which], pose.spread[which]) * ARM
    fore = upper + _direction(pose.fore_swing[which], pose.fore_spread[which]) * ARM
    elbow, _ = rig.place((0.19 + upper[0]) * side, top + upper[1], float(upper[2]))
    hand, _ = rig.place((0.19 + fore[0]) * side, top + fore[1], float(fore[2]))

    def part() -> None:
        rig.limb(shoulder, elbow, 0.052, 0.04, paint.joint)
        rig.limb(elbow, hand, 0.044, 0.05, paint.shell)
        rig.limb(hand, hand, 0.062, 0.062, paint.accent)

    return near + 0.02, part


def _direction(swing: float, spread: float) -> Points:
    return np.array(
        [np.sin(spread), -np.cos(spread) * np.cos(swing), np.cos(spread) * np.sin(swing)]
    )


def _trunk(rig: _Rig, paint: Paint) -> None:
    yaw, hip = rig.pose.yaw, rig.pose.hip
    front = float(np.cos(yaw))
    body, head = hip + 0.13, hip + 0.45
    pack = rig.flat(-0.15 * float(np.sin(yaw)), body + 0.03)
    if front > 0:
        rig.slab(pack, 0.1, 0.11, paint.accent)
    rig.slab(rig.flat(0.0, body), 0.17, 0.155, paint.shell)
    rig.patch(rig.flat(0.0, body - 0.085), 0.165, 0.018, paint.accent, ROUNDED)
    if front > 0.1:
        rig.slab(rig.flat(0.14 * float(np.sin(yaw)), body + 0.04), 0.05 * front, 0.05, paint.glow)
    if front <= 0:
        rig.slab(pack, 0.12, 0.12, paint.accent)
    rig.limb(rig.flat(0.0, body + 0.14), rig.flat(0.0, head - 0.12), 0.06, 0.06, paint.joint)
    rig.limb(rig.flat(0.0, head + 0.14), rig.flat(-0.02, head + 0.24), 0.014, 0.01, paint.joint)
    rig.limb(rig.flat(-0.02, head + 0.25), rig.flat(-0.02, head + 0.25), 0.034, 0.034, paint.glow)
    far, near = sorted((1.0, -1.0), key=lambda side: -side * np.sin(yaw))
    rig.slab(rig.flat(0.2 * far * front, head), 0.035, 0.07, paint.accent)
    rig.slab(rig.flat(0.0, head), 0.205, 0.155, paint.shell)
    _face(rig, paint, head)
    ear = 0.035 + 0.03 * abs(float(np.sin(yaw)))
    rig.slab(rig.flat(0.2 * near * front, head), ear, 0.07, paint.accent)


def _face(rig: _Rig, paint: Paint, head: float) -> None:
    """Draw visor and eyes where they lie on a drum that turns with the robot."""
    turned = (rig.pose.yaw + np.pi) % (2 * np.pi) - np.pi
    edges = np.clip(turned + np.array([-0.85, 0.85]), -np.pi / 2, np.pi / 2)
    left, right = np.sin(edges) * 0.19
    if right - left < 0.02:
        return
    visor = mix(paint.joint, (0.05, 0.07, 0.16), 0.8)
    rig.slab(rig.flat((left + right) / 2, head - 0.005), (right - left) / 2, 0.105, visor)
    for azimuth in (turned - 0.38, turned + 0.38):
        if np.cos(azimuth) > 0.15:
            eye = rig.flat(0.18 * float(np.sin(azimuth)), head)
            rig.patch(eye, 0.042 * float(np.cos(azimuth)), 0.052, paint.glow)
            rig.patch(eye + rig.size * np.array([-0.008, -0.016]), 0.013, 0.015, (1.0, 1.0, 1.0))
