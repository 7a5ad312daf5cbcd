"""Free a batch that a network's file fixes: follow the batch axis and mend what pins its size.

Exporters that trace one example write its batch of 1 into Reshape targets, Expand shapes, Concat
partners and the initial states of recurrent layers. The axis is followed from the input through
every node that it reaches. The result is a proposal: the caller compares it with the original.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from tiemcli.kernels.batch_rules import BATCH, attribute, rule_of


def free_batch(model: onnx.ModelProto, input_name: str) -> onnx.ModelProto | None:
    """A copy of `model` whose batch, axis 0 of `input_name`, is free; None where it cannot be.

    The shapes of all values must be inferable with the batch at its fixed size.
    """
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except (shape_inference.InferenceError, ValueError):
        return None
    return Surgery(inferred, input_name).run()


class Surgery:
    """One pass over the nodes in order, with the batch axis of every value it has reached."""

    def __init__(self, model: onnx.ModelProto, input_name: str) -> None:
        self.model = model
        self.input = input_name
        graph = model.graph
        known = [*graph.value_info, *graph.input, *graph.output]
        self.shapes = {value.name: dims_of(value) for value in known}
        self.shapes.update({weight.name: list(weight.dims) for weight in graph.initializer})
        self.constants = {
            weight.name: numpy_helper.to_array(weight)
            for weight in graph.initializer
            if weight.data_location == onnx.TensorProto.DEFAULT
        }
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.shapes.update({name: [*array.shape] for name, array in self.constants.items()})
        self.axes: dict[str, int] = {input_name: 0}
        self.nodes: list[onnx.NodeProto] = []
        self.added: list[onnx.TensorProto] = []

    def run(self) -> onnx.ModelProto | None:
        graph = self.model.graph
        if None in self.shapes[self.input]:
            return None
        self.nodes = [
            helper.make_node("Shape", [self.input], ["tiem.shape"]),
            helper.make_node("Gather", ["tiem.shape", self.constant([0])], [BATCH], axis=0),
        ]
        for node in graph.node:
            if any(name in self.axes for name in node.input):
                try:
                    self.follow(node)
                except (KeyError, IndexError, TypeError, ValueError):
                    return None  # a shape that inference could not tell, or an unforeseen form
            self.nodes.append(node)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.added)
        for value in [*graph.input, *graph.output]:
            dims, axis = value.type.tensor_type.shape.dim, self.axes.get(value.name)
            if axis is not None and axis < len(dims):  # it may declare no shape
                dims[axis].dim_param = "N"
        return self.model

    def scalar(self, value: int) -> str:
        name = self.constant([value])
        self.added[-1].ClearField("dims")
        return name

    def constant(self, value: list[int]) -> str:
        name = f"tiem.free{len(self.added)}"
        self.added.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name

    def follow(self, node: onnx.NodeProto) -> None:
        """Note the batch axis of the node's outputs; rewrite the node where it pins the batch."""
        source = next(name for name in node.input if name in self.axes)
        rule = rule_of(node.op_type)
        if rule is not None:
            axis = rule(self, node, source, self.axes[source])
            if axis is None:
                return
        else:
            axis = self.axes[source]
        for output in node.output:
            if output:
                self.axes.setdefault(output, axis)

    def rank(self, name: str) -> int:
        return len(self.shapes[name])

    def shape(self, name: str) -> list[int]:
        sizes = [size for size in self.shapes[name] if size is not None]
        if len(sizes) < self.rank(name):
            raise ValueError(f"inference could not tell the shape of {name}")
        return sizes

    def axes_of(self, node: onnx.NodeProto) -> list[int] | None:
        """The axes that an operator names, as an attribute or, in newer opsets, as an input."""
        if len(node.input) > 1 and node.input[1]:
            return [int(axis) for axis in self.constants[node.input[1]]]
        axes: list[int] | None = attribute(node, "axes")
        return axes


def dims_of(value: onnx.ValueInfoProto) -> list[int | None]:
    """The declared size of each axis, None where it is open; some exporters write -1 for that."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
