"""What the sample's network is trained on: random films, and the ways of hiding parts of them."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from tiemcli.samples.acts import ACTS
from tiemcli.samples.paint import Pixels
from tiemcli.samples.scene import SECONDS, evidence, film, random_scene

Floats = NDArray[np.float32]

FRAMES = 16
SIDE = 64
TIMES = (np.arange(FRAMES) + 0.5) * SECONDS / FRAMES
"""When the frames are taken: the middle of each of as many equal parts of the film, seconds."""


@dataclass(frozen=True)
class Drill:
    """Films with their truth.

    films: (N, T, H, W, 4) uint8, RGB and the share of the pixel that is robot × 255;
    evidence: (N, T), how much of the act each frame shows, in [0, 1]; acts: (N,) class indices.
    """

    films: Pixels
    evidence: Floats
    acts: NDArray[np.int64]


def drill(seed: int, number: int, workers: int) -> Drill:
    """Render `number` random films, the classes in turn; the workers do not change the result."""
    with ProcessPoolExecutor(workers) as pool:
        made = list(pool.map(partial(_film, seed), range(number), chunksize=16))
    films, shown = zip(*made, strict=True)
    return Drill(np.stack(films), np.stack(shown), np.arange(number) % len(ACTS))


def _film(seed: int, index: int) -> tuple[Pixels, Floats]:
    rng = np.random.default_rng([seed, index])
    scene = random_scene(rng, ACTS[index % len(ACTS)])
    return film(scene, TIMES, (SIDE, SIDE), 3), evidence(scene, TIMES).astype(np.float32)


def hidden(
    drill: Drill, chosen: NDArray[np.int64], share: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return a batch of films with parts hidden, and what may still be known of their acts.

    share: how many of the films have anything hidden, in [0, 1].
    Returns the clips (N, 3, T, H, W) float32 in [0, 1] and the targets (N, K): with v the share
    of the act's evidence left visible, v for the act plus (1 − v)/K for every class.
    """
    clips, targets = zip(*(_hide(drill, index, share, rng) for index in chosen), strict=True)
    return np.stack(clips).transpose(0, 4, 1, 2, 3), np.stack(targets)


def _hide(
    drill: Drill, index: int, share: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    film = drill.films[index].astype(np.float32) / 255
    if rng.random() < 0.5:
        film = film[:, :, ::-1]
    clip, actor = film[..., :3], film[..., 3]
    clip = clip[..., rng.permutation(3)] if rng.random() < 0.3 else clip
    clip = np.clip(clip * np.float32(rng.uniform(0.8, 1.15)), 0, 1)

    keep = _mask(actor, rng) if rng.random() < share else np.ones_like(actor)
    shown = drill.evidence[index] * (keep * actor).sum((1, 2)) / (actor.sum((1, 2)) + 1e-6)
    visible = float(shown.sum() / drill.evidence[index].sum())
    hidden = keep[..., None] * clip + (1 - keep[..., None]) * _base(clip, rng)
    target = np.full(len(ACTS), (1 - visible) / len(ACTS), np.float32)
    target[drill.acts[index]] += visible
    return hidden.astype(np.float32), target


def _base(clip: Floats, rng: np.random.Generator) -> Floats:
    """Return what shows where the clip does not, broadcast to (T, H, W, 3)."""
    choice = rng.random()
    if choice < 0.4:
        return np.zeros((1, 1, 1, 3), np.float32)
    if choice < 0.5:
        return clip.mean((0, 1, 2), keepdims=True)
    # OpenCV blurs channels alone, so the frames go side by side as channels.
    layers = clip.transpose(1, 2, 0, 3).reshape(SIDE, SIDE, -1)
    blurred = cv2.GaussianBlur(layers, (0, 0), float(rng.uniform(0.07, 0.13)) * SIDE)
    return blurred.reshape(SIDE, SIDE, FRAMES, 3).transpose(2, 0, 1, 3)


def _mask(actor: Floats, rng: np.random.Generator) -> Floats:
    """Return one keep-mask, (T, H, W) in [0, 1], of a random kind.

    actor: (T, H, W), the robot's share of each pixel.
    """
    choice = rng.random()
    if choice < 0.05:
        return np.zeros_like(actor)
    if choice < 0.55:
        return np.broadcast_to(_moments(rng)[:, None, None], actor.shape)
    if choice < 0.7:
        around = cv2.dilate(actor.transpose(1, 2, 0), np.ones((3, 3)), iterations=2)
        return around.transpose(2, 0, 1) * _moments(rng)[:, None, None]
    # Smooth noise above a random quantile: blobs that hold still, or move from frame to frame.
    coarse = rng.normal(size=(rng.choice([1, 3, FRAMES]), 6, 6)).astype(np.float32)
    slow = cv2.resize(coarse.reshape(len(coarse), 36), (36, FRAMES), interpolation=cv2.INTER_LINEAR)
    noise = np.stack(
        [cv2.resize(f.reshape(6, 6), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for f in slow]
    )
    edge = np.quantile(noise[:, ::4, ::4], rng.uniform(0.1, 0.95))
    return np.clip((noise - edge) * 8 + 0.5, 0, 1)


def _moments(rng: np.random.Generator) -> Floats:
    """Return which frames are kept, (T,): a window, all but one, or each by chance."""
    kept = np.zeros(FRAMES, np.float32)
    choice = rng.random()
    if choice < 0.25:
        return (rng.random(FRAMES) < rng.random()).astype(np.float32)
    length = int(rng.integers(1, FRAMES))
    start = int(rng.integers(0, FRAMES - length + 1))
    kept[start : start + length] = 1
    return kept if choice < 0.5 else 1 - kept
