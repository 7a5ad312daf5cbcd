"""What a command asks of a network and a clip, in a form that travels to whoever does it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from tiemcli.connection import Connection
from tiemcli.facts import Facts
from tiemcli.settings import Settings


@dataclass(frozen=True)
class Request:
    """What one command asks of every clip.

    model: an ONNX file, python:FILE:FUNCTION or a server's URL. facts: what the user says of it.
    memory: bytes for work that clips share, None to find out. force: explain again what is already
    explained. signature: the seconds that are known to be decisive, if any, for the report to mark.
    custom_ops: libraries of operators that the user trusts. connection: the terms on which a server
    is asked.
    """

    model: str
    facts: Facts
    settings: Settings
    device: str
    batch_size: int | None
    force: bool
    signature: tuple[float, float] | None = None
    memory: int | None = None
    custom_ops: tuple[Path, ...] = ()
    connection: Connection = field(default_factory=Connection)

    def shared_by(self, workers: int) -> Self:
        """The request of each of so many workers, who together keep to the rate."""
        rate = self.connection.rate
        if rate is None:
            return self
        return replace(self, connection=replace(self.connection, rate=rate / workers))
