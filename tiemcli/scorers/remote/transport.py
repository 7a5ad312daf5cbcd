"""What a server is asked for, whatever carries the question, and how it may fail to answer."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

CONNECTING = 10.0  # seconds for a connection to come about


@dataclass(frozen=True)
class Tensor:
    """An input or output as a server declares it; -1 in its shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Server:
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """What a server says of a network."""

    versions: tuple[str, ...]
    platform: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Transport(Protocol):
    """Questions to one server about one network; any of them may raise a `Failure`."""

    def server(self) -> Server: ...

    def card(self) -> Card: ...

    def models(self) -> list[str]:
        """The names of all networks that it serves."""
        ...

    def largest_batch(self) -> int:
        """How many clips the network's configuration lets it take at once, 0 for no word on it."""
        ...

    def served(self) -> tuple[int, float]:
        """How many clips it has answered for anyone so far, and the seconds that they took it."""
        ...

    def infer(self, source: Tensor, batch: np.ndarray, output: str) -> np.ndarray: ...


class Failure(Exception):
    """A request without an answer. The text is one line, without a token."""


class Unreachable(Failure):
    """No connection, or one that broke."""


class Busy(Failure):
    """The server is there, and says that another time may do."""


class Late(Failure):
    """No answer in time."""


class Refused(Failure):
    """An answer that would be the same another time. status: the protocol's, a number or a word."""

    def __init__(self, text: str, status: str = "") -> None:
        super().__init__(text)
        self.status = status
