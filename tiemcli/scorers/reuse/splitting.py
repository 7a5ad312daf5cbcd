"""Looking for a frame-wise prefix in a network that is ready for scoring, and splitting it there."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from tiemcli.kernels.arrays import Floats, Ints
from tiemcli.kernels.fuse import BASE, DELTA
from tiemcli.kernels.prefix import Axes, Cut, Prefix, find_prefix
from tiemcli.kernels.split import encoder, shape_sources, slice_shape, suffix
from tiemcli.kernels.subgraph import answering, subnetwork
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.fused import no_room_is_an_error, residents
from tiemcli.scorers.reuse.encoder import Encoder
from tiemcli.scorers.reuse.frame_wise import FrameWise
from tiemcli.scorers.reuse.shared import Whole
from tiemcli.scorers.reuse.suffix import Size, Suffix

# The share of the work that a prefix must save.
WORTHWHILE = 0.3
# No clip counts as cheaper than this share of a forward: to draw its masks and to look its frames up
# takes time as well, which no multiply-adds tell of.
CHEAPEST = 1e-3
# How often a clip is run to time it.
TIMED = 3


def split_frame_wise(whole: Whole) -> FrameWise | None:
    """The network in two parts, of which the first takes frames one by one; None where that saves
    too little, or where memory does not hold what three clips are encoded to.

    Raises TiemError where the runtime fails at a part.
    """
    found = _find(whole)
    if found is None:
        return None
    prefix, sizes = found
    frames, looped = whole.port.sizes["T"], whole.looped
    if 3 * frames * sum(cut.frame_bytes for cut in prefix.cuts) > whole.memory:
        return None
    part, port = whole.proto, whole.port
    front = whole.session(encoder(part, port, prefix.cuts), whole.device)
    rest = suffix(part, port, prefix.cuts, prefix.shapes)
    behind = whole.session(rest, whole.device)
    slices = tuple(
        (slice_shape(cut), helper.tensor_dtype_to_np_dtype(cut.element_type)) for cut in prefix.cuts
    )
    first = Encoder(front, _batching(whole), slices, frames, prefix.uniform, looped)
    then = Suffix(behind, _batching(whole), sizes, looped or 1)
    price = max(1 - prefix.share, CHEAPEST)
    if any(attribute.HasField("g") for node in rest.graph.node for attribute in node.attribute):
        price = max(price, _timed_share(whole, first, then))
    return FrameWise(first, then, price, whole.memory)


def _timed_share(whole: Whole, first: Encoder, then: Suffix) -> float:
    """The suffix's share of the time of a clip, for one with loops, whose work nobody counts;
    rounded up to a power of two, which is mostly the same again."""
    channels, frames, height, width = whole.model.shape
    black = np.zeros((frames, channels, height, width), np.float32)
    between = residents({DELTA: black, BASE: black}, first.session)
    tables, every = first.tables(frames), np.arange(frames)

    def shown(items: Ints) -> Floats:
        return np.ones((len(items), 1, 1), dtype=np.float32)

    times = []
    for _ in range(TIMED):
        with no_room_is_an_error():
            began = time.perf_counter()
            fronts = first.fill(tables, every, every, shown, None, between)
            encoded = time.perf_counter()
            then.answers(tables, [every[None]] * len(tables), 0)
        times.append(((encoded - began) / fronts, time.perf_counter() - encoded))
    front, rest = np.min(times, axis=0)
    return float(2 ** np.ceil(np.log2(rest / (front + rest))))


def _batching(whole: Whole) -> Batching:
    """What fills a network of a fixed batch one by one; else of the user's size, or of the best."""
    if whole.looped is not None:
        return Batching(1)
    batching = Batching(whole.batch_size)
    if whole.batch_size is None:
        batching.size = 2  # so that clips beside each other are compared with the whole network
    return batching


def _find(whole: Whole) -> tuple[Prefix, dict[str, Size]] | None:
    """The prefix, its cuts' axes as they are for any number of clips, and the sizes that its suffix
    is fed; None where it saves too little.

    A single clip is probed, which is cheapest, and two where it does not tell the clips' axes.
    """
    for clips in (whole.looped,) if whole.looped else (1, 2):
        prefix = _probe(whole, clips)
        if prefix is None or prefix.share < WORTHWHILE:
            return None
        sizes = _sizes(whole, prefix, [clips] if whole.looped else [1, 2])
        if whole.looped or clips > 1:
            return prefix, sizes
        cuts = _told_apart(whole, prefix.cuts)
        if cuts:
            return replace(prefix, cuts=cuts), sizes
    return None


def _probe(whole: Whole, clips: int) -> Prefix | None:
    """The prefix, the network fed so many clips."""
    _, frames, height, width = whole.model.shape
    shape = (2, clips, frames, height, width, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    first, second = map(whole.clips, noise)
    port = whole.port
    model = whole.fed(first)
    return find_prefix(model, port.input, port.layout, frames, (first, second), whole.run)


def _sizes(whole: Whole, prefix: Prefix, counts: Sequence[int]) -> dict[str, Size]:
    """What the suffix reads of shapes, from what it is for these numbers of clips: one that is
    fixed, or the first two."""
    names = list(shape_sources(whole.proto, prefix.shapes))
    values = [_blank(whole, names, [], names, clips) for clips in counts] if names else []
    sizes = {}
    for name, first, last in zip(names, *values[:1], *values[-1:], strict=True):
        per_clip = last - first
        sizes[name] = Size(first - per_clip, per_clip)
    return sizes


def _told_apart(whole: Whole, cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """Cuts that were probed with one clip, where their shapes for two tell the axes of both: they
    have an axis, or share that of the frames. None at all where one has them elsewhere."""
    names = [cut.name for cut in cuts]
    nodes = [helper.make_node("Shape", [name], [f"tiem.shape.{name}"]) for name in names]
    shapes = _blank(whole, names, nodes, [node.output[0] for node in nodes], 2)
    told = []
    for cut, two in zip(cuts, shapes, strict=True):
        changed = [axis for axis, size in enumerate(two) if size != cut.shape[axis]]
        (axis,) = changed if len(changed) == 1 else (-1,)
        if axis == cut.axes.frame:
            told.append(cut)
        elif axis >= 0 and (cut.shape[axis], two[axis]) == (1, 2):
            told.append(replace(cut, axes=Axes(cut.axes.frame, axis)))
        else:
            return ()
    return tuple(told)


def _blank(
    whole: Whole,
    needed: Sequence[str],
    added: Sequence[onnx.NodeProto],
    wanted: Sequence[str],
    clips: int,
) -> list[np.ndarray]:
    """Values of a network that is fed so many black clips. needed: what `added` reads."""
    black = whole.clips(np.zeros((clips, *whole.model.shape[1:], 3), np.uint8))
    asked = answering(subnetwork(whole.fed(black), needed), wanted, added)
    (values,) = whole.run(asked, [black])
    return list(values)
