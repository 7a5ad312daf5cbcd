"""Real silhouettes of two actions in one clip, and the 3-D CNN that knows each of them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tiemcli.bench.paper.case import Case
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Bools, Floats
from tiemcli.model import load_model
from tiemcli.scorers.network import load_network

ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
FRAMES, HEIGHT, WIDTH = 16, 64, 80
BORDERS = (6, 7, 8, 9, 10)
"""The frame at which the second action begins, one of these."""
SURE = 0.3
"""The target is the action of one part that the network sees with more than this probability."""


def silhouette_cases(folder: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """Up to `count` splices of two actions of one actor, the target the likelier of the two.

    folder: of the real clips and networks. The pairs come in an order that the seed decides; those
    of which the network sees neither action are left out. The silhouettes are those of the Weizmann
    actions (Gorelick et al., PAMI 2007).
    """
    facts = Facts(layout="NCTHW", scale=1 / 255, output="logits", labels=ACTIONS)
    network = load_network(load_model(folder / "models" / "weizmann_tiny3d.onnx", facts), "cpu")
    with np.load(folder / "dev" / "weizmann_dev_masks.npz") as packed:
        parts = {key: _centre(packed[key]) for key in sorted(packed.files)}
    pairs = [(a, b) for a in parts for b in parts if _actor(a) == _actor(b) and _act(a) != _act(b)]
    random = np.random.default_rng(seed)
    found = 0
    for index in random.permutation(len(pairs)):
        first, second = pairs[index]
        border = int(random.choice(BORDERS))
        if found == count:
            return
        clip = np.concatenate([parts[first][:, :border], parts[second][:, border:]], axis=1)
        answers = network.outputs(clip)
        target = max(_act(first), _act(second), key=lambda act: answers[act])
        if answers[target] > SURE:
            found += 1
            before: Bools = np.arange(FRAMES) < border
            yield Case(
                name=f"{first} | {second.partition('_')[2]} from {border}",
                network=network,
                clip=clip,
                target=target,
                signature=before if target == _act(first) else ~before,
            )


def _centre(packed: np.ndarray) -> Floats:
    """(1, T, H, W) float32 in [0, 1]: the middle frames of a sequence (n, 144, 23) of bytes, each
    the bits of eight columns of 180."""
    start = (len(packed) - FRAMES) // 2
    bits = np.unpackbits(packed[start : start + FRAMES], axis=2)[:, :, :180]
    frames = [
        cv2.resize(frame.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for frame in bits
    ]
    return np.stack(frames)[None]


def _actor(key: str) -> str:
    return key.partition("_")[0]


def _act(key: str) -> int:
    """The class of "lena_run2": some sequences of an action are numbered, waves are by arms."""
    action = key.partition("_")[2]
    return ACTIONS.index(action if action in ACTIONS else action[:-1])
