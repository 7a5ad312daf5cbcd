"""A network that a server runs, asked by the Open Inference Protocol (KServe's v2)."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import numpy as np
import stamina
import stamina.instrumentation

from tiemcli.connection import Address, Connection, check, parse_address
from tiemcli.errors import ClipError, ModelError, TiemError
from tiemcli.scorers.endpoint import Asked, Dims, Endpoint
from tiemcli.scorers.remote.choice import TYPES, clip_input, fixed_batch, output_of
from tiemcli.scorers.remote.over_grpc import OverGrpc
from tiemcli.scorers.remote.over_http import OverHttp
from tiemcli.scorers.remote.pace import Pace
from tiemcli.scorers.remote.transport import (
    Busy,
    Card,
    Failure,
    Late,
    Refused,
    Server,
    Tensor,
    Transport,
    Unreachable,
)

__all__ = ["Connection", "TooManyClips", "connect"]

_LONGEST_WAIT = 30.0
_DENIED = ("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED")
_UNKNOWN = ("404", "NOT_FOUND", "UNIMPLEMENTED")
_LATER = "once it answers, the same command goes on where this one stopped"
_UNSEEN = "the server keeps this network behind its address; after a change, explain anew by -f"

T = TypeVar("T")


class TooManyClips(ClipError, MemoryError):
    """A batch that a server may take in parts; `Batching` halves it as one that needs memory."""


@dataclass
class _Tally:
    """What was asked so far. seconds: of requests that were answered, without those in vain."""

    requests: int = 0
    clips: int = 0
    seconds: float = 0.0
    retries: int = 0


@dataclass(frozen=True)
class _Remote:
    """An `Endpoint`."""

    address: Address
    connection: Connection
    transport: Transport
    pace: Pace
    source: Tensor
    output: str
    largest_batch: int | None
    identity: str
    providers: tuple[str, ...]
    notes: tuple[str, ...]
    served: tuple[int, float] | None
    tally: _Tally = field(default_factory=_Tally)

    @property
    def name(self) -> str:
        return self.address.url

    @property
    def input(self) -> str:
        return self.source.name

    @property
    def dims(self) -> Dims:
        return tuple(None if size < 0 else size for size in self.source.shape)

    @property
    def element_type(self) -> int:
        return int(TYPES[self.source.datatype])

    def answers(self, batch: np.ndarray) -> np.ndarray:
        """As `Endpoint` says; raises TooManyClips where fewer of them may be answered."""

        def ask() -> np.ndarray:
            began = time.perf_counter()
            answer = self.transport.infer(self.source, batch, self.output)
            self.tally.seconds += time.perf_counter() - began
            return answer

        # A batch that takes too long is tried in halves, not again.
        patient = (Unreachable, Busy, Late) if len(batch) == 1 else (Unreachable, Busy)
        try:
            answer = _patiently(ask, patient, self.connection, self.pace, self.tally)
        except Failure as failure:
            raise self._error(failure, len(batch)) from failure
        self.tally.requests += 1
        self.tally.clips += len(batch)
        return answer

    def asked(self) -> Asked:
        """As `Endpoint` says. inside: by the mean time of a clip, be it somebody else's meanwhile."""
        tally, inside = self.tally, None
        if self.served is not None:
            try:
                clips, seconds = self.transport.served()
            except Failure:
                clips, seconds = self.served
            if clips > self.served[0]:
                inside = tally.clips * (seconds - self.served[1]) / (clips - self.served[0])
        return Asked(tally.requests, tally.clips, tally.seconds, inside, tally.retries)

    def _error(self, failure: Failure, clips: int) -> TiemError:
        server = self.address.server
        if isinstance(failure, Refused) and failure.status in (*_DENIED, *_UNKNOWN, "certificate"):
            return _no_use(failure, self.address)
        if isinstance(failure, Refused):
            what = f"{clips} clips at once" if clips > 1 else "the clip"
            kind = TooManyClips if clips > 1 else ClipError
            return kind(f"{server} refuses {what}: {failure}", "see the server's own log")
        if isinstance(failure, Late) and clips > 1:
            return TooManyClips(f"{server} takes too long for {clips} clips: {failure}")
        return ModelError(f"{server} does not answer: {failure}", _LATER)


def connect(url: str, output_name: str | None, connection: Connection | None = None) -> Endpoint:
    """The network of a server, by what the server says of it.

    output_name: of the output to explain, None for the only one. Raises UsageError for a URL that
    names no network, ModelError for a server that cannot be asked, or whose network takes no clips.
    """
    connection = connection or Connection()
    address = parse_address(url)
    check(connection, address)
    # Its own hooks write of every retry, to standard output even.
    stamina.instrumentation.set_on_retry_hooks(())
    transport = (OverGrpc if address.over_grpc else OverHttp)(address, connection)
    pace = Pace(connection.rate)

    def ask(question: Callable[[], T]) -> T:
        return _patiently(question, (Busy,), connection, pace, _Tally())

    def ask_for_more(question: Callable[[], T]) -> T | None:
        """What the protocol leaves to the server's discretion."""
        try:
            return ask(question)
        except Refused:
            return None

    try:
        server = ask_for_more(transport.server)
        try:
            card = ask(transport.card)
        except Refused as refusal:
            known = ask_for_more(transport.models) if server else None
            raise _no_use(refusal, address, server, known) from refusal
        source, output = clip_input(card, address), output_of(card, address, output_name)
        most = ask_for_more(transport.largest_batch)
        served = ask_for_more(transport.served)
    except Failure as failure:
        port = "gRPC" if address.over_grpc else "HTTP"
        hint = (
            _LATER if isinstance(failure, Busy) else f"is it running, and is that its {port} port?"
        )
        raise ModelError(f"{address.server} does not answer: {failure}", hint) from failure
    notes = [_UNSEEN]
    if isinstance(transport, OverHttp) and not transport.binary:
        notes.append(
            "clips go as text, all that the server takes over HTTP; its gRPC port is faster"
        )
    return _Remote(
        address=address,
        connection=connection,
        transport=transport,
        pace=pace,
        source=source,
        output=output,
        largest_batch=most or fixed_batch(source),
        identity=_identity(address, card),
        providers=(_provider(server, address),),
        notes=tuple(notes),
        served=served,
    )


def _patiently(
    question: Callable[[], T],
    patient: tuple[type[Failure], ...],
    connection: Connection,
    pace: Pace,
    tally: _Tally,
) -> T:
    """What a question is answered, asked again and again while it fails in a way worth that."""
    attempts = stamina.retry_context(
        on=patient,
        attempts=connection.retries + 1,
        timeout=None,
        wait_initial=connection.wait,
        wait_max=_LONGEST_WAIT,
        wait_jitter=connection.wait,
    )
    for attempt in attempts:
        with attempt:
            tally.retries += attempt.num > 1
            pace.keep()
            return question()
    raise AssertionError("the last attempt returns or raises")


def _no_use(
    refusal: Refused,
    address: Address,
    server: Server | None = None,
    known: list[str] | None = None,
) -> ModelError:
    """A refusal that any clip would meet."""
    if refusal.status == "certificate":
        return ModelError(
            f"{address.server} has a certificate that is not trusted: {refusal}",
            "name the file of the authority that signed it in the environment variable TIEM_CA",
        )
    if refusal.status in _DENIED:
        return ModelError(
            f"{address.server} refuses access: {refusal}",
            "put a token that it takes into the environment variable TIEM_TOKEN",
        )
    what = f"{address.model!r}" + (f" of version {address.version}" if address.version else "")
    if server is None:
        return ModelError(
            f"{address.server} gives no network {what}: {refusal}",
            "is it a server of the Open Inference Protocol (v2), and is the path right?",
        )
    return ModelError(
        f"{address.server} has no network {what}: {refusal}",
        f"it has {', '.join(sorted(set(known)))}" if known else "see the server's own list",
    )


def _identity(address: Address, card: Card) -> str:
    """Of all that a server says of the network, and where: SHA-256. Weights it does not tell."""
    known = {"url": address.url, "card": asdict(card)}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _provider(server: Server | None, address: Address) -> str:
    name = f"{server.name} {server.version}".strip() if server else "a server"
    return f"{name} over {'gRPC' if address.over_grpc else 'HTTP'}"
