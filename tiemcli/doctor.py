"""What may be wrong with an installation, and what to type to repair it."""

import ctypes
import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Literal

from tiemcli.errors import TiemError, first_line
from tiemcli.memory import available_memory

Status = Literal["ok", "warn", "fail"]

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_PACKAGES = ("tiem", "numpy", "onnx", "av", "pillow", "pydantic", "rich", "typer")
# Where the name of a format is that of a decoder which needs special hardware, the one in software.
_DECODERS = {"H.264": "h264", "HEVC": "hevc", "VP9": "vp9", "AV1": "libdav1d"}
# `tiem demo`, a network of 16 frames of 64 pixels, was seen to hold 0.5 GB.
_LITTLE_MEMORY = 1 << 30
_LETTERS = "▁█×—"
_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
_NO_DRIVER = "not tried: this machine has no NVIDIA driver"
_GUTTED = "but its module is gutted"
_CUDA_REPAIR = "pip install 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. repair: what to type where the status is not ok.

    warn: `tiem explain` works, but slower, or not for all clips; fail: it does not work.
    """

    name: str
    status: Status
    found: str
    repair: str = ""


def diagnose() -> tuple[Check, ...]:
    """Look at all that `tiem` stands on; nothing is changed."""
    module, driver = load("onnxruntime"), loads(_DRIVER)
    runtime = check_runtime(installed(_RUNTIMES), module)
    # Empty where the runtime is built without CUDA, absent where it is gutted.
    built_for = getattr(module, "cuda_version", "") or ""
    sessions = (check_cpu(), check_cuda(built_for, driver), check_libraries(built_for, driver))
    return (
        check_versions(installed(_PACKAGES)),
        runtime,
        *(sessions if runtime.status != "fail" else ()),
        check_torch(load("torch"), driver),
        check_opencv(installed(_OPENCV), load("cv2")),
        check_codecs(load("av")),
        check_machine(available_memory(), os.cpu_count() or 1),
        check_folder(Path.cwd()),
        check_terminal(sys.stdout.encoding),
    )


def exit_code(checks: Sequence[Check]) -> int:
    """What the command ends with: 3 if any check fails."""
    return 3 if any(check.status == "fail" for check in checks) else 0


def installed(packages: Sequence[str]) -> dict[str, str | None]:
    """The versions of packages, None for those that are not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def load(name: str) -> ModuleType | Exception:
    """A module, or why it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, AttributeError) as error:
        return error


def check_versions(packages: dict[str, str | None]) -> Check:
    """What is installed, and on what."""
    missing = [name for name, number in packages.items() if number is None]
    numbers = [f"{name} {number}" for name, number in packages.items() if number]
    found = f"python {platform.python_version()}, {', '.join(numbers)}; {platform.platform()}"
    if missing:
        names = " ".join(missing)
        return Check("versions", "fail", f"{names} not installed; {found}", f"pip install {names}")
    return Check("versions", "ok", found)


def check_runtime(packages: dict[str, str | None], module: ModuleType | Exception) -> Check:
    """Whether one ONNX Runtime is installed, and whole: every variant writes the same module."""
    names = [name for name, number in packages.items() if number]
    found = _listed(packages)
    again = _reinstall(names, next((n for n in names if n != "onnxruntime"), _best_runtime()))
    if isinstance(module, Exception):
        return Check("runtime", "fail", f"{found}; {first_line(module)}", again)
    if not hasattr(module, "InferenceSession"):
        return Check("runtime", "fail", f"{found}, {_GUTTED}", again)
    if len(names) > 1:
        return Check("runtime", "warn", f"{found} overwrite each other", again)
    return Check("runtime", "ok", found)


def check_cpu() -> Check:
    """Whether a session comes up and runs."""
    try:
        return Check("cpu session", "ok", ", ".join(_providers("cpu")))
    except Exception as error:  # noqa: BLE001  the runtime's errors have no root of their own
        repair = f"pip install --force-reinstall --no-deps {_best_runtime()}"
        return Check("cpu session", "fail", _reason(error), repair)


def check_cuda(built_for: str, driver: bool) -> Check:
    """Which providers a session that asks for CUDA obtains; what is available says nothing."""
    if not driver:
        return Check("cuda session", "ok", _NO_DRIVER)
    if not built_for:
        swap = "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
        return Check("cuda session", "warn", "this ONNX Runtime is built without CUDA", swap)
    try:
        return Check("cuda session", "ok", ", ".join(_providers("cuda")))
    except Exception as error:  # noqa: BLE001  as above
        return Check("cuda session", "warn", _reason(error), _CUDA_REPAIR)


def check_libraries(built_for: str, driver: bool) -> Check:
    """Which of the CUDA libraries that the runtime was built for can be loaded."""
    if not driver:
        return Check("cuda libraries", "ok", _NO_DRIVER)
    if not built_for:
        return Check("cuda libraries", "ok", "this ONNX Runtime needs none")
    missing = missing_libraries(built_for, windows=os.name == "nt")
    if missing:
        found = f"{', '.join(missing)} not found; CUDA {built_for} and cuDNN 9 are needed"
        return Check("cuda libraries", "warn", found, _CUDA_REPAIR)
    return Check("cuda libraries", "ok", f"those of CUDA {built_for} and cuDNN 9")


def missing_libraries(built_for: str, *, windows: bool) -> list[str]:
    """Those that a CUDA session needs and that do not load. built_for: CUDA's version, `13.0`."""
    major = built_for.partition(".")[0]
    if windows:
        names = [f"{name}64_{major}.dll" for name in ("cublasLt", "cublas", "cudart")]
        names.append("cudnn64_9.dll")
    else:
        names = [f"lib{name}.so.{major}" for name in ("cublasLt", "cublas", "cudart")]
        names += ["libcurand.so.10", "libcudnn.so.9"]
    return [name for name in names if not loads(name)]


def check_torch(module: ModuleType | Exception, driver: bool) -> Check:
    """Whether there are gradients, and on what."""
    if isinstance(module, Exception):
        found = "not installed" if isinstance(module, ModuleNotFoundError) else first_line(module)
        return Check("torch", "warn", f"{found}: queries alone", "pip install 'tiem[torch]'")
    if module.cuda.is_available():
        found = f"{module.__version__} on {module.cuda.get_device_name()}"
        return Check("torch", "ok", found)
    found = f"{module.__version__} on the CPU"
    if driver:
        repair = "choose a build for this GPU at https://pytorch.org/get-started/locally"
        return Check("torch", "warn", f"{found}, though there is an NVIDIA driver", repair)
    return Check("torch", "ok", found)


def check_opencv(packages: dict[str, str | None], module: ModuleType | Exception) -> Check:
    """Whether one OpenCV is installed and loads: every variant writes the same module, and all but
    the headless ones want a desktop's libraries."""
    names = [name for name, number in packages.items() if number]
    found = _listed(packages)
    if isinstance(module, Exception):
        again = _reinstall(names, "opencv-python-headless")
        return Check("opencv", "fail", f"{found}; {first_line(module)}", again)
    if not hasattr(module, "resize"):
        return Check("opencv", "fail", f"{found}, {_GUTTED}", _reinstall(names, "opencv-python"))
    if len(names) > 1:
        again = _reinstall(names, "opencv-python")
        return Check("opencv", "warn", f"{found} overwrite each other", again)
    return Check("opencv", "ok", found)


def check_codecs(module: ModuleType | Exception) -> Check:
    """Whether H.264 can be written, and which videos can be read."""
    again = "pip install --force-reinstall --only-binary av av"
    if isinstance(module, Exception):
        return Check("codecs", "fail", f"PyAV: {first_line(module)}", again)
    readable = [name for name, codec in _DECODERS.items() if _has_codec(module, codec, "r")]
    unread = [name for name in _DECODERS if name not in readable]
    found = f"PyAV {module.__version__}, reads {', '.join(readable)}"
    if not _has_codec(module, "libx264", "w"):
        return Check("codecs", "fail", f"{found}; writes no H.264 (libx264)", again)
    if unread:
        return Check(
            "codecs", "warn", f"{found}, writes H.264; cannot read {', '.join(unread)}", again
        )
    return Check("codecs", "ok", f"{found}, writes H.264")


def check_machine(memory: int, cores: int) -> Check:
    """Whether a small network fits. memory: bytes."""
    found = f"{memory / 2**30:.1f} GiB of memory free, {cores} cores"
    if memory < _LITTLE_MEMORY:
        return Check("machine", "warn", found, "close other programs, or use --batch-size 1")
    return Check("machine", "ok", found)


def check_folder(folder: Path) -> Check:
    """Whether results can be written where `tiem` is called."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        found = f"{folder} cannot be written to: {error.strerror}"
        return Check("folder", "warn", found, "give tiem explain another folder with -o")
    return Check("folder", "ok", f"{folder} can be written to")


def check_terminal(encoding: str) -> Check:
    """Whether the letters of the result can be printed."""
    try:
        _LETTERS.encode(encoding)
    except UnicodeEncodeError:
        found = f"{encoding} cannot print {_LETTERS!a}"
        command = "set PYTHONUTF8=1" if os.name == "nt" else "export PYTHONUTF8=1"
        return Check("terminal", "warn", found, command)
    return Check("terminal", "ok", encoding)


def loads(library: str) -> bool:
    """Whether the system finds a shared library, or has loaded it already."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _providers(device: str) -> list[str]:
    """Those of a session that has run."""
    import numpy as np
    from onnx import TensorProto, helper

    from tiemcli.scorers.session import make_session

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "doubling", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = make_session(model, Path(), device)
    session.run(None, {"x": np.ones(1, np.float32)})
    providers: list[str] = session.get_providers()
    return providers


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, TiemError) else first_line(error)


def _has_codec(av: ModuleType, name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, mode)
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _listed(packages: dict[str, str | None]) -> str:
    names = [f"{name} {number}" for name, number in packages.items() if number]
    return " and ".join(names) or "not installed"


def _reinstall(remove: Sequence[str], keep: str) -> str:
    """Removing comes first: what one variant's removal takes is missing from the other."""
    install = f"pip install --force-reinstall --no-deps {keep}"
    return f"pip uninstall -y {' '.join(remove)} && {install}" if remove else f"pip install {keep}"


def _best_runtime() -> str:
    built = sys.platform == "linux" or (os.name == "nt" and platform.machine() == "AMD64")
    return "onnxruntime-gpu" if built else "onnxruntime"
