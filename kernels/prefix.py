"""The frame-wise prefix of a network: all that it computes for each frame on its own.

It is found by probing, with no rules for operators: where every other frame is changed, exactly
every other slice of a frame-wise tensor changes. The tensors at the cut are then verified in full.
Two clips are mixed in as many ways as a frame's place has bits, and in each mixture every slice must
be that of the clip which the frame in its place came from.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tiemcli.kernels.arrays import Bools
from tiemcli.kernels.fuse import opset_of
from tiemcli.kernels.subgraph import answering, reads, subnetwork
from tiemcli.kernels.work import Run, Shapes, multiply_adds, value_shapes

# How far two places may differ on one and the same frame, in units of a tensor's largest number:
# the same sums are taken in another order there.
SAME = 1e-4
# Values that are held at once while their slices are compared.
CHUNK = 1 << 26


@dataclass(frozen=True)
class Axes:
    """Where a tensor holds the N·T frames.

    frame: the axis of T, with `clip` that of N; or the axis of all N·T, clip by clip, where `clip`
    is None. A single clip has N = 1 and needs no axis of its own.
    """

    frame: int
    clip: int | None = None

    def spread(self, places: Bools, rank: int) -> Bools:
        """(N, T) values to be broadcast against a tensor of this rank."""
        shape = [1] * rank
        if self.clip is None:
            shape[self.frame] = places.size
            return places.reshape(shape)
        shape[self.clip], shape[self.frame] = places.shape
        return (places if self.clip < self.frame else places.T).reshape(shape)

    def first(self, tensor: np.ndarray) -> np.ndarray:
        """The slice of the first frame, every axis kept."""
        slices = tensor.take([0], self.frame)
        return slices if self.clip is None else slices.take([0], self.clip)


@dataclass(frozen=True)
class Cut:
    """A tensor from which all that follows knows the frames. shape: as probed. frame_bytes: of one
    frame's slice. element_type: an onnx.TensorProto number."""

    name: str
    axes: Axes
    shape: tuple[int, ...]
    frame_bytes: int
    element_type: int


@dataclass(frozen=True)
class Prefix:
    """The part of a network that computes each frame on its own, as deep as it goes.

    cuts: all that the rest reads of it. shapes: other values that the rest reads, which the input's
    shape decides alone. share: of the network's multiply-adds outside of loops, in (0, 1].
    uniform: every place is computed alike; else it has something of its own, such as the embedding
    of its position.
    """

    cuts: tuple[Cut, ...]
    shapes: tuple[str, ...]
    share: float
    uniform: bool


def find_prefix(
    model: onnx.ModelProto,
    input_name: str,
    layout: str,
    frames: int,
    pair: tuple[np.ndarray, np.ndarray],
    run: Run,
) -> Prefix | None:
    """The frame-wise prefix; None where no convolution or matrix product is in it, or where the
    full comparison at the cut tells that frames meet after all.

    frames: T. pair: two inputs as the network is fed, in which all frames differ. Where they hold
    several clips the cuts tell clips from frames. run: gives the same numbers bit by bit where it
    is given the same, as a CPU does.
    """
    axes = Axes(layout.index("T"), 0) if "N" in layout else Axes(0)
    clips = len(pair[0]) // (1 if "N" in layout else frames)
    if frames < 2:
        return None
    shapes = value_shapes(model, pair[0], run)
    values, shaped = _followers(model, input_name)
    places = {input_name: axes}
    for chunk in _chunks(model, values, shapes, clips, frames):
        found = _frame_wise(model, chunk, shapes, axes, pair, (clips, frames), run)
        places |= found
        if not found:
            break
    split = _split(model, values, shaped, places)
    work = sum(multiply_adds(n, shapes) for n in model.graph.node if values.intersection(n.output))
    saved = work - sum(multiply_adds(node, shapes) for node in split.rest)
    if not saved:
        return None
    crossing = {name: places[name] for name in split.crossing}
    verified = _verify(model, crossing, axes, pair, (clips, frames), run)
    if verified is None:
        return None
    cuts, uniform = verified
    return Prefix(tuple(cuts), tuple(split.shapes), saved / work, uniform)


def _verify(
    model: onnx.ModelProto,
    places: Mapping[str, Axes],
    axes: Axes,
    pair: tuple[np.ndarray, np.ndarray],
    count: tuple[int, int],
    run: Run,
) -> tuple[list[Cut], bool] | None:
    """The cuts at these tensors and whether they are uniform; None where some frame meets another.

    axes: of the input.
    """
    # The first clip holds still, one frame all through, and so tells whether places are alike.
    still = np.broadcast_to(axes.first(pair[0]), pair[0].shape).copy()
    ends, chosen = (still, pair[1]), _mixtures(*count)
    mixed = [_mixture(ends, axes, choice) for choice in chosen]
    answers = run(subnetwork(model, list(places)), [*ends, *mixed])
    cuts, uniform = [], True
    for (name, place), first, *others in zip(places.items(), *answers, strict=True):
        if not _follows((first, *others), place, chosen):
            return None
        numbers = first.astype(np.float64)
        gap = np.abs(numbers - place.first(numbers)).max()
        uniform &= bool(gap <= SAME * np.abs(numbers).max())
        kind = helper.np_dtype_to_tensor_dtype(first.dtype)
        cuts.append(Cut(name, place, first.shape, first.nbytes // math.prod(count), kind))
    return cuts, uniform


def _followers(model: onnx.ModelProto, input_name: str) -> tuple[set[str], set[str]]:
    """The names of what depends on the input's values, and of what depends on its shape alone."""
    values, shaped = {input_name}, set[str]()
    for node in model.graph.node:
        read, made = reads(node), set(filter(None, node.output))
        if read & values and node.op_type not in ("Shape", "Size"):
            values |= made
        elif read & (values | shaped):
            shaped |= made
    return values, shaped


@dataclass(frozen=True)
class _Split:
    """rest: the nodes after the cut. crossing: what they read of the frames. shapes: what they read
    that the input's shape decides."""

    rest: list[onnx.NodeProto]
    crossing: list[str]
    shapes: list[str]


def _split(
    model: onnx.ModelProto, values: set[str], shaped: set[str], places: Mapping[str, Axes]
) -> _Split:
    """Cut as late as can be: back from the outputs, up to what is frame-wise."""
    ends = [value.name for value in model.graph.output]
    needed = {name for name in ends if name in values and name not in places}
    rest: list[onnx.NodeProto] = []
    crossing = dict.fromkeys(name for name in ends if name in places)
    shapes = dict[str, None]()
    for node in reversed(model.graph.node):
        if needed.isdisjoint(node.output):
            continue
        read = sorted(reads(node))
        rest.append(node)
        needed.update(name for name in read if name in values and name not in places)
        crossing |= dict.fromkeys(name for name in read if name in places)
        shapes |= dict.fromkeys(name for name in read if name in shaped)
    return _Split(rest, list(reversed(crossing)), list(reversed(shapes)))


def _chunks(
    model: onnx.ModelProto, values: set[str], shapes: Shapes, clips: int, frames: int
) -> Iterator[list[tuple[str, Axes]]]:
    """What may be frame-wise, and along which axes, in the graph's order, a chunk at a time."""
    chunk: list[tuple[str, Axes]] = []
    held = 0
    for name in [name for node in model.graph.node for name in node.output if name in values]:
        shape = shapes.get(name, ())
        candidates = list(_candidates(shape, clips, frames))
        chunk += [(name, axes) for axes in candidates]
        held += math.prod(shape) if candidates else 0
        if held > CHUNK:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _candidates(shape: Sequence[int], clips: int, frames: int) -> Iterator[Axes]:
    """Where a tensor of this shape may hold the frames."""
    for axis, size in enumerate(shape):
        if size == clips * frames:
            yield Axes(axis)
        elif size == frames:
            yield from (Axes(axis, c) for c, n in enumerate(shape) if n == clips and c != axis)


def _frame_wise(
    model: onnx.ModelProto,
    wanted: Sequence[tuple[str, Axes]],
    shapes: Shapes,
    axes: Axes,
    pair: tuple[np.ndarray, np.ndarray],
    count: tuple[int, int],
    run: Run,
) -> dict[str, Axes]:
    """Those whose slices change exactly where every other frame does, by their sums of squares."""
    asked = answering(subnetwork(model, list(dict.fromkeys(name for name, _ in wanted))), [])
    for index, (name, place) in enumerate(wanted):
        _sum_squares(asked, name, place, len(shapes[name]), f"tiem.sum{index}")
    clips, frames = np.indices(count)
    choice = (clips + frames) % 2 == 1
    answers = run(asked, [pair[0], _mixture(pair, axes, choice)])
    found: dict[str, Axes] = {}
    for (name, place), before, after in zip(wanted, *answers, strict=True):
        if np.array_equal(before != after, place.spread(choice, before.ndim)):
            found.setdefault(name, place)
    return found


def _sum_squares(model: onnx.ModelProto, name: str, axes: Axes, rank: int, output: str) -> None:
    """Have the model answer the sums of a value's squares over all axes but those of the frames."""
    over = [axis for axis in range(rank) if axis not in (axes.frame, axes.clip)]
    graph, exact = model.graph, f"{output}.exact"
    graph.node.append(helper.make_node("Cast", [name], [exact], to=TensorProto.FLOAT))
    if not over:
        graph.node.append(helper.make_node("Identity", [exact], [output]))
    elif opset_of(model) < 18:
        graph.node.append(helper.make_node("ReduceSumSquare", [exact], [output], axes=over))
    else:
        axis_names = f"{output}.over"
        graph.initializer.append(numpy_helper.from_array(np.array(over, np.int64), axis_names))
        graph.node.append(helper.make_node("ReduceSumSquare", [exact, axis_names], [output]))
    graph.output.append(onnx.ValueInfoProto(name=output))


def _mixtures(clips: int, frames: int) -> list[Bools]:
    """Which of (N, T) frames come from the second clip: any two frames differ in some mixture."""
    places = np.arange(clips * frames).reshape(clips, frames)
    return [(places >> bit & 1).astype(bool) for bit in range((places.size - 1).bit_length())]


def _mixture(pair: tuple[np.ndarray, np.ndarray], axes: Axes, choice: Bools) -> np.ndarray:
    """The first clips, with the chosen frames taken from the second."""
    return np.where(axes.spread(choice, pair[0].ndim), pair[1], pair[0])


def _follows(answers: Sequence[np.ndarray], axes: Axes, chosen: Sequence[Bools]) -> bool:
    """Whether each slice of a tensor depends on the frame in its own place and on no other.

    answers: for the first clip, the second and their mixtures.
    """
    first, second, *mixed = answers
    return all(
        np.array_equal(mixture, np.where(axes.spread(choice, first.ndim), second, first))
        for mixture, choice in zip(mixed, chosen, strict=True)
    )
