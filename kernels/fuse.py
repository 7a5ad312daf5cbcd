"""One ONNX graph from masks to scores: upsample, blend, the network, softmax, the target's score.

Only masks cross to the device; the clip and its base stay there. The nodes are written at the
network's own opset, in front of and behind the network's own graph, which is not otherwise touched.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tiemcli.kernels.layout import axis_order, network_shape

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
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    # Before version 4 every weight had to be an input of the graph as well.
    fused.ir_version = max(fused.ir_version, 4)
    graph = fused.graph
    front, back = _Nodes("front", opset), _Nodes("back", opset)
    _perturb(front, port)
    _read(back, port)
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*front.nodes, *own, *back.nodes])
    graph.initializer.extend([*front.constants, *back.constants])
    # Shapes noted for the network's own, possibly fixed, batch would contradict the free one.
    del graph.value_info[:], graph.input[:], graph.output[:]
    graph.input.extend(_inputs(port))
    graph.output.extend(
        [
            helper.make_tensor_value_info(OUTPUTS, onnx.TensorProto.FLOAT, ["N", "K"]),
            helper.make_tensor_value_info(SCORE, onnx.TensorProto.FLOAT, ["N"]),
        ]
    )
    return fused


def _inputs(port: Port) -> list[onnx.ValueInfoProto]:
    real, c, t = onnx.TensorProto.FLOAT, port.sizes["C"], port.sizes["T"]
    h, w = port.sizes["H"], port.sizes["W"]
    shapes = {
        GRID: ["grids", t, "h", "w"],
        ROWS: ["pixel_rows", "h"],
        COLUMNS: ["w", "pixel_columns"],
        DENSE: ["masks", t, "dense_rows", "dense_columns"],
        DELTA: [1, c, t, h, w],
        BASE: [1, c, t, h, w],
    }
    inputs = [helper.make_tensor_value_info(name, real, shape) for name, shape in shapes.items()]
    return [*inputs, helper.make_tensor_value_info(TARGET, onnx.TensorProto.INT64, [1])]


class _Nodes:
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


def _perturb(nodes: _Nodes, port: Port) -> None:
    """keep = rows @ grid @ columns + dense; x = base + keep·delta; then the network's own form."""
    upsampled = nodes.add("MatMul", ROWS, nodes.add("MatMul", GRID, COLUMNS))
    keep = nodes.unsqueeze(nodes.add("Add", upsampled, DENSE), 1)
    x = nodes.add("Add", BASE, nodes.add("Mul", keep, DELTA))
    order = axis_order(port.layout)
    if order != tuple(range(len(order))):
        x = nodes.add("Transpose", x, perm=list(order))
    if port.element_type == onnx.TensorProto.UINT8:
        # Half-kept pixels are whole numbers in such a network's own world.
        x = nodes.add("Floor", nodes.add("Add", x, nodes.constant(0.5, np.float32)))
        x = nodes.clip(x, 0, 255)
    if port.element_type != onnx.TensorProto.FLOAT:
        x = nodes.add("Cast", x, to=port.element_type)
    shape = network_shape(port.layout, port.sizes)
    nodes.reshape(x, shape, output=port.input)


def _read(nodes: _Nodes, port: Port) -> None:
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
