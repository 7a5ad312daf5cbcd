"""Finding the values inside a network that have a map of the clip: run once, looking at shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tiemcli.errors import ModelError, UsageError
from tiemcli.extremal.torch_clip import TorchClip
from tiemcli.gradients.graph import Node, Scope
from tiemcli.methods.layer import BY_FRAME, Grid, Layer

# How far height and width may be from shrinking alike, beyond a cell: what borders cost them.
STRETCH = 0.15

# How many names a hint lists.
LISTED = 10
# What neither weighs nor bends, and may have made a map coarser or only have turned its axes.
_COARSER = ("Pool", "Transpose", "Reshape", "Flatten", "Identity", "Cast")


def chosen(clip: TorchClip, wish: str | None) -> Layer:
    """The layer of that name, of tensor or node, or the last one on the way to the answer.

    The last is not one that a pooling has made coarser: the papers look at convolutions. Raises
    UsageError for a name that no layer has, ModelError where there is no layer.
    """
    layers = watchable(clip)
    if not layers:
        raise ModelError(
            "no value inside the network keeps a map of the clip",
            "choose another --method: gradient and integrated-gradients need no layer",
        )
    if wish is None:
        fine = [layer for layer in layers if not layer.op_type.endswith(_COARSER)]
        return (fine or layers)[-1]
    found = [layer for layer in layers if wish in (layer.name, layer.node)]
    if not found:
        names = [layer.name for layer in layers[-LISTED:]]
        more = "the last of them are" if len(layers) > LISTED else "they are"
        raise UsageError(
            f"--layer {wish}",
            f"choose a value that has a map of the clip; {more} {', '.join(names)}",
        )
    return found[-1]


def watchable(clip: TorchClip) -> list[Layer]:
    """Every value with a map that the answer depends on, in the order in which they are computed.

    Runs the network once; more often, with gradients, where it has tokens or maps of no time.
    """
    search = _Search(clip)
    clip.activations([], seen=search.look)
    behind = clip.graph.behind(clip.scored)
    layers = [layer for layer in search.layers if layer.name in behind]
    return _of_all_frames(clip, _in_their_order(clip, _read_tokens(clip, layers)))


def _read_tokens(clip: TorchClip, layers: list[Layer]) -> list[Layer]:
    """Without tokens that nothing reads: at last many a transformer reads the class's alone."""
    names = [layer.name for layer in layers if layer.has_tokens]
    if not names:
        return layers
    scores, inner = clip.activations(names)
    slopes = dict(zip(names, clip.slopes(_mixed(scores), *inner.values()), strict=True))
    return [
        layer
        for layer in layers
        if not layer.has_tokens or bool(layer.volume(slopes[layer.name]).any())
    ]


def _in_their_order(clip: TorchClip, layers: list[Layer]) -> list[Layer]:
    """With the order told of tokens that hold time as well.

    Neighbours are one place at two times, or one time at two places. Read as the one, the token of
    index t − 1 is of the clip's end, as the other of its begin: what it depends on more tells which.
    """
    joint = next((layer for layer in layers if layer.order == "NLC" and layer.grid[0] > 1), None)
    if joint is None:
        return layers
    times, height, width = joint.grid
    pixels = clip.pixels
    _, inner = clip.activations([joint.name], pixels)
    rows = inner[joint.name][0]
    token = rows[len(rows) - times * height * width + times - 1]
    (slope,) = clip.slopes(_mixed(token), pixels)
    mass = [float(part.sum()) for part in slope.abs().sum(dim=(0, 2, 3)).tensor_split(times)]
    if mass[-1] <= mass[(times - 1) // (height * width)]:
        return layers
    return [replace(layer, tokens="HWT") for layer in layers]


def _of_all_frames(clip: TorchClip, layers: list[Layer]) -> list[Layer]:
    """Without maps that have no time because they are of one frame alone, a value for each.

    Those are told by what changes with the first frame and with the last.
    """
    names = [layer.name for layer in layers if layer.grid[0] == 1 < clip.shape[0]]
    if not names:
        return layers
    pixels = clip.pixels.detach()
    answers = []
    with torch.no_grad():
        for frame in (None, 0, -1):
            changed = pixels.clone()
            if frame is not None:
                ramp = torch.linspace(-1, 1, pixels.shape[-1]).to(pixels)
                changed[:, frame] = ramp - pixels[:, frame]
            _, inner = clip.activations(names, changed)
            answers.append([float(_mixed(inner[name])) for name in names])
    of_all = {
        name
        for name, clean, first, last in zip(names, *answers, strict=True)
        if first != clean != last
    }
    return [layer for layer in layers if layer.name not in names or layer.name in of_all]


def _mixed(values: Tensor) -> Tensor:
    """A number that depends on all values; of what a normalisation gives the plain sum is constant."""
    flat = values.double().flatten()
    return flat @ torch.arange(1, len(flat) + 1).to(flat).cos()


class _Search:
    """Follows maps through the network while it runs.

    A map begins at a convolution or a pooling and goes on while its number of axes does; tokens, or
    what has taken other axes, are a map where one before had as many cells.
    """

    def __init__(self, clip: TorchClip) -> None:
        self.layers: list[Layer] = []
        self._shape, self._batch = clip.shape, clip.batch
        self._constants = clip.graph.constants.keys()
        self._weighed: set[str] = set()
        self._ranks: dict[str, int] = {}  # of what a map led to without another number of axes
        self._grids: dict[Grid, None] = {}

    def look(self, node: Node, made: Scope) -> None:
        """Judge what a node computed."""
        computed = [name for name in node.reads if name not in self._constants]
        if not self._is_weighed(node, computed):
            return
        for name, value in made.items():
            if not isinstance(value, Tensor) or not value.requires_grad:
                continue
            self._weighed.add(name)
            found = self._arranged(node, name, value)
            if found is not None:
                self.layers.append(Layer(name, node.name, node.op_type, *found))

    def _is_weighed(self, node: Node, computed: Sequence[str]) -> bool:
        """Whether weights have been before; a product of two computed values, as in attention, has
        the tokens of both for axes, and only what is made of it next is a map again."""
        if any(word in node.op_type for word in ("MatMul", "Gemm", "Einsum")):
            return len(computed) == 1
        return "Conv" in node.op_type or not self._weighed.isdisjoint(computed)

    def _arranged(self, node: Node, name: str, value: Tensor) -> tuple[Grid, str] | None:
        shape = tuple(value.shape)
        if len(shape) == 3:
            return next(self._tokens(shape), None)
        begins = "Conv" in node.op_type or "Pool" in node.op_type
        descends = begins or any(self._ranks.get(before) == value.ndim for before in node.reads)
        for grid, order in self._orders(shape):
            if descends or grid in self._grids:
                self._ranks[name] = value.ndim
                self._grids[grid] = None
                if order[0] == "T" or shape[0] == self._batch:
                    return grid, order
        if descends:
            self._ranks[name] = value.ndim
        return None

    def _orders(self, shape: tuple[int, ...]) -> Iterator[tuple[Grid, str]]:
        """How four or five axes may be meant, the likeliest first."""
        frames, height, width = self._shape
        if len(shape) == 4:
            times, rest = divmod(shape[0], self._batch)
            orders = {"TCHW": (times, *shape[2:]), "THWC": (times, *shape[1:3])}
            if rest:
                return
        elif len(shape) == 5:
            orders = {
                "NCTHW": shape[2:],
                "NTCHW": (shape[1], *shape[3:]),
                "NTHWC": shape[1:4],
            }
        else:
            return
        for order, (t, h, w) in orders.items():
            if not (1 <= t <= frames and 1 < h <= height and 1 < w <= width):
                continue
            if order in BY_FRAME and frames % t:
                continue
            if abs(h - w * height / width) <= 1 + STRETCH * h:
                yield (t, h, w), order

    def _tokens(self, shape: tuple[int, ...]) -> Iterator[tuple[Grid, str]]:
        """How (N, L, C) or (N·T, L, C) may be meant."""
        first, length, _ = shape
        for grid in reversed(self._grids or dict.fromkeys(_even_grids(length, self._shape))):
            times, height, width = grid
            if first == self._batch and length - times * height * width in (0, 1):
                yield grid, "NLC"
            elif first == times * self._batch and length - height * width in (0, 1):
                yield grid, "TLC"


def _even_grids(length: int, shape: Grid) -> Iterator[Grid]:
    """The grids of as many cells, or one less, that cut a clip into equal cubes of square faces."""
    frames, height, width = shape
    for edge in range(1, min(height, width)):
        if height % edge or width % edge or length == frames:
            continue
        for cells in (length, length - 1):
            times, rest = divmod(cells, (height // edge) * (width // edge))
            if not rest and times and frames % times == 0:
                yield times, height // edge, width // edge
