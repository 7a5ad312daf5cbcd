"""What tests of single methods are given: a scene whose scores are known in advance."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from tiemcli.facts import Facts
from tiemcli.methods.scene import Scene
from tiemcli.model import load_model
from tiemcli.progress import Silent
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings


class Additive:
    """A scorer of `start` plus the effects (T, H, W) of the pixels that are shown; it keeps the masks
    that it was asked about."""

    combining = 1.0

    def __init__(self, effects: np.ndarray, start: float) -> None:
        self.shape = effects.shape
        self.effects, self.start = effects.astype(np.float64), start
        self.asked: list[np.ndarray] = []

    @property
    def forwards(self) -> int:
        return sum(map(len, self.asked))

    @property
    def computed(self) -> float:
        return float(self.forwards)

    def score(self, keep, upsampling=None, choice=None, progress=lambda done: None) -> np.ndarray:
        assert upsampling is None
        assert choice is None
        masks = (
            keep
            if keep.ndim == 4
            else np.broadcast_to(keep[:, :, None, None], (len(keep), *self.shape))
        )
        self.asked.append(np.array(masks))
        progress(len(masks))
        return self.start + np.tensordot(masks.astype(np.float64), self.effects, 3)


AdditiveScene = Callable[..., Scene]


@pytest.fixture
def additive_scene() -> AdditiveScene:
    """A function of the pixels' effects (T, H, W), of a score without them, of a clip (C, T, H, W) and
    of settings: a scene whose scores add up."""

    def build(
        effects: np.ndarray,
        start: float = 0.0,
        clip: np.ndarray | None = None,
        preprocessing: object = None,
        **settings: object,
    ) -> Scene:
        if clip is None:
            clip = np.zeros((3, *effects.shape), np.float32)
        network = SimpleNamespace(
            port=SimpleNamespace(output_kind="value"),
            model=SimpleNamespace(preprocessing=preprocessing),
        )
        clean = start + float(effects.sum(dtype=np.float64))
        scene = Scene(network, Settings(**settings), clip, 0, clean, Silent())
        scene.scorer = Additive(effects, start)
        return scene

    return build


# Networks of every make, in ONNX's text form, of clips of 3 channels, 4 frames, 12 x 16 pixels. The
# names in them that nothing computes are WEIGHTS.
NETWORKS = {
    "cnn": """
        c = Conv<pads=[1,1,1,1,1,1]>(clip, kernel3, bias)
        a = Relu(c)
        p = GlobalAveragePool(a)
        f = Flatten(p)
        scores = Gemm(f, dense, offset)
    """,
    "cnn-rnn": """
        x = Transpose<perm=[0,2,1,3,4]>(clip)
        f = Reshape(x, to_frames)
        c = Conv<pads=[1,1,1,1], strides=[2,2]>(f, kernel2, bias)
        a = Relu(c)
        m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
        p = GlobalAveragePool(m)
        s = Reshape(p, to_steps)
        y, h = RNN<hidden_size=6>(s, recurrent_w, recurrent_r)
        l = Squeeze(h, zeroth)
        scores = Gemm(l, dense, offset)
    """,
}
_TOKENS = {
    "frame by frame": "r = Reshape(e, to_cells)  t = Transpose<perm=[0,2,1]>(r)",
    "place by place": "r = Transpose<perm=[0,3,4,2,1]>(e)  t = Reshape(r, to_tokens)",
}
_READ = {
    "class token": "p = Gather<axis=1>(n, zero)",
    "mean": "p = ReduceMean<axes=[1], keepdims=0>(n)",
}
for _order, _tokens in _TOKENS.items():
    for _read, _pooled in _READ.items():
        NETWORKS[f"transformer, {_order}, {_read}"] = f"""
            e = Conv<strides=[2,4,4]>(clip, embed)
            {_tokens}
            z = Concat<axis=1>(first, t)
            q = MatMul(z, query)
            k = MatMul(z, key)
            v = MatMul(z, value)
            kt = Transpose<perm=[0,2,1]>(k)
            s = MatMul(q, kt)
            a = Softmax<axis=-1>(s)
            o = MatMul(a, v)
            u = Add(z, o)
            n = LayerNormalization(u, scale, shift)
            {_pooled}
            scores = MatMul(p, classes)
        """
_SHAPES = {
    "kernel3": (6, 3, 3, 3, 3),
    "kernel2": (6, 3, 3, 3),
    "bias": (6,),
    "dense": (6, 5),
    "offset": (5,),
    "recurrent_w": (1, 6, 6),
    "recurrent_r": (1, 6, 6),
    "embed": (8, 3, 2, 4, 4),
    "first": (1, 1, 8),
    "query": (8, 8),
    "key": (8, 8),
    "value": (8, 8),
    "scale": (8,),
    "shift": (8,),
    "classes": (8, 5),
}
_random = np.random.default_rng(3)
WEIGHTS = {
    name: (_random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    for name, shape in _SHAPES.items()
} | {
    "to_frames": np.array([-1, 3, 12, 16]),
    "to_steps": np.array([4, -1, 6]),
    "to_cells": np.array([-1, 8, 24]),
    "to_tokens": np.array([-1, 24, 8]),
    "zeroth": np.array([0]),
    "zero": np.array(0),
}


@pytest.fixture
def network_scene(tmp_path: Path) -> Callable[..., Scene]:
    """A function of a network of NETWORKS, or the text of another that makes `scores` of `clip`: a
    scene of it and a clip of seeded noise.

    classes: how many scores. shape: C, T, H and W. output: what they are. weights: by name, beside
    WEIGHTS. settings: of the scene.
    """

    def build(
        text: str,
        *,
        classes: int = 5,
        shape: tuple[int, ...] = (3, 4, 12, 16),
        output: str = "logits",
        weights: dict[str, np.ndarray] | None = None,
        **settings: object,
    ) -> Scene:
        sides = ",".join(map(str, shape))
        text = NETWORKS.get(text, text)
        model = parser.parse_model(
            '<ir_version: 9, opset_import: ["": 17]>'
            f"g (float[1,{sides}] clip) => (float[1,{classes}] scores) {{ {text} }}"
        )
        read = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name)
            for name, value in (WEIGHTS | (weights or {})).items()
            if name in read
        )
        onnx.save(model, tmp_path / "net.onnx")
        facts = Facts(layout="NCTHW", output=output)
        network = load_network(load_model(tmp_path / "net.onnx", facts), "cpu", reuse=False)
        clip = np.random.default_rng(4).normal(size=shape).astype(np.float32)
        outputs = network.outputs(clip)
        target = int(np.abs(outputs).argmax())
        settings = {"base": "black"} | settings
        return Scene(network, Settings(**settings), clip, target, float(outputs[target]), Silent())

    return build
