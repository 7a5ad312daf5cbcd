"""A server of the Open Inference Protocol for the tests to ask: MLServer."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

SCHEMES = ["http", "grpc"]


def declared(name: str, datatype: str, shape: list[int]) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class InferenceServer:
    """MLServer in a process of its own, on two free ports that it keeps.

    folder: is made, and holds its settings and its log. largest_message: in bytes, over gRPC."""

    def __init__(self, folder: Path, largest_message: int = -1) -> None:
        self.folder = folder
        self.ports = {scheme: free_port() for scheme in SCHEMES}
        settings = {
            "host": "127.0.0.1",
            "http_port": self.ports["http"],
            "grpc_port": self.ports["grpc"],
            "grpc_max_message_length": largest_message,
            "parallel_workers": 0,
            "metrics_endpoint": None,
            "debug": False,
        }
        folder.mkdir()
        (folder / "settings.json").write_text(json.dumps(settings))

    def add(self, name: str, file: Path, **settings: object) -> None:
        """Have it serve an ONNX file. settings: of MLServer's model-settings.json, inputs and outputs
        at least; delay: seconds before each answer."""
        extra = {"delay": settings.pop("delay", 0)}
        fixed = {
            "name": name,
            "implementation": "onnx_runtime_server.OnnxModel",
            "parameters": {"uri": str(file), "version": "v1", "extra": extra},
        }
        (self.folder / name).mkdir()
        (self.folder / name / "model-settings.json").write_text(json.dumps(fixed | settings))

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                shutil.which("mlserver", path=Path(sys.executable).parent) or "mlserver",
                "start",
                ".",
            ],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
            stdout=(self.folder / "log").open("w"),
            stderr=subprocess.STDOUT,
        )
        ready = f"http://127.0.0.1:{self.ports['http']}/v2/health/ready"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(ready, timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                stopped = self._process.poll() is not None
                if stopped or time.monotonic() > deadline:
                    self.kill()
                    pytest.fail(f"MLServer does not start:\n{(self.folder / 'log').read_text()}")
                time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def url(self, scheme: str, name: str = "small") -> str:
        path = f"v2/models/{name}" if scheme == "http" else name
        return f"{scheme}://127.0.0.1:{self.ports[scheme]}/{path}"
