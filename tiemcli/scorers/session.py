"""ONNX Runtime sessions on the device that was asked for, or an error that says why not."""

import contextlib
import ctypes
import io
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import onnx
import onnxruntime as ort
from google.protobuf.message import EncodeError
from onnx import TensorProto

from tiemcli.errors import DeviceError, ModelError, UsageError, first_line
from tiemcli.kernels.subgraph import every_node
from tiemcli.weights import with_links_followed

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_REPAIR = "install onnxruntime-gpu with the CUDA and cuDNN it needs, or use --device cpu"
_OWN_DOMAINS = ("", "ai.onnx")
# Seconds for a forward of a network with a loop, which may be endless.
LONGEST_LOOP = 30
# ONNX Runtime's errors are raised, and what it logs besides is meant for its own developers.
ONLY_FATAL = 4


def make_session(
    model: onnx.ModelProto, folder: Path, device: str, custom_ops: Sequence[Path] = ()
) -> ort.InferenceSession:
    """A session for `model` on `device`: `auto`, `cpu`, `cuda` or `cuda:N`.

    folder: where the model's external weights lie. custom_ops: libraries of operators, whose code
    runs in this process: a user's word alone may name one.
    Raises DeviceError if CUDA was asked for by name and the session came up without it, ModelError
    if the runtime refuses the network or a library.
    """
    ort.set_default_logger_severity(ONLY_FATAL)
    model, folder = with_links_followed(model, folder)
    options = _options(folder, custom_ops)
    providers = providers_for(device)
    try:
        content = model.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise ModelError(
            "the network takes more than 2 GiB, its weights in other files apart",
            "save it with external data",
        ) from error
    try:
        session = ort.InferenceSession(
            content,
            options,
            providers=providers,
            enable_fallback=0,
            disabled_optimizers=_harmful_optimizers(model),
        )
    except Exception as error:
        if device == "auto" and len(providers) > 1:
            return make_session(model, folder, "cpu", custom_ops)
        if device.startswith("cuda") and "CUDA" in str(error):
            raise DeviceError(f"--device {device}: {first_line(error)}", _REPAIR) from error
        _name_a_foreign_operator(model, error)
        raise ModelError(
            f"ONNX Runtime refuses the network: {first_line(error)}",
            "check the file with: check-model FILE",
        ) from error
    # The list of available providers names CUDA on machines without a GPU; only the session knows.
    if device.startswith("cuda") and _CUDA not in session.get_providers():
        raise DeviceError(
            f"--device {device}: ONNX Runtime came up on {', '.join(session.get_providers())}",
            _REPAIR,
        )
    return session


def _name_a_foreign_operator(model: onnx.ModelProto, error: Exception) -> None:
    """Raises ModelError where the runtime complains of an operator that a library may have."""
    for node in _nodes(model):
        if node.domain not in _OWN_DOMAINS and f"{node.domain}:{node.op_type}" in str(error):
            raise ModelError(
                f"ONNX Runtime has no operator {node.op_type} of the domain {node.domain}",
                "if you trust a library that has it, give --custom-ops LIBRARY",
            ) from error


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return chain.from_iterable(map(every_node, (model.graph, *model.functions)))


@contextlib.contextmanager
def ended_late(options: ort.RunOptions, model: onnx.ModelProto) -> Iterator[None]:
    """End the run with these options, with an error, if it takes so long that its loop is endless."""
    if all(node.op_type != "Loop" for node in _nodes(model)):
        yield
        return
    timer = threading.Timer(LONGEST_LOOP, setattr, (options, "terminate", True))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def fold_constants(
    model: onnx.ModelProto, folder: Path, custom_ops: Sequence[Path] = ()
) -> onnx.ModelProto | None:
    """The network with all that does not depend on its input computed once, by the runtime.

    None where the runtime refuses, as it does for weights that it cannot put into one file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folded = Path(scratch) / "folded.onnx"
        options = _options(folder, custom_ops)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=[_CPU])
            return onnx.load(folded)
        except Exception:  # noqa: BLE001  folding is a convenience
            return None


def _harmful_optimizers(model: onnx.ModelProto) -> list[str]:
    """Those that end the process: ONNX Runtime 1.31 reorders half-precision convolutions on a CPU,
    and some of a vision transformer fault."""
    half = any(weight.data_type == TensorProto.FLOAT16 for weight in model.graph.initializer)
    return ["NchwcTransformer"] if half else []


def _options(folder: Path, custom_ops: Sequence[Path]) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = ONLY_FATAL
    # Idle threads that spin would starve the decoder and the other backend's threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What torch and the schedulers of clusters go by, and ONNX Runtime by itself does not.
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        options.intra_op_num_threads = int(threads)
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    for library in custom_ops:
        try:
            options.register_custom_ops_library(str(library.resolve()))
        except Exception as error:
            raise ModelError(
                f"--custom-ops {library}: {first_line(error)}",
                "give a library of custom operators for this ONNX Runtime",
            ) from error
    return options


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a run failed for want of memory, on the host or on the device."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text
        for sign in (
            "failed to allocate memory",
            "bad_alloc",
            "can't allocate memory",
            "out of memory",
            "cudnn_status_alloc",
        )
    )


def providers_for(device: str) -> list[str | tuple[str, dict[str, int]]]:
    """What to ask ONNX Runtime for, most wanted first.

    Raises UsageError for an unknown device, DeviceError if the runtime has no CUDA.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"--device {device} is unknown", "use auto, cpu, cuda or cuda:N")
    if kind == "cpu" or (kind == "auto" and not has_cuda()):
        return [_CPU]
    if _CUDA not in ort.get_available_providers():
        raise DeviceError(
            f"--device {device}: this ONNX Runtime has no CUDA", "pip install onnxruntime-gpu"
        )
    with contextlib.redirect_stdout(io.StringIO()):  # what is missing the session will tell
        ort.preload_dlls()
    return [(_CUDA, {"device_id": int(index or 0)}), _CPU]


def has_cuda() -> bool:
    """Whether CUDA is worth asking for here: the runtime is built with it, and there is a driver."""
    return _CUDA in ort.get_available_providers() and _has_cuda_driver()


def _has_cuda_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True
