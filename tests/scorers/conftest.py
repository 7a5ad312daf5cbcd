"""An endpoint to ask: ONNX Runtime, of which nothing is known but what it answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tiemcli.scorers.endpoint import Asked, Endpoint


class FileEndpoint:
    """A network's file behind the interface of an endpoint. batches: the clips of each request."""

    def __init__(self, path: Path, largest_batch: int | None) -> None:
        graph = onnx.load(path).graph
        tensor = next(value for value in graph.input if value.name == "clip").type.tensor_type
        self.session = onnxruntime.InferenceSession(str(path))
        self.name, self.identity = f"test://{path.name}", "0" * 64
        self.input, self.output = "clip", graph.output[0].name
        self.dims = tuple(dim.dim_value or None for dim in tensor.shape.dim)
        self.element_type = tensor.elem_type
        self.largest_batch = largest_batch
        self.providers, self.notes = ("test",), ("asked in a test",)
        self.batches: list[int] = []

    def answers(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        return self.session.run([self.output], {self.input: batch})[0]

    def asked(self) -> Asked:
        return Asked(requests=len(self.batches), clips=sum(self.batches))


EndpointOf = Callable[..., Endpoint]


@pytest.fixture
def endpoint_of() -> EndpointOf:
    """A function from a network's file, and the most clips it takes, to an endpoint."""
    return lambda path, largest_batch=None: FileEndpoint(path, largest_batch)
