"""Clips, networks and machines with something wrong, and the command that meets them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

Record = Callable[..., Path]
BuildNetwork = Callable[..., Path]
Explain = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A function that writes a clip of a slope that grows brighter, and returns its path.

    seconds: of each frame, where they are not evenly spaced. rate: frames a second. The suffix says
    how: .mkv is lossless and of any size, .mp4 is H.264.
    """

    def write(
        name: str = "clip.mp4",
        frames: int = 8,
        height: int = 48,
        width: int = 64,
        rate: int = 10,
        seconds: Sequence[int] | None = None,
    ) -> Path:
        path = tmp_path / name
        codec, form = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("libx264", "yuv420p")
        options = {} if path.suffix == ".mkv" else {"preset": "ultrafast"}
        slope = np.linspace(0, 200, height * width).astype(np.uint8).reshape(height, width, 1)
        container_format = "matroska" if path.suffix == ".mkv" else "mp4"
        with av.open(f"file:{path}", "w", format=container_format) as container:
            stream = container.add_stream(codec, rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, form
            for index in range(frames):
                image = np.repeat(slope + np.uint8(5 * (index % 10)), 3, axis=2)
                frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=form)
                frame.pts = index if seconds is None else seconds[index] * rate
                frame.time_base = Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def build_answer(tmp_path: Path) -> BuildNetwork:
    """A function that writes a network which answers by a clip's mean `m` of shape (N, 1) in [0, 1]:
    nodes make of it, and of the constants that are named, `out` of shape (N, 2)."""

    def build(*nodes: NodeProto, **constants: object) -> Path:
        weights = {"axes": np.array([1, 2, 3, 4]), "last": np.array([1])}
        weights |= {name: np.array(value, np.float32) for name, value in constants.items()}
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMean", ["clip", "axes"], ["mean"], keepdims=0),
                helper.make_node("Unsqueeze", ["mean", "last"], ["m"]),
                *nodes,
            ],
            "answer",
            [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["N", 3, 4, 12, 16])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 2])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.save(model, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    return build


@pytest.fixture
def network(build_answer: BuildNetwork) -> Path:
    """The brighter a clip, the surer it is."""
    return build_answer(helper.make_node("MatMul", ["m", "by"], ["out"]), by=[[4.0, -4.0]])


@pytest.fixture
def explain(tmp_path: Path, network: Path) -> Explain:
    """A function that runs `tiem explain` by queries alone, quietly, and sees to what holds always:
    no traceback, no part of a file, and one line for a failure. limit: as `ulimit` takes it."""

    def run(
        *arguments: object, out: Path = tmp_path / "out", limit: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tiemcli", "explain", "-m", network, "-o", out]
        command += ["--backend", "finite-difference", "--queries", 20, "--device", "cpu"]
        words = [str(word) for word in (*command, "--quiet", *arguments)]
        if limit:
            words = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", *words]
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        own = ("warning", "x264 [error]: malloc")  # which x264 prints by itself
        said = [line for line in done.stderr.splitlines() if not line.startswith(own)]
        assert "Traceback" not in done.stderr
        assert bool(said) == (done.returncode != 0), done.stderr
        assert all(line.startswith("tiem: ") for line in said), done.stderr
        if out.is_dir():
            assert [path.name for path in out.rglob("*") if "part" in path.name] == []
        return done

    return run


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function that mounts an empty disk of memory with these options, and returns its folder."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("only root may mount a disk here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
