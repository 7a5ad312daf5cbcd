"""The Open Inference Protocol over gRPC."""

import re
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tiemcli.connection import Address, Connection
from tiemcli.scorers.remote.transport import (
    CONNECTING,
    Busy,
    Card,
    Failure,
    Late,
    Refused,
    Server,
    Tensor,
    Unreachable,
)

# As gRPC in C, Go and Java put it.
_TOO_LARGE = re.compile("larger than max|exceeds maximum size")
_DISTRUST = re.compile("CERTIFICATE_VERIFY_FAILED|not in peer certificate|Hostname Verification")

T = TypeVar("T")


class OverGrpc:
    """A `Transport`, for any thread."""

    def __init__(self, address: Address, connection: Connection) -> None:
        self._connection = connection
        self._model = (address.model, address.version)
        milliseconds = round(min(CONNECTING, connection.timeout) * 1000)
        self._client = InferenceServerClient(
            address.server,
            creds=_credentials(connection.ca) if address.secure else None,
            channel_args=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.min_reconnect_backoff_ms", milliseconds),
                # A channel that waits longer would refuse our retries without a look at the server.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )

    def server(self) -> Server:
        def read(client: Any, **terms: Any) -> Server:
            said = client.get_server_metadata(**terms)
            return Server(said.name, said.version, tuple(said.extensions))

        return self._ask(read)

    def card(self) -> Card:
        def read(client: Any, **terms: Any) -> Card:
            said = client.get_model_metadata(*self._model, **terms)
            inputs, outputs = _tensors(said.inputs), _tensors(said.outputs)
            return Card(tuple(said.versions), said.platform, inputs, outputs)

        return self._ask(read)

    def models(self) -> list[str]:
        return self._ask(
            lambda client, **terms: [
                model.name for model in client.get_model_repository_index(**terms).models
            ]
        )

    def largest_batch(self) -> int:
        return self._ask(
            lambda client, **terms: int(
                client.get_model_config(*self._model, **terms).config.max_batch_size
            )
        )

    def served(self) -> tuple[int, float]:
        def read(client: Any, **terms: Any) -> tuple[int, float]:
            said = client.get_inference_statistics(*self._model, **terms).model_stats
            nanoseconds = sum(model.inference_stats.success.ns for model in said)
            return sum(model.inference_count for model in said), nanoseconds / 1e9

        return self._ask(read)

    def infer(self, source: Tensor, batch: np.ndarray, output: str) -> np.ndarray:
        fed = InferInput(source.name, list(batch.shape), source.datatype)
        fed.set_data_from_numpy(batch)
        wanted = InferRequestedOutput(output)
        model, version = self._model

        def read(client: Any, **terms: Any) -> np.ndarray | None:
            said = client.infer(model, [fed], version, [wanted], **terms)
            answer: np.ndarray | None = said.as_numpy(output)
            return answer

        answer = self._ask(read)
        if answer is None:
            raise Refused(f"the answer is without {output!r}")
        return answer

    def _ask(self, read: Callable[..., T]) -> T:
        connection = self._connection
        try:
            return read(
                self._client, headers=connection.headers(), client_timeout=connection.timeout
            )
        except InferenceServerException as error:
            raise self._failure(error) from None
        except ValueError as error:
            raise Refused(f"the answer is malformed: {connection.words(error)}") from None

    def _failure(self, error: InferenceServerException) -> Failure:
        status = str(error.status()).removeprefix("StatusCode.")
        text = self._connection.words(str(error.message()))
        match status:
            case "DEADLINE_EXCEEDED":
                return Late(f"no answer within {self._connection.timeout:g} s")
            case "UNAVAILABLE" | "CANCELLED":  # the latter by a server that is going down
                distrusted = _DISTRUST.search(text)
                return Refused(text, "certificate") if distrusted else Unreachable(text)
            case "RESOURCE_EXHAUSTED" if not _TOO_LARGE.search(text):
                return Busy(text)
        return Refused(text, status)


def _credentials(ca: str | None) -> Any:
    """Of the system's certificate authorities where nobody names others; gRPC brings its own."""
    roots = ca or ssl.get_default_verify_paths().cafile
    return grpc.ssl_channel_credentials(None if roots is None else Path(roots).read_bytes())


def _tensors(said: Iterable[Any]) -> tuple[Tensor, ...]:
    return tuple(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in said)
