"""A network cut in two at a level: its front as small networks that fill tables, and the rest.

What a table holds is decided from its readers back, so that no slice is computed that nobody reads.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tiemcli.kernels.arrays import Bools, Ints
from tiemcli.kernels.fuse import opset_of
from tiemcli.kernels.patterns import Rows, distinct_rows
from tiemcli.kernels.slices import RowNode, Unrolling
from tiemcli.kernels.split import ROWS_OF, TABLE
from tiemcli.kernels.subgraph import reads
from tiemcli.kernels.work import Shapes, multiply_adds

# A number that is written to a table, read from one or handed to the rest takes the time of so many
# multiply-adds: measured on R(2+1)D-18 on two cores.
MOVE = 20
# Numbers that the widest tensor of one run has, and the fewest rows of a run: it should fit into a
# processor's cache, for all that a run makes is read again at once.
RUN_NUMBERS, FEWEST_ROWS = 1 << 21, 4


@dataclass(frozen=True)
class Segment:
    """Places of a level that are computed alike, from the rows read to the tables filled.

    places: of the level, (p,) int64. work: for one row, in multiply-adds. run: rows to compute at
    once.
    """

    level: int
    places: Ints
    nodes: tuple[RowNode, ...]
    reads: tuple[str, ...]
    tables: tuple[str, ...]
    work: int
    run: int


@dataclass(frozen=True)
class Front:
    """What is computed in tables. segments: in order. needed: by table, which places of its level
    are read: (P,) bool. crossing: the tables that the rest reads. rest, whole: work of the rest and
    of the whole network for one clip, in multiply-adds."""

    unrolling: Unrolling
    segments: tuple[Segment, ...]
    needed: Mapping[str, Bools]
    crossing: tuple[str, ...]
    rest: int
    whole: int

    def row_bytes(self, table: str) -> int:
        return 4 * math.prod(self.unrolling.slices[table].shape)

    def rows(self, ids: Ints) -> dict[int, Rows]:
        """The distinct rows of every level for clips of these pictures (N, T), see `patterns`."""
        levels = self.unrolling.levels
        used = {0} | {self.unrolling.slices[table].level for table in self.needed}
        return {level: distinct_rows(ids, levels[level].reach) for level in used}


def fronts(
    model: onnx.ModelProto, output: str, unrolling: Unrolling, shapes: Shapes
) -> Iterator[Front]:
    """The network cut after each rank of levels, the earliest first.

    output: of the network, that is asked for. shapes: of its values for a single clip.
    """
    ranks = sorted({level.rank for level in unrolling.levels})
    for rank in ranks[1:]:
        early = {
            name
            for name, known in unrolling.slices.items()
            if unrolling.levels[known.level].rank <= rank
        }
        rest, read = _behind(model, output, early)
        crossing = [name for name in unrolling.slices if name in read & early]
        if output in crossing or unrolling.input in crossing:
            return
        # A table's rows are (C, H, W), and the rest wants them in its tensor's own order.
        in_order = all(
            [axis for axis in unrolling.slices[name].axes if axis in "CHW"] == list("CHW")
            for name in crossing
        )
        if in_order:
            whole, _ = _behind(model, output, set())
            yield _front(unrolling, crossing, _work(rest, shapes), _work(whole, shapes))


def _work(nodes: Sequence[onnx.NodeProto], shapes: Shapes) -> int:
    return sum(multiply_adds(node, shapes) for node in nodes)


def _behind(
    model: onnx.ModelProto, output: str, early: set[str]
) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that an output needs when the early tensors are known, and all that these read."""
    needed, nodes = {output}, list[onnx.NodeProto]()
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(set(node.output) - early):
            nodes.append(node)
            needed |= reads(node)
    return nodes, needed


def _front(unrolling: Unrolling, crossing: Sequence[str], rest: int, whole: int) -> Front:
    places = [len(level.reach) for level in unrolling.levels]
    tables = {name: np.ones(places[unrolling.slices[name].level], bool) for name in crossing}
    # Where each tensor is needed at all, its own level's readers included.
    wanted = dict(tables)
    for row_node in reversed(unrolling.nodes):
        where = wanted.get(row_node.node.output[0])
        if where is None:
            continue
        for name in row_node.node.input:
            read = unrolling.reads.get(name)
            if read is None:
                if name not in unrolling.weights:
                    wanted[name] = where | wanted.get(name, False)
                continue
            source = read.source
            seen = np.zeros(places[unrolling.slices[source].level], bool)
            seen[read.places[where & (read.places >= 0)]] = True
            tables[source] = seen | tables.get(source, False)
            wanted[source] = seen | wanted.get(source, False)
    segments = tuple(_segments(unrolling, tables, places))
    return Front(unrolling, segments, tables, tuple(crossing), rest, whole)


def _segments(
    unrolling: Unrolling, tables: Mapping[str, Bools], places: Sequence[int]
) -> Iterator[Segment]:
    levels = sorted(range(len(places)), key=lambda level: unrolling.levels[level].rank)
    for level in levels:
        own = sorted(name for name in tables if unrolling.slices[name].level == level)
        alike: dict[tuple[str, ...], list[int]] = {}
        for place in range(places[level]):
            filled = tuple(name for name in own if tables[name][place])
            if filled:
                alike.setdefault(filled, []).append(place)
        for filled, where in alike.items():
            yield _segment(unrolling, level, np.array(where), filled)


def _segment(unrolling: Unrolling, level: int, places: Ints, tables: tuple[str, ...]) -> Segment:
    needed, nodes = set(tables), list[RowNode]()
    for row_node in reversed(unrolling.nodes):
        if row_node.level == level and row_node.node.output[0] in needed:
            nodes.append(row_node)
            needed.update(row_node.node.input)
    read = tuple(sorted(needed & unrolling.reads.keys()))
    made = [unrolling.slices[name] for name in needed if name in unrolling.slices]
    widest = max(math.prod(slices.shape) for slices in made)
    run = max(FEWEST_ROWS, RUN_NUMBERS // widest)
    work = sum(row_node.work for row_node in nodes)
    return Segment(level, places, tuple(reversed(nodes)), read, tables, work, run)


def segment_model(
    model: onnx.ModelProto, unrolling: Unrolling, segment: Segment
) -> onnx.ModelProto:
    """A segment as a network of its own; `model` gives the operators' versions.

    Inputs: of each read its table (U, C, H, W) float32 and rows of it (R,) int64; of the first level
    the network's input as rows (R, C, H, W). Outputs: the tables' own rows (R, C, H, W).
    """
    nodes, inputs = [], list[onnx.ValueInfoProto]()
    for name in segment.reads:
        table, index = TABLE.format(name), ROWS_OF.format(name)
        shape = unrolling.slices[unrolling.reads[name].source].shape
        inputs.append(_rows_info(table, "U", shape))
        inputs.append(helper.make_tensor_value_info(index, TensorProto.INT64, ["R"]))
        nodes.append(helper.make_node("Gather", [table, index], [name], axis=0))
    nodes += [row_node.node for row_node in segment.nodes]
    used = set(itertools.chain.from_iterable(node.input for node in nodes))
    outputs = []
    for name in segment.tables:
        shape = unrolling.slices[name].shape
        outputs.append(_rows_info(f"tiem.{name}", "R", shape))
        nodes.append(helper.make_node("Identity", [name], [f"tiem.{name}"]))
        used.add(name)
    if unrolling.input in used:
        inputs.append(_rows_info(unrolling.input, "R", unrolling.slices[unrolling.input].shape))
    weights = [
        numpy_helper.from_array(value, name)
        for name, value in unrolling.weights.items()
        if name in used
    ]
    graph = helper.make_graph(nodes, "segment", inputs, outputs, weights)
    versions = [helper.make_opsetid("", opset_of(model))]
    return helper.make_model(graph, opset_imports=versions, ir_version=max(model.ir_version, 4))


def _rows_info(name: str, rows: str, shape: tuple[int, int, int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, *shape])
