"""Training a network on clips with parts hidden, to be as sure as the visible evidence allows."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tiemcli.bench.paper.case import Kind
from tiemcli.bench.paper.classifiers import Classifier, Seen, untrained
from tiemcli.bench.paper.clips import FRAMES, SIDE, STROKES, Clip, make_clips
from tiemcli.kernels.arrays import Floats, Ints
from tiemcli.kernels.blend import gaussian_blur

CLIPS, BATCH = 1500, 32
STEPS: dict[Kind, int] = {"3-D CNN": 400, "CNN-LSTM": 800}
RATE = 4e-3
SHARE = 0.7
"""How many of the clips have parts hidden, once the network knows whole ones."""


def train(kind: Kind, seed: int, progress: Callable[[int], None] = lambda done: None) -> Classifier:
    """The network of a seed, fitted to clips of that seed.

    On one thread, for sums in another order end in another network. progress: told after each step
    how many have been done.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _fit(untrained(kind, seed), STEPS[kind], seed, progress)
    finally:
        torch.set_num_threads(threads)


def _fit(
    classifier: Classifier, steps: int, seed: int, progress: Callable[[int], None]
) -> Classifier:
    """Whole clips come first: with parts hidden from the start no stroke is ever discovered."""
    random = np.random.default_rng(seed)
    clips = make_clips(seed, CLIPS)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.2)
    for step in range(steps):
        share = SHARE * min(1.0, max(0.0, step / steps * 4 - 1))
        chosen = [clips[index] for index in random.integers(0, CLIPS, BATCH)]
        pixels, targets, shown = hidden(chosen, share, random)
        loss = _loss(classifier.see(torch.from_numpy(pixels)), chosen, targets, shown)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        progress(step + 1)
    return classifier.eval()


def _loss(seen: Seen, clips: list[Clip], targets: Floats, shown: Floats) -> Tensor:
    """The cross-entropy of the answer, of that of each signature frame, and the limb's direction.

    targets, shown: as `hidden` returns them.
    """
    wanted = torch.from_numpy(targets)
    signature = torch.from_numpy(np.stack([clip.signature for clip in clips]))
    angles = np.stack([clip.angles for clip in clips])
    pointing = (
        np.stack([np.cos(angles), np.sin(angles)], axis=2).astype(np.float32) * shown[:, :, None]
    )
    answer = -(wanted * seen.logits.log_softmax(1)).sum(1).mean()
    moments = -(wanted[:, None] * seen.moments.log_softmax(2)).sum(2)[signature].mean()
    return answer + moments + functional.mse_loss(seen.directions, torch.from_numpy(pointing))


def hidden(
    clips: list[Clip], share: float, random: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Clips with parts hidden, and what may still be known of them.

    share: how many of the clips have anything hidden. Returns the pixels (N, 3, T, H, W) float32;
    the targets (N, K) float32, with v the share of the limb's pixels in signature frames left
    visible, v for the stroke plus (1 − v)/K for every one; and (N, T), the limb's visible share.
    """
    pixels = np.stack([clip.pixels for clip in clips])
    region = np.stack([clip.region for clip in clips])
    signature = np.stack([clip.signature for clip in clips])
    keep = np.ones(region.shape, dtype=np.float32)
    for index in np.flatnonzero(random.random(len(clips)) < share):
        keep[index] = _mask(region[index], random)
        pixels[index] = _blend(pixels[index], keep[index], random)
    shown = (keep * region).sum((2, 3)) / region.sum((2, 3))
    visible = (shown * signature).sum(1, keepdims=True) / signature.sum(1, keepdims=True)
    strokes = np.eye(len(STROKES))[[clip.stroke for clip in clips]]
    targets = visible * strokes + (1 - visible) / len(STROKES)
    return pixels, targets.astype(np.float32), shown.astype(np.float32)


def _blend(pixels: Floats, keep: Floats, random: np.random.Generator) -> Floats:
    """One clip, black or blurred where it is hidden."""
    if random.random() < 0.5:
        return pixels * keep
    base = gaussian_blur(pixels, random.uniform(0.1, 0.2) * SIDE)
    return base + keep * (pixels - base)


def _mask(region: np.ndarray, random: np.random.Generator) -> Floats:
    """One keep-mask (T, H, W) in {0, 1}: whole frames, the limb's surroundings, blobs, or nothing."""
    choice = random.random()
    if choice < 0.08:
        return np.zeros(region.shape, dtype=np.float32)
    if choice < 0.6:
        return np.broadcast_to(_moments(random)[:, None, None], region.shape)
    if choice < 0.75:
        around = gaussian_blur(region.astype(np.float32), 2) > 0.05
        return np.asarray(around * _moments(random)[:, None, None])
    return _blobs(random)


def _blobs(random: np.random.Generator) -> Floats:
    """Smooth noise above a random quantile, which holds still or moves from frame to frame."""
    moments = int(random.choice([1, 4, FRAMES]))
    noise = random.normal(size=(moments, SIDE, SIDE)).astype(np.float32)
    noise = gaussian_blur(np.repeat(noise, FRAMES // moments, axis=0), 4)
    edge = np.quantile(noise[:, ::4, ::4], random.uniform(0.1, 0.95))
    return np.asarray(noise > edge, dtype=np.float32)


def _moments(random: np.random.Generator) -> Floats:
    """Which frames are kept, (T,): a window, all but one, or each by chance."""
    if random.random() < 0.25:
        return np.asarray(random.random(FRAMES) < random.random(), dtype=np.float32)
    length = int(random.integers(1, FRAMES))
    start = int(random.integers(0, FRAMES - length + 1))
    kept = np.zeros(FRAMES, dtype=np.float32)
    kept[start : start + length] = 1
    return kept if random.random() < 0.33 else 1 - kept


def accuracy(classifier: Classifier, clips: list[Clip]) -> float:
    """The share of whole clips whose stroke the network names."""
    with torch.no_grad():
        logits = classifier(torch.from_numpy(np.stack([clip.pixels for clip in clips])))
    named: Ints = logits.argmax(1).numpy()
    return float(np.mean(named == [clip.stroke for clip in clips]))
