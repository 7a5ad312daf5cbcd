"""The last layer weighted as the classifier weighs it (Stergiou et al., ICIP 2019)."""

from collections.abc import Container

from torch import Tensor

from tiemcli.errors import ModelError
from tiemcli.extremal.torch_clip import TorchClip
from tiemcli.gradients.graph import Node
from tiemcli.methods.class_score import layer_slopes
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.layer import Layer, to_clip
from tiemcli.methods.layers import chosen
from tiemcli.methods.scene import Scene

_HINT = "choose --method grad-cam, which needs no such classifier"
# What leaves numbers as they are, or gives means of them.
_PASSING = {
    "Identity", "Dropout", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
    "ReduceMean", "GlobalAveragePool", "AveragePool", "Concat", "Add", "Sub", "Slice", "Gather",
}  # fmt: skip
# What weighs numbers by others, which must be weights.
_WEIGHING = {"Gemm", "MatMul", "Conv", "Mul", "Div", "BatchNormalization"}
# What takes but a shape of a value.
_SHAPES = {"Shape", "Size"}


def find(scene: Scene) -> Evidence:
    """Σ_k w_k A_k of the layer A and the class's weights w, brought to the clip's size: signed.

    The layer must be averaged and then weighed, with nothing bent between: its slope is then the same
    everywhere, w over the number of cells. Raises ModelError where it is not so.
    """
    clip = scene.torch_clip()
    with scene.gradient_stage(1):
        layer = chosen(clip, scene.settings.layer)
        _require_linear_head(clip, layer)
        volume, slopes = layer_slopes(scene, clip, layer)
        found = (_class_weights(layer, slopes) * volume).sum(0)
        scene.progress.advance(1)
    return attributed(scene, to_clip(found, clip.shape), "autograd", 1)


def _require_linear_head(clip: TorchClip, layer: Layer) -> None:
    """Raise ModelError, naming what is in the way, unless scores are sums of what the layer holds."""
    needed, follows = clip.graph.behind(clip.scored), {layer.name}
    for node, _ in clip.graph.steps:
        if follows.isdisjoint(node.reads) or needed.isdisjoint(node.outputs):
            continue
        if node.op_type in _SHAPES:
            continue
        if node.op_type not in _PASSING and not _weighs(node, follows, clip.graph.constants):
            raise ModelError(
                f"saliency tubes need an averaged layer and one linear layer behind it; from "
                f"{layer.name!r} to the answer the network has {_named(node)}",
                _HINT,
            )
        follows.update(node.outputs)


def _weighs(node: Node, follows: set[str], constants: Container[str]) -> bool:
    """Whether the node multiplies, by weights alone, one value of those that follow the layer."""
    read = [name for name in node.reads if name not in constants]
    divides = node.op_type == "Div" and node.inputs[0] in constants
    return node.op_type in _WEIGHING and len(read) == 1 and follows.issuperset(read) and not divides


def _named(node: Node) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type


def _class_weights(layer: Layer, slopes: Tensor) -> Tensor:
    """w_k of an average's slopes w_k/cells, (C, t, h, w): (C, 1, 1, 1), or (C, t, 1, 1) where frames
    are apart."""
    cells = (2, 3) if layer.by_frame else (1, 2, 3)
    mean = slopes.mean(dim=cells, keepdim=True)
    if (slopes - mean).abs().max() > 1e-3 * slopes.abs().max():
        raise ModelError(
            f"saliency tubes need a layer that is averaged; the network weighs {layer.name!r} place "
            "by place",
            _HINT,
        )
    return mean * slopes[0].numel()
