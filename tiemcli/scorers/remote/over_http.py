"""The Open Inference Protocol over HTTP."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.client import HTTPException
from ssl import SSLCertVerificationError
from typing import Any, TypeVar

import gevent
import gevent.ssl
import numpy as np
from geventhttpclient.response import HTTPConnectionClosed
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
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

BINARY = "binary_tensor_data"
_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}
_LATE = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT}
_FOREIGN = (HTTPException, ValueError, LookupError, TypeError, AttributeError)
_SHORT = 200  # characters of an answer that is worth to be shown as it is

T = TypeVar("T")


class OverHttp:
    """A `Transport`. Any thread may use it, each by a connection of its own.

    binary: whether the server takes tensors as bytes, as only the answer of `server` tells; all take
    them as JSON.
    """

    def __init__(self, address: Address, connection: Connection) -> None:
        self._address, self._connection = address, connection
        self._model = (address.model, address.version)
        self._mine = threading.local()  # a client works only in the thread that made it
        self.binary = False

    def server(self) -> Server:
        def read(client: Any, headers: dict[str, str]) -> Server:
            said = client.get_server_metadata(headers=headers)
            return Server(said["name"], said["version"], tuple(said.get("extensions") or ()))

        server = self._ask(read)
        self.binary = BINARY in server.extensions
        return server

    def card(self) -> Card:
        def read(client: Any, headers: dict[str, str]) -> Card:
            said = client.get_model_metadata(*self._model, headers=headers)
            return Card(
                versions=tuple(said.get("versions") or ()),
                platform=said["platform"],
                inputs=_tensors(said.get("inputs") or ()),
                outputs=_tensors(said.get("outputs") or ()),
            )

        return self._ask(read)

    def models(self) -> list[str]:
        return self._ask(
            lambda client, headers: [
                model["name"] for model in client.get_model_repository_index(headers=headers)
            ]
        )

    def largest_batch(self) -> int:
        return self._ask(
            lambda client, headers: int(
                client.get_model_config(*self._model, headers=headers)["max_batch_size"]
            )
        )

    def served(self) -> tuple[int, float]:
        def read(client: Any, headers: dict[str, str]) -> tuple[int, float]:
            said = client.get_inference_statistics(*self._model, headers=headers)["model_stats"]
            nanoseconds = sum(model["inference_stats"]["success"]["ns"] for model in said)
            return sum(model["inference_count"] for model in said), nanoseconds / 1e9

        return self._ask(read)

    def infer(self, source: Tensor, batch: np.ndarray, output: str) -> np.ndarray:
        fed = InferInput(source.name, list(batch.shape), source.datatype)
        fed.set_data_from_numpy(batch, binary_data=self.binary)
        wanted = InferRequestedOutput(output, binary_data=self.binary)
        model, version = self._model

        def read(client: Any, headers: dict[str, str]) -> np.ndarray | None:
            said = client.infer(model, [fed], version, [wanted], headers=headers)
            answer: np.ndarray | None = said.as_numpy(output)
            return answer

        answer = self._ask(read)
        if answer is None:
            raise Refused(f"the answer is without {output!r}")
        return answer

    def _ask(self, read: Callable[[Any, dict[str, str]], T]) -> T:
        if not hasattr(self._mine, "client"):
            self._mine.client = self._new_client()
        try:
            return self._answer(self._mine.client, read)
        except BaseException:  # half an answer may lie in the connection
            self._mine.client.close()
            del self._mine.client
            raise

    def _answer(self, client: Any, read: Callable[[Any, dict[str, str]], T]) -> T:
        words = self._connection.words
        limit = gevent.Timeout(self._connection.timeout)
        try:
            with limit:
                return read(client, self._connection.headers())
        except gevent.Timeout as late:
            if late is not limit:
                raise
            raise Late(f"no answer within {self._connection.timeout:g} s") from None
        except InferenceServerException as error:
            raise self._failure(error) from None
        except SSLCertVerificationError as error:
            raise Refused(words(error.verify_message), "certificate") from None
        except (HTTPConnectionClosed, OSError) as error:
            raise Unreachable(words(error)) from None
        except _FOREIGN as error:
            raise Refused(f"the answer is not of this protocol: {words(error)}") from None

    def _new_client(self) -> Any:
        address, connection = self._address, self._connection
        hub = gevent.get_hub()
        hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # raised still, but not printed as well
        return InferenceServerClient(
            address.server + address.base,
            connection_timeout=min(CONNECTING, connection.timeout),
            network_timeout=None,  # it would be one of every piece of an answer
            ssl=address.secure,
            ssl_context_factory=lambda: gevent.ssl.create_default_context(cafile=connection.ca),
        )

    def _failure(self, error: InferenceServerException) -> Failure:
        status = error.status()
        if status is None:
            return Refused(self._connection.words(error))
        text = f"{status} {self._connection.words(_reason(error))}"
        kind = Busy if int(status) in _BUSY else Late if int(status) in _LATE else None
        return Refused(text, status) if kind is None else kind(text)


def _tensors(said: Iterable[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(tensor["name"], tensor["datatype"], tuple(map(int, tensor["shape"])))
        for tensor in said
    )


def _reason(error: InferenceServerException) -> str:
    """The server's own words, if it has any for people to read."""
    body = error.debug_details()
    if body is None:
        return str(error.message())
    with contextlib.suppress(ValueError, LookupError, TypeError):
        body = json.loads(body)["detail"]
    if isinstance(body, str) and 0 < len(body) <= _SHORT and not body.lstrip().startswith("<"):
        return body
    try:
        return HTTPStatus(int(error.status())).phrase
    except ValueError:
        return "no reason given"
