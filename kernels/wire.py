"""Join a network of several inputs to one clip: pathways and constants, as nodes in front of it."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tiemcli.kernels.arrays import Ints

# Bytes of one constant; the whole network must stay below protobuf's 2 GiB.
LARGEST_CONSTANT = 1 << 30


def pathway_frames(frames: int, count: int) -> Ints:
    """Which of the clip's frames a pathway of `count` frames takes: (count,) int64, the first and
    the last among them, evenly apart and rounded down, as SlowFast is fed (Feichtenhofer et al.,
    2019)."""
    return np.linspace(0, frames - 1, count).astype(np.int64)


def wire(
    model: onnx.ModelProto,
    clip: str,
    layout: str,
    pathways: Mapping[str, Ints],
    constants: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    """A new model whose only input is `clip`, of that layout; `model` is left as it is.

    pathways: inputs of the clip's layout, with the positions of their frames in the clip's.
    constants: the other inputs' values, in their own dtype; each is broadcast to the shape that the
    file declares, and repeated at run time along every open axis that it shares with the clip: one
    of the same name, or a first axis of a single entry, which is the batch. Raises ValueError for a
    value that does not fit, or that would fill more than LARGEST_CONSTANT.
    """
    wired = onnx.ModelProto()
    wired.CopyFrom(model)
    graph = wired.graph
    declared = {value.name: value for value in graph.input}
    front = _Front(declared[clip], layout)
    for name, positions in pathways.items():
        indices = front.constant(f"tiem.{name}.frames", positions)
        front.add("Gather", clip, indices, output=name, axis=layout.index("T"))
    for name, value in constants.items():
        front.feed(declared[name], value)
    own = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*front.nodes, *own])
    graph.initializer.extend(front.constants)
    graph.input.extend(value for name, value in declared.items() if name not in front.fed)
    return wired


class _Front:
    """Nodes and constants in front of the network, and the inputs that they feed."""

    def __init__(self, clip: onnx.ValueInfoProto, layout: str) -> None:
        self.clip = clip.name
        self.batch = layout.find("N")
        self.axes = {dim.dim_param: axis for axis, dim in enumerate(_dims(clip)) if dim.dim_param}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.fed: set[str] = set()

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        self.fed.add(name)
        return name

    def add(self, operator: str, *inputs: str, output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        self.fed.add(output)
        return output

    def feed(self, declared: onnx.ValueInfoProto, value: np.ndarray) -> None:
        """The constant itself, or its repetition along the axes that it shares with the clip."""
        name, dims = declared.name, _dims(declared)
        if not declared.type.tensor_type.HasField("shape"):
            self.constant(name, value)
            return
        own = (1,) * (len(dims) - value.ndim) + value.shape
        sources = {axis: self._clips_axis(axis, dim, own) for axis, dim in enumerate(dims)}
        shared = {axis: source for axis, source in sources.items() if source is not None}
        shape = [
            1 if axis in shared else dim.dim_value if dim.dim_value > 0 else own[axis]
            for axis, dim in enumerate(dims)
        ]
        try:
            whole = np.broadcast_to(value, shape)
        except ValueError:
            raise ValueError(
                f"the input {name!r} takes numbers of shape {shape}, not {list(value.shape)}"
            ) from None
        if whole.nbytes > LARGEST_CONSTANT:
            raise ValueError(f"the input {name!r} takes {whole.size:,} numbers, which are too many")
        if not shared:
            self.constant(name, whole)
            return
        sizes = self.add("Shape", self.clip, output=f"tiem.{name}.clip")
        parts = []
        for axis, size in enumerate(shape):
            part = self.constant(f"tiem.{name}.axis{axis}", np.array([shared.get(axis, size)]))
            if axis in shared:
                part = self.add("Gather", sizes, part, output=f"tiem.{name}.size{axis}", axis=0)
            parts.append(part)
        target = self.add("Concat", *parts, output=f"tiem.{name}.shape", axis=0)
        self.add("Expand", self.constant(f"tiem.{name}.value", whole), target, output=name)

    def _clips_axis(
        self, axis: int, dim: onnx.TensorShapeProto.Dimension, own: tuple[int, ...]
    ) -> int | None:
        """The clip's axis that an axis of a constant is as long as, None where it has its own."""
        if dim.dim_value > 0:
            return None
        if dim.dim_param and dim.dim_param in self.axes:
            return self.axes[dim.dim_param]
        return self.batch if axis == 0 and own[:1] == (1,) and self.batch >= 0 else None


def _dims(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim)
