"""What `tiem doctor` finds in a healthy installation, and in those that are known to break."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tiemcli import doctor
from tiemcli.doctor import Check, diagnose, exit_code
from tiemcli.scorers.session import has_cuda


def module(**attributes: Any) -> ModuleType:
    made = ModuleType("made")
    vars(made).update(attributes)
    return made


def test_an_installation_that_passes_its_tests_is_healthy() -> None:
    """Nothing fails here, every check has a name of its own and says what it found, and whatever
    is not as it should be comes with what to type."""
    checks = diagnose()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert {"runtime", "cpu session", "cuda session", "codecs", "opencv", "torch"} <= set(names)
    assert all(check.found for check in checks)
    assert all(bool(check.repair) == (check.status != "ok") for check in checks)
    assert exit_code(checks) == 0


def test_the_session_is_a_real_one() -> None:
    """The CPU's provider is named by a session that ran."""
    assert doctor.check_cpu() == Check("cpu session", "ok", "CPUExecutionProvider")


def test_a_session_that_does_not_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of the runtime's error is what was found."""

    def refuse(device: str) -> list[str]:
        raise RuntimeError("illegal instruction\nmore")

    monkeypatch.setattr(doctor, "_providers", refuse)
    check = doctor.check_cpu()
    assert check.status == "fail"
    assert check.found.startswith("illegal instruction")
    assert "onnxruntime" in check.repair


def test_only_a_failure_ends_with_3() -> None:
    """A warning is no failure: tiem works."""
    assert exit_code([Check("a", "ok", ""), Check("b", "warn", "", "x")]) == 0
    assert exit_code([Check("a", "fail", "", "x"), Check("b", "ok", "")]) == 3


BOTH = {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.0"}


def test_two_runtimes_are_a_warning() -> None:
    """Both write one module; the repair removes both, and then installs the one with CUDA."""
    check = doctor.check_runtime(BOTH, module(InferenceSession=object))
    assert check.status == "warn"
    assert check.repair.startswith("pip uninstall -y onnxruntime onnxruntime-gpu && ")
    assert check.repair.endswith("--force-reinstall --no-deps onnxruntime-gpu")


def test_a_gutted_runtime_fails() -> None:
    """One of two was uninstalled: its files are gone from the other, whose folder still imports."""
    alone = {"onnxruntime": None, "onnxruntime-gpu": "1.31.0"}
    check = doctor.check_runtime(alone, module())
    assert check.status == "fail"
    assert "gutted" in check.found
    assert check.repair.endswith("--force-reinstall --no-deps onnxruntime-gpu")
    check = doctor.check_runtime(alone, ImportError("DLL load failed"))
    assert (check.status, "DLL load failed" in check.found) == ("fail", True)


def test_a_gutted_runtime_is_found_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder in place of the module, as uninstalling leaves it, is a failure, and no
    session is tried on it."""
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    for name in [n for n in sys.modules if n.partition(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    real = [entry for entry in sys.path if "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *real])
    found = doctor.load("onnxruntime")
    assert doctor.check_runtime(BOTH, found).status == "fail"
    load = doctor.load
    monkeypatch.setattr(doctor, "load", lambda n: found if n == "onnxruntime" else load(n))
    assert "cpu session" not in {check.name for check in diagnose()}


def test_no_runtime_fails() -> None:
    """It names the package to install."""
    check = doctor.check_runtime({"onnxruntime": None}, ModuleNotFoundError("No module"))
    assert (check.status, check.found) == ("fail", "not installed; No module")
    assert check.repair.startswith("pip install onnxruntime")


def test_without_a_driver_cuda_is_not_tried() -> None:
    """A machine without a GPU is healthy."""
    assert doctor.check_cuda("13.0", driver=False).status == "ok"
    assert doctor.check_libraries("13.0", driver=False).status == "ok"


def test_a_runtime_without_cuda_on_a_machine_with_it_is_a_warning() -> None:
    """The repair swaps the package."""
    check = doctor.check_cuda("", driver=True)
    assert check.status == "warn"
    assert check.repair == "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"


def test_a_cuda_session_that_comes_up_on_the_cpu_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here too, where there is no GPU: what is available is not believed."""
    if doctor.loads(doctor._DRIVER):
        pytest.skip("this machine has an NVIDIA driver")
    check = doctor.check_cuda("13.0", driver=True)
    assert check.status == "warn"
    assert "cuda" in check.repair
    monkeypatch.setattr(doctor, "_providers", lambda device: ["CUDAExecutionProvider"])
    assert doctor.check_cuda("13.0", driver=True).status == "ok"


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda(), reason="no CUDA device")
def test_a_gpu_is_found() -> None:
    """Where there is one, the session has CUDA first and no library is missing."""
    checks = {check.name: check for check in diagnose()}
    assert checks["cuda session"].found.startswith("CUDAExecutionProvider")
    assert checks["cuda libraries"].status == "ok"


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of the CUDA that the runtime was built for, on either system."""
    monkeypatch.setattr(doctor, "loads", lambda name: "cudnn" not in name)
    assert doctor.missing_libraries("12.8", windows=False) == ["libcudnn.so.9"]
    assert doctor.missing_libraries("13.0", windows=True) == ["cudnn64_9.dll"]
    check = doctor.check_libraries("13.0", driver=True)
    assert (check.status, check.found.split()[0]) == (
        "warn",
        "cudnn64_9.dll" if os.name == "nt" else "libcudnn.so.9",
    )
    monkeypatch.setattr(doctor, "loads", lambda name: name != "libcublas.so.12")
    assert doctor.missing_libraries("12.8", windows=False) == ["libcublas.so.12"]


def torch(cuda: bool) -> ModuleType:
    device = SimpleNamespace(is_available=lambda: cuda, get_device_name=lambda: "H200")
    return module(__version__="2.13.0", cuda=device)


def test_torch_is_wanted_but_not_needed() -> None:
    """Without it there are queries; on the CPU beside a GPU it is slower than it need be."""
    absent = doctor.check_torch(ModuleNotFoundError("No module named 'torch'"), driver=False)
    assert (absent.status, absent.repair) == ("warn", "pip install 'tiem[torch]'")
    assert doctor.check_torch(torch(cuda=False), driver=False).status == "ok"
    assert doctor.check_torch(torch(cuda=False), driver=True).status == "warn"
    assert doctor.check_torch(torch(cuda=True), driver=True).found == "2.13.0 on H200"
    broken = doctor.check_torch(OSError("libcudart.so.12: cannot open"), driver=True)
    assert "libcudart.so.12" in broken.found


def test_opencv_without_a_desktop_names_the_headless_one() -> None:
    """A server without libGL cannot import it."""
    error = ImportError("libGL.so.1: cannot open shared object file")
    check = doctor.check_opencv({"opencv-python": "4.12"}, error)
    assert check.status == "fail"
    assert "libGL.so.1" in check.found
    assert check.repair.startswith("pip uninstall -y opencv-python && ")
    assert check.repair.endswith("opencv-python-headless")


def test_two_opencvs_are_a_warning_and_a_gutted_one_fails() -> None:
    """As with ONNX Runtime, variants write one module."""
    both = {"opencv-python": "4.12", "opencv-python-headless": "4.11"}
    assert doctor.check_opencv(both, module(resize=min)).status == "warn"
    assert doctor.check_opencv({"opencv-python": "4.12"}, module()).status == "fail"


class Unknown(Exception):
    """PyAV's error for a codec that it does not have."""


def av(lacking: str) -> ModuleType:
    """PyAV without one codec."""

    def codec(name: str, mode: str) -> None:
        if name == lacking:
            raise Unknown

    inner = SimpleNamespace(Codec=codec, codec=SimpleNamespace(UnknownCodecError=Unknown))
    return module(__version__="18.1.0", codec=inner)


def test_codecs_are_tried_one_by_one() -> None:
    """Without a decoder some clips cannot be read; without libx264 no video is written."""
    assert doctor.check_codecs(av("")).status == "ok"
    check = doctor.check_codecs(av("libdav1d"))
    assert (check.status, check.found.endswith("cannot read AV1")) == ("warn", True)
    check = doctor.check_codecs(av("libx264"))
    assert (check.status, "libx264" in check.found) == ("fail", True)
    assert doctor.check_codecs(ImportError("no av")).status == "fail"


def test_a_missing_package_fails_and_is_named() -> None:
    """The others are listed with their versions."""
    check = doctor.check_versions({"numpy": "2.4", "rich": None, "typer": None})
    assert (check.status, check.repair) == ("fail", "pip install rich typer")
    assert "numpy 2.4" in check.found
    assert doctor.installed(["surely-not-installed"]) == {"surely-not-installed": None}


def test_little_memory_is_a_warning() -> None:
    """The demo alone takes half a GiB."""
    assert doctor.check_machine(600 << 20, 2).status == "warn"
    assert doctor.check_machine(8 << 30, 2) == Check(
        "machine", "ok", "8.0 GiB of memory free, 2 cores"
    )


def test_a_folder_that_cannot_be_written_to_is_a_warning(tmp_path: Path) -> None:
    """Nothing is left in one that can."""
    assert doctor.check_folder(tmp_path).status == "ok"
    assert list(tmp_path.iterdir()) == []
    check = doctor.check_folder(tmp_path / "gone")
    assert check.status == "warn"
    assert "-o" in check.repair


@pytest.mark.parametrize(
    ("encoding", "status"), [("utf-8", "ok"), ("cp1252", "warn"), ("ascii", "warn")]
)
def test_the_terminals_letters_are_tried(encoding: str, status: str) -> None:
    """A code page without blocks would draw the sparkline by letters; what is said of it can be printed."""
    check = doctor.check_terminal(encoding)
    assert check.status == status
    assert check.found.isascii()
