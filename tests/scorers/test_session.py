from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf.message import EncodeError

from tiemcli.errors import DeviceError, ModelError, UsageError, first_line
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers import session
from tiemcli.scorers.network import load_network
from tiemcli.scorers.session import is_out_of_memory, make_session
from tiemcli.settings import Precision

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def pretend(monkeypatch: pytest.MonkeyPatch, *, built: bool, driver: bool) -> None:
    """A machine whose runtime is built with CUDA or not, and that has a driver or not."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU] if built else [CPU])
    monkeypatch.setattr(session, "_has_cuda_driver", lambda: driver)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)


@pytest.mark.parametrize(
    ("device", "built", "driver", "providers"),
    [
        ("cpu", True, True, [CPU]),
        ("auto", False, True, [CPU]),
        ("auto", True, False, [CPU]),
        ("auto", True, True, [(CUDA, {"device_id": 0}), CPU]),
        ("cuda", True, True, [(CUDA, {"device_id": 0}), CPU]),
        ("cuda:1", True, False, [(CUDA, {"device_id": 1}), CPU]),
    ],
)
def test_the_device_decides_the_providers(
    device: str, built: bool, driver: bool, providers: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` asks for CUDA only where runtime and driver are there; by name it always does."""
    pretend(monkeypatch, built=built, driver=driver)
    assert session.providers_for(device) == providers


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", "cuda1"])
def test_an_unknown_device_is_an_error(device: str) -> None:
    """Only auto, cpu, cuda and cuda:N are devices."""
    with pytest.raises(UsageError, match=device):
        session.providers_for(device)


def test_a_runtime_without_cuda_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint is the package that has it."""
    pretend(monkeypatch, built=False, driver=True)
    with pytest.raises(DeviceError) as error:
        session.providers_for("cuda")
    assert "onnxruntime-gpu" in error.value.hint


@pytest.mark.skipif(session.has_cuda(), reason="CUDA comes up on this machine")
def test_cuda_that_comes_up_on_the_cpu_is_an_error(build_network: Callable[..., Path]) -> None:
    """The list of available providers is not believed: the session is asked."""
    model = onnx.load(build_network())
    with pytest.raises(DeviceError, match="cuda: "):
        make_session(model, Path(), "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not session.has_cuda(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("full", 1e-4), ("half", 1e-2)])
@pytest.mark.parametrize("reuse", [False, True])
def test_scores_on_cuda_are_those_on_the_cpu(
    build_network: Callable[..., Path], precision: Precision, tolerance: float, reuse: bool
) -> None:
    """The same masks give the same scores on both devices, the clip resident on each."""
    model = load_model(build_network(), Facts())
    clip = np.random.default_rng(0).random(model.shape, dtype=np.float32)
    keep = (np.random.default_rng(1).random((9, 4)) < 0.5).astype(np.float32)
    scores = []
    for device in ("cpu", "cuda"):
        how = precision if device == "cuda" else "full"
        network = load_network(model, device, reuse=reuse, precision=how)
        assert network.device.startswith(device)
        scores.append(network.scorer(clip, np.zeros_like(clip), 1).score(keep))
    np.testing.assert_allclose(*scores, atol=tolerance)


def test_a_network_that_the_runtime_refuses_is_a_model_error() -> None:
    """An operator that does not exist is told in one line."""
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    node = onnx.helper.make_node("NoSuchOperator", ["x"], ["x2"])
    graph = onnx.helper.make_graph([node], "g", [value], [])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    with pytest.raises(ModelError, match="NoSuchOperator") as error:
        make_session(model, Path(), "cpu")
    assert "\n" not in error.value.message


def test_a_network_of_more_than_a_file_holds_is_a_model_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """protobuf's limit, told by what can be done about it."""

    def refuse(_: onnx.ModelProto) -> bytes:
        raise EncodeError("Failed to serialize proto")

    monkeypatch.setattr(onnx.ModelProto, "SerializeToString", refuse)
    with pytest.raises(ModelError, match="more than 2 GiB") as error:
        make_session(onnx.ModelProto(), Path(), "cpu")
    assert "external data" in error.value.hint


def test_external_weights_are_read_from_beside_the_network(
    build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """A network whose weights lie in a file of their own scores as it does with them inside, from
    any working folder."""
    path = build_network()
    clip = np.random.default_rng(0).random((3, 4, 12, 16), dtype=np.float32)
    inside = load_network(load_model(path, Facts()), "cpu").outputs(clip)
    folder = tmp_path / "apart"
    folder.mkdir()
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save_model(onnx.load(path), folder / "net.onnx", **options)
    assert (folder / "weights.bin").exists()
    model = load_model(folder / "net.onnx", Facts())
    np.testing.assert_allclose(load_network(model, "cpu").outputs(clip), inside, atol=1e-6)
    assert model.with_weights().graph.initializer[0].raw_data
    (folder / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin"):
        load_model(folder / "net.onnx", Facts())


def test_errors_are_one_line_without_the_runtimes_preamble() -> None:
    """What a person can use of the runtime's message, and whether it was about memory."""
    error = RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid\n dimensions")
    assert first_line(error) == "Got invalid dimensions"
    assert not is_out_of_memory(error)
    assert is_out_of_memory(RuntimeError("... CUDA error: out of memory"))
    assert is_out_of_memory(MemoryError())
