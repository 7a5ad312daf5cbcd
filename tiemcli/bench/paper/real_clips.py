"""Real clips in a network that answers by the mean of its frames, so that truth is exact.

What a frame adds to the mean can be read off, whatever any method says of it. Clips of which every
frame, or none, speaks for the target tell nothing about when; hence splices of two.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from tiemcli.bench.paper.case import Case
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.model import Model, OnnxModel, load_model
from tiemcli.sampling import choose
from tiemcli.scorers.network import load_network
from tiemcli.scorers.session import make_session
from tiemcli.video import read, scan

SOURCES = {
    "archery": "archery_ucf.avi",
    "weightlifting": "weightlifting_v_GGSY1Qvo990.mp4",
    "bottle": "bottle-detection.mp4",
    "cockatoo": "cockatoo_yuv420.mp4",
}
LENGTHS = range(4, 9)
"""How many frames of a splice are of the clip put into the other."""
FEWEST, MOST = 2, 14
"""Signature frames of a case, of 16."""
SURE = 0.1
"""The least probability of the target: below it a score is a matter of a thousand other classes."""


def real_cases(folder: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """Up to `count` cases: the clips as they are, then one of them put into another, in turn.

    folder: of the real clips and networks. The target is the network's answer to the clip. weights:
    with g (T, K) the logits of each frame, of which the network's are the mean, g[t, target] less
    the mean of g[t] over classes, where positive. The signature are the frames of at least half the
    largest weight: of most splices those of the clip that was answered, of some a few of the other
    too, which looks like it. Clips with fewer than `FEWEST` or more than `MOST` of them are left
    out, as are answers below `SURE`.
    """
    facts = Facts(layout="NCTHW", scale=1 / 255, resize="crop", output="logits")
    model = load_model(folder / "models" / "efficientnet_lite0_avg16.onnx", facts)
    network = load_network(model, "cpu")
    clips = {name: _clip(folder / "demo" / file, model) for name, file in SOURCES.items()}
    logits = {name: _frame_logits(model, clip) for name, clip in clips.items()}
    found = 0
    for name, picks in _splices(np.random.default_rng(seed), model.shape[1]):
        if found == count:
            return
        answers = np.stack([logits[source][frame] for source, frame in picks])
        target = int(answers.mean(axis=0).argmax())
        weights = np.maximum(answers[:, target] - answers.mean(axis=1), 0)
        signature = weights >= weights.max() / 2
        clip = np.stack([clips[source][:, frame] for source, frame in picks], axis=1)
        if FEWEST <= signature.sum() <= MOST and network.outputs(clip)[target] > SURE:
            found += 1
            yield Case(
                name=name,
                network=network,
                clip=clip,
                target=target,
                signature=signature,
                weights=weights,
            )


def _splices(
    random: np.random.Generator, frames: int
) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Names of clips, and of each frame the source that it is from and its number there."""
    for name in SOURCES:
        yield name, [(name, frame) for frame in range(frames)]
    pairs = [(a, b) for a in SOURCES for b in SOURCES if a != b]
    for _ in range(4):
        for outer, inner in pairs:
            length = int(random.choice(LENGTHS))
            start = int(random.integers(0, frames - length + 1))
            inside = range(start, start + length)
            picks = [(inner if frame in inside else outer, frame) for frame in range(frames)]
            yield f"{outer} with {inner} {start}-{start + length - 1}", picks


def _clip(path: Path, model: Model) -> Floats:
    """The clip as `tiem explain` would feed it."""
    timeline = scan(path)
    chosen, _ = choose(timeline.timestamps, model.shape[1])
    return model.preprocessing.clip(np.stack(read(timeline, chosen, model.preprocessing.fit)))


def _frame_logits(model: OnnxModel, clip: Floats) -> Doubles:
    """(T, K): what the network's last node takes the mean of."""
    last = next(node for node in model.proto.graph.node if model.output in node.output)
    opened = onnx.ModelProto()
    opened.CopyFrom(model.proto)
    opened.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))
    session = make_session(opened, model.path.parent, "cpu")
    (each,) = session.run([last.input[0]], {model.input: model.tensor(clip[None])})
    return np.asarray(each, dtype=np.float64).reshape(clip.shape[1], -1)
