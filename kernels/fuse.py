"""One ONNX graph from masks to scores: upsample, blend, the network, softmax, the target's score.

Only masks cross to the device; the clip and its base stay there. The nodes are written at the
network's own opset, in front of and behind the network's own graph, which is not otherwise touched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tiemcli.kernels.layout import CANONICAL, axis_order, network_shape

OutputKind = Literal["logits", "probabilities", "value"]
# Of several rows of answers, the mean, the largest of each class, or the row of an index.
Aggregate = Literal["mean", "max"] | int

# Inputs. The keep-mask is the sum of an upsampled grid and a dense mask, each of which may be a
# broadcast zero: one session serves windows, grids and full-size masks.
GRID, ROWS, COLUMNS, DENSE = "tiem.grid", "tiem.rows", "tiem.columns", "tiem.dense"
DELTA, BASE, TARGET = "tiem.delta", "tiem.base", "tiem.target"
# Outputs: every class, softmaxed, and the target alone.
OUTPUTS, SCORE = "tiem.outputs", "tiem.score"

OLDEST_OPSET = 7  # multidirectional broadcasting


@dataclass(frozen=True)
class Port:
    """How the network is fed and read, everything that the fused graph has to know of it.

    sizes: C, T, H and W. element_type: of the input, an onnx.TensorProto number. classes: K. rows:
    how many rows of K numbers the output holds for one clip, one a frame or a window, which
    `aggregate` makes one. classes_first: they are columns, (N, K, rows).
    """

    input: str
    layout: str
    sizes: dict[str, int]
    element_type: int
    output: str
    output_kind: OutputKind
    classes: int
    rows: int = 1
    aggregate: Aggregate = "mean"
    classes_first: bool = False


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default operator set that the model is written in."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def fuse(model: onnx.ModelProto, port: Port) -> onnx.ModelProto:
    """A new model from keep-masks to scores; `model` is left as it is.

    Inputs, all float32 but the last: grid (N, T, h, w), rows (H, h), columns (w, W), dense
    (N, T, H, W), delta = clip − base and base, both (1, C, T, H, W), target (1,) int64. Any of N,
    h, w, H and W may be 1 and is then broadcast. Outputs, float32: outputs (N, K), score (N,).
    Raises ValueError for an opset without broadcasting.
    """
    opset = opset_of(model)
    if opset < OLDEST_OPSET:
        raise ValueError(f"the network is written in ONNX opset {opset}, older than {OLDEST_OPSET}")
    front, back = Nodes("front", opset), Nodes("back", opset)
    perturb(front, port)
    read(back, port)
    target = helper.make_tensor_value_info(TARGET, onnx.TensorProto.INT64, [1])
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    enclose(fused, front, back, [*mask_inputs(port), target], answer_outputs())
    return fused


def enclose(
    model: onnx.ModelProto,
    front: "Nodes",
    back: "Nodes",
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
) -> None:
    """Put nodes in front of a model's own and behind them; these are its inputs and outputs then."""
    graph = model.graph
    # Before version 4 every weight had to be an input of the graph as well.
    model.ir_version = max(model.ir_version, 4)
    own = list(graph.node)
    # Shapes noted for the network's own, possibly fixed, batch would contradict the free one.
    del graph.node[:], graph.value_info[:], graph.input[:], graph.output[:]
    graph.node.extend([*front.nodes, *own, *back.nodes])
    graph.initializer.extend([*front.constants, *back.constants])
    graph.input.extend(inputs)
    graph.output.extend(outputs)


def answer_outputs() -> list[onnx.ValueInfoProto]:
    """What `read` answers."""
    real = onnx.TensorProto.FLOAT
    return [
        helper.make_tensor_value_info(OUTPUTS, real, ["N", "K"]),
        helper.make_tensor_value_info(SCORE, real, ["N"]),
    ]


def mask_inputs(port: Port, axes: str = CANONICAL) -> list[onnx.ValueInfoProto]:
    """What `perturb` reads; axes: of delta and base."""
    real, t = onnx.TensorProto.FLOAT, port.sizes["T"]
    frames = [({"N": 1} | port.sizes)[axis] for axis in axes]
    shapes = {
        GRID: ["grids", t, "h", "w"],
        ROWS: ["pixel_rows", "h"],
        COLUMNS: ["w", "pixel_columns"],
        DENSE: ["masks", t, "dense_rows", "dense_columns"],
        DELTA: frames,
        BASE: frames,
    }
    return [helper.make_tensor_value_info(name, real, shape) for name, shape in shapes.items()]


class Nodes:
    """Nodes and constants under construction for one opset; `place` keeps their names apart."""

    def __init__(self, place: str, opset: int) -> None:
        self.place = place
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"tiem.{self.place}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, value: object, kind: type[np.generic] = np.int64) -> str:
        name = f"tiem.{self.place}.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def unsqueeze(self, value: str, axis: int) -> str:
        if self.opset < 13:
            return self.add("Unsqueeze", value, axes=[axis])
        return self.add("Unsqueeze", value, self.constant([axis]))

    def transpose(self, value: str, order: Sequence[int]) -> str:
        if list(order) == list(range(len(order))):
            return value
        return self.add("Transpose", value, perm=list(order))

    def reshape(self, value: str, shape: list[int], output: str = "") -> str:
        return self.add("Reshape", value, self.constant(shape), output=output)

    def reduce(self, how: Literal["Mean", "Max"], value: str, axis: int) -> str:
        if self.opset < 18:
            return self.add(f"Reduce{how}", value, axes=[axis], keepdims=0)
        return self.add(f"Reduce{how}", value, self.constant([axis]), keepdims=0)

    def clip(self, value: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.add("Clip", value, min=low, max=high)
        bounds = self.constant(low, np.float32), self.constant(high, np.float32)
        return self.add("Clip", value, *bounds)


def perturb(
    nodes: Nodes, port: Port, delta: str = DELTA, base: str = BASE, axes: str = CANONICAL
) -> None:
    """keep = rows @ grid @ columns + dense; x = base + keep·delta; then the network's own form.

    axes: of delta and base, which may have an N of 1.
    """
    upsampled = nodes.add("MatMul", ROWS, nodes.add("MatMul", GRID, COLUMNS))
    keep = nodes.unsqueeze(nodes.add("Add", upsampled, DENSE), axes.index("C"))
    x = nodes.add("Add", base, nodes.add("Mul", keep, delta))
    x = nodes.transpose(x, [axes.index(CANONICAL[axis]) for axis in axis_order(port.layout)])
    if port.element_type == onnx.TensorProto.UINT8:
        # Half-kept pixels are whole numbers in such a network's own world.
        x = nodes.add("Floor", nodes.add("Add", x, nodes.constant(0.5, np.float32)))
        x = nodes.clip(x, 0, 255)
    if port.element_type != onnx.TensorProto.FLOAT:
        x = nodes.add("Cast", x, to=port.element_type)
    shape = network_shape(port.layout, port.sizes)
    nodes.reshape(x, shape, output=port.input)


def read(nodes: Nodes, port: Port) -> None:
    """The network's output as (N, K) float32, softmaxed if it is logits, and the target's column."""
    answer = nodes.add("Cast", port.output, to=onnx.TensorProto.FLOAT)
    if port.rows > 1:
        shape = [port.classes, port.rows] if port.classes_first else [port.rows, port.classes]
        answer = nodes.reshape(answer, [-1, *shape])
        axis = 2 if port.classes_first else 1
        match port.aggregate:
            case "mean":
                answer = nodes.reduce("Mean", answer, axis)
            case "max":
                answer = nodes.reduce("Max", answer, axis)
            case row:
                index = nodes.constant(row % port.rows)
                answer = nodes.add("Gather", answer, index, axis=axis)
    else:
        answer = nodes.reshape(answer, [-1, port.classes])
    if port.output_kind == "logits":
        answer = nodes.add("Softmax", answer, axis=1)
    nodes.add("Identity", answer, output=OUTPUTS)
    nodes.reshape(nodes.add("Gather", OUTPUTS, TARGET, axis=1), [-1], output=SCORE)
