"""Adaptive occlusion sensitivity analysis: boxes that move with what they hide.

Uchiyama, Sogi, Niinuma and Fukui (Visually explaining 3D-CNN predictions for video classification
with an adaptive occlusion sensitivity analysis, WACV 2023): each seed of a grid over the clip becomes
a tube that follows the dense optical flow, of Farnebäck (2003). Theirs: seeds 8 pixels and 2 frames
apart at 112 pixels, and the constants of the flow. Ours: boxes of 16 pixels that last four frames, so
that `occlusion` differs in the motion alone; a box moves by the mean flow inside it, not by that at
its centre, and stops at the edge of the frame instead of ending there.
"""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from tiemcli.kernels.arrays import Bytes, Doubles, Floats
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.scene import Scene
from tiemcli.methods.tubes import Tubes, drops, standing
from tiemcli.preprocess import Preprocessing

PYRAMID_SCALE, LEVELS, WINDOW, ITERATIONS = 0.5, 3, 15, 3
POLYNOMIAL, POLYNOMIAL_SIGMA = 5, 1.2


def find(scene: Scene) -> Evidence:
    """Hide tube after tube, and weigh the pixels of each by the drop of the score."""
    frames = gray_frames(scene.clip, scene.network.model.preprocessing)
    tubes = follow(standing(scene.shape, scene.settings.queries), optical_flow(frames))
    with scene.stage("masks", "where", len(tubes)):
        lost = drops(scene, tubes)
    return attributed(scene, weigh(tubes, lost), "queries", len(tubes), tubes.warning)


def gray_frames(clip: Floats, preprocessing: Preprocessing) -> Bytes:
    """A clip (C, T, H, W) in the network's units as gray pixels (T, H, W) uint8."""
    mean, std = (
        np.reshape(each, (-1, 1, 1, 1)) for each in (preprocessing.mean, preprocessing.std)
    )
    pixels = np.clip(np.rint((clip * std + mean) / preprocessing.scale), 0, 255).astype(np.uint8)
    if preprocessing.color == "gray":
        return np.asarray(pixels[0])
    code = cv2.COLOR_BGR2GRAY if preprocessing.color == "bgr" else cv2.COLOR_RGB2GRAY
    return np.stack([cv2.cvtColor(frame, code) for frame in pixels.transpose(1, 2, 3, 0)])


def optical_flow(frames: Bytes) -> Floats:
    """How pixels move to the next of T frames (T, H, W) uint8: (T−1, H, W, 2) float32, down and right
    in pixels."""
    flow = np.zeros((len(frames) - 1, *frames.shape[1:], 2), dtype=np.float32)
    for index, (frame, following) in enumerate(pairwise(frames)):
        right_down = cv2.calcOpticalFlowFarneback(
            frame,
            following,
            flow[index],
            PYRAMID_SCALE,
            LEVELS,
            WINDOW,
            ITERATIONS,
            POLYNOMIAL,
            POLYNOMIAL_SIGMA,
            0,
        )
        flow[index] = right_down[..., ::-1]
    return flow


def follow(seeds: Tubes, flow: Floats) -> Tubes:
    """Tubes from where boxes stand in their first frames, moved on by the mean flow inside them and
    kept in the frame. flow: (T−1, H, W, 2)."""
    corners = seeds.corners.copy()
    _, height, width = seeds.shape
    room = np.array([height - seeds.side, width - seeds.side])
    for tube, first in enumerate(seeds.first.tolist()):
        at = corners[tube, 0].astype(np.float64)
        for step in range(1, corners.shape[1]):
            top, left = corners[tube, step - 1]
            inside = flow[first + step - 1, top : top + seeds.side, left : left + seeds.side]
            at = np.clip(at + inside.mean(axis=(0, 1)), 0, room)
            corners[tube, step] = np.rint(at)
    return replace(seeds, corners=corners)


def weigh(tubes: Tubes, lost: Doubles) -> Floats:
    """The mean over tubes of lost·(1 − M)/mean(M), M being the mask that hides a tube: (T, H, W).

    lost: (N,). It is the paper's mean of −lost·M/mean(M) but for what is the same for all pixels, so
    that a pixel which no tube hides has 0.
    """
    hidden = tubes.corners.shape[1] * tubes.side**2
    kept = 1 - hidden / np.prod(tubes.shape)
    total = np.zeros(tubes.shape)
    for tube, loss in enumerate(lost.tolist()):
        for place in tubes.places(tube):
            total[place] += loss
    return np.asarray(total / (kept * len(tubes)), dtype=np.float32)
