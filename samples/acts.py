"""The poses of the sample's robot: its walk, and the acts that tell the classes apart."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

ACTS = ("jump", "wave", "spin", "duck", "flip")
"""The classes, in the order of the network's logits."""

FACING = 0.95
"""How far the walking robot is turned from the viewer to its right, radians."""


@dataclass(frozen=True)
class Pose:
    """Every joint of the robot; lengths in units of its height, angles in radians.

    Pairs are the limbs on the robot's left and right. Arm angles: `swing` forward from hanging
    down, `raise` sideways from hanging down.
    """

    yaw: float
    roll: float
    lift: float
    hip: float
    step: tuple[float, float]
    foot: tuple[float, float]
    swing: tuple[float, float]
    spread: tuple[float, float]
    fore_swing: tuple[float, float]
    fore_spread: tuple[float, float]


def smooth(x: float) -> float:
    """Return the smooth step from 0 at x ≤ 0 to 1 at x ≥ 1."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def strength(phase: float) -> float:
    """Return how much of the act shows at this share of its duration; 0 outside (0, 1)."""
    return smooth(phase / 0.3) * smooth((1 - phase) / 0.3)


def walk(gait: float) -> Pose:
    """Return the pose of walking; one turn of `gait`, in radians, is two steps."""
    sway = float(np.cos(gait))
    rise = float(np.sin(gait))
    return Pose(
        yaw=FACING,
        roll=0.03 * rise,
        lift=0.0,
        hip=0.3 + 0.012 * float(np.cos(2 * gait)),
        step=(0.13 * sway, -0.13 * sway),
        foot=(0.06 * max(-rise, 0), 0.06 * max(rise, 0)),
        swing=(-0.6 * sway, 0.6 * sway),
        spread=(0.22, 0.22),
        fore_swing=(0.35 - 0.5 * sway, 0.35 + 0.5 * sway),
        fore_spread=(0.12, 0.12),
    )


def _jump(phase: float) -> Pose:
    air = max(0.0, float(np.sin(np.pi * (phase - 0.1) / 0.8)))
    return Pose(
        yaw=0.5,
        roll=0.0,
        lift=0.24 * air,
        hip=0.3 - 0.1 * float(np.exp(-(((phase - 0.1) / 0.08) ** 2))),
        step=(0.1, -0.06),
        foot=(0.13 * air, 0.07 * air),
        swing=(0.2, 0.2),
        spread=(2.5, 2.5),
        fore_swing=(0.1, 0.1),
        fore_spread=(2.9, 2.9),
    )


def _wave(phase: float) -> Pose:
    beat = float(np.sin(2 * np.pi * 2.5 * phase))
    return Pose(
        yaw=0.0,
        roll=0.06 * beat,
        lift=0.0,
        hip=0.3,
        step=(0.0, 0.0),
        foot=(0.0, 0.0),
        swing=(0.1, 0.1),
        spread=(2.2, 0.3),
        fore_swing=(0.1, 0.1),
        fore_spread=(2.75 + 0.6 * beat, 0.2),
    )


def _spin(phase: float) -> Pose:
    return Pose(
        yaw=FACING + 4 * np.pi * smooth(phase),
        roll=0.0,
        lift=0.02,
        hip=0.31,
        step=(0.0, 0.0),
        foot=(0.0, 0.1),
        swing=(0.0, 0.0),
        spread=(1.55, 1.55),
        fore_swing=(0.0, 0.0),
        fore_spread=(1.6, 1.6),
    )


def _duck(phase: float) -> Pose:
    tremble = 0.015 * float(np.sin(2 * np.pi * 5 * phase))
    return Pose(
        yaw=0.6,
        roll=0.12,
        lift=0.0,
        hip=0.1 + tremble,
        step=(0.1, -0.08),
        foot=(0.0, 0.0),
        swing=(0.5, 0.5),
        spread=(2.0, 2.0),
        fore_swing=(0.2, 0.2),
        fore_spread=(3.9, 3.9),
    )


def _flip(phase: float) -> Pose:
    air = max(0.0, float(np.sin(np.pi * (phase - 0.08) / 0.84)))
    return Pose(
        yaw=FACING,
        roll=2 * np.pi * smooth((phase - 0.1) / 0.8),
        lift=0.22 * air,
        hip=0.3 - 0.1 * air,
        step=(0.1, 0.02),
        foot=(0.06 * air, 0.1 * air),
        swing=(1.2, 1.2),
        spread=(0.2, 0.2),
        fore_swing=(0.6, 0.6),
        fore_spread=(0.1, 0.1),
    )


_POSES: dict[str, Callable[[float], Pose]] = {
    "jump": _jump,
    "wave": _wave,
    "spin": _spin,
    "duck": _duck,
    "flip": _flip,
}


def acting(act: str, phase: float, gait: float) -> Pose:
    """Return the walking pose with as much of the act in it as `phase` shows.

    phase: share of the act's duration that has passed; outside (0, 1) every act is a walk.
    """
    share = strength(phase)
    if not share:
        return walk(gait)
    before, after = walk(gait), _POSES[act](phase)
    # A whole turn is the same pose: turning acts end where walking goes on, so take their angle.
    turned = {"spin": {"yaw": after.yaw}, "flip": {"roll": after.roll}}.get(act, {})
    mixed = {
        field.name: _between(getattr(before, field.name), getattr(after, field.name), share)
        for field in fields(Pose)
    }
    return Pose(**(mixed | turned))


def _between(
    a: float | tuple[float, float], b: float | tuple[float, float], share: float
) -> float | tuple[float, float]:
    mixed = np.asarray(a) + (np.asarray(b) - np.asarray(a)) * share
    return float(mixed) if mixed.ndim == 0 else (float(mixed[0]), float(mixed[1]))
