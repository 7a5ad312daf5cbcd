"""A network's tensors as tables of slices in time, and how those are computed from each other.

Levels hold the tensors whose slices the same frames decide. A level reads rows of the tables of
levels before it, and computes its own tensors from them row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tiemcli.kernels.arrays import Bools, Ints
from tiemcli.kernels.fuse import Port
from tiemcli.kernels.work import Shapes


class Mixed(Exception):
    """A node that cannot be computed slice by slice."""


@dataclass(frozen=True)
class Level:
    """reach: (P, T) bool, which frames decide what lies at each of P places in time. rank: a level
    reads those of lower rank."""

    reach: Bools
    rank: int


@dataclass(frozen=True)
class Slices:
    """A tensor as rows. axes: of the network's own tensor, a letter of NCTHW each. shape: C, H, W."""

    level: int
    axes: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Read:
    """What a level takes from the table of another's tensor: for each of its P places the place
    there, (P,) int64, -1 for zeros."""

    source: str
    level: int
    places: Ints


@dataclass(frozen=True)
class RowNode:
    """A node over rows (U, C, H, W). work: its multiply-adds for one row."""

    node: onnx.NodeProto
    level: int
    work: int


@dataclass(frozen=True)
class Unrolling:
    """As much of a network as can be computed in tables.

    nodes: over rows, in an order in which they can be computed. slices: of every tensor of the
    network that is known as rows, and of those that only reads need. reads: by the name that nodes
    know them by. weights: constants, in the form that rows want.
    """

    input: str
    levels: tuple[Level, ...]
    nodes: tuple[RowNode, ...]
    slices: Mapping[str, Slices]
    reads: Mapping[str, Read]
    weights: Mapping[str, np.ndarray]


class Builder:
    """An unrolling under construction."""

    def __init__(self, model: onnx.ModelProto, port: Port, shapes: Shapes) -> None:
        self.shapes = shapes
        self.constants = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        frames = port.sizes["T"]
        self.levels = [Level(np.eye(frames, dtype=bool), 0)]
        self.nodes: list[RowNode] = []
        self.slices: dict[str, Slices] = {}
        self.reads: dict[str, Read] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.know(port.input, 0, port.layout)

    def know(self, name: str, level: int, axes: str) -> None:
        """That a tensor of the network is rows of this level. Raises Mixed if its shape is not."""
        sizes = dict(zip(axes, self.shapes.get(name, ()), strict=False))
        if len(sizes) != len(axes) or sizes["T"] != len(self.levels[level].reach):
            raise Mixed
        self.slices[name] = Slices(level, axes, (sizes["C"], sizes["H"], sizes["W"]))

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        level: int,
        attributes: Mapping[str, object],
        work: int = 0,
    ) -> None:
        node = helper.make_node(operator, inputs, [output], **attributes)
        self.nodes.append(RowNode(node, level, work))

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights[name] = value
        return name

    def copy(self, node: onnx.NodeProto, inputs: Sequence[str], level: int) -> None:
        """The node itself, over rows."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = inputs
        self.nodes.append(RowNode(copied, level, 0))

    def level(self, reach: Bools, sources: Sequence[int]) -> int:
        """The level of what reaches these frames, computed from tensors of the source levels."""
        if reach.all():
            raise Mixed  # every clip differs there
        rank = 1 + max(self.levels[source].rank for source in sources)
        for index, level in enumerate(self.levels):
            if level.rank == rank and np.array_equal(level.reach, reach):
                return index
        self.levels.append(Level(reach, rank))
        return len(self.levels) - 1

    def join(self, names: Sequence[str]) -> int:
        """The level at which these tensors, of as many places, are known together."""
        found = sorted(
            {self.slices[name].level for name in names}, key=lambda i: self.levels[i].rank
        )
        highest = found[-1]
        if len({len(self.levels[level].reach) for level in found}) > 1:
            raise Mixed
        reach = np.logical_or.reduce([self.levels[level].reach for level in found])
        alone = all(self.levels[i].rank < self.levels[highest].rank for i in found[:-1])
        if alone and np.array_equal(reach, self.levels[highest].reach):
            return highest
        return self.level(reach, found)

    def at(self, name: str, level: int) -> str:
        """A tensor's name in a level of as many places."""
        if self.slices[name].level == level:
            return name
        return self.read(name, level, np.arange(len(self.levels[level].reach)), "all")

    def read(self, name: str, level: int, places: Ints, what: str) -> str:
        known = f"{name}.{what}.level{level}"
        self.reads[known] = Read(name, level, places)
        return known

    def gathered(
        self, names: Sequence[str], places: Sequence[Ints], what: str
    ) -> tuple[int, list[str]]:
        """Tensors of one level, each read at its places: the level of what is made of them all."""
        source = self.slices[names[0]].level
        before = np.vstack(
            [self.levels[source].reach, np.zeros_like(self.levels[source].reach[:1])]
        )
        reach = np.logical_or.reduce([before[at] for at in places])
        level = self.level(reach, [source])
        return level, [
            self.read(name, level, at, f"{what}{tap}")
            for tap, (name, at) in enumerate(zip(names, places, strict=True))
        ]
