"""Load whatever network the user names: a file, a function, or one that a server runs."""

import os
import re
from pathlib import Path

from tiemcli.connection import Connection
from tiemcli.errors import ModelError, UsageError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.endpoint import Endpoint
from tiemcli.scorers.function import PREFIX, load_function
from tiemcli.scorers.network import Network, load_network
from tiemcli.scorers.outside import load_outside
from tiemcli.settings import Precision

_URL = re.compile(r"(https?|grpcs?)://", re.IGNORECASE)


def load(
    source: str,
    facts: Facts,
    device: str,
    batch_size: int | None = None,
    memory: int | None = None,
    reuse: bool = True,
    precision: Precision = "full",
    connection: Connection | None = None,
    custom_ops: tuple[Path, ...] = (),
) -> Network:
    """The network of an ONNX file's path, of python:FILE:FUNCTION, or of a server's URL.

    facts: what the user says of it. connection: to a server. custom_ops: libraries that the user
    trusts. The rest is of files alone, as `load_network` has it. Raises ModelError, DeviceError, UsageError.
    """
    if not is_outside(source):
        model = load_model(Path(source), facts, custom_ops)
        return load_network(model, device, batch_size, memory, reuse, precision)
    if precision != "full":
        raise UsageError(
            f"--precision {precision}: {source} computes as it does", "leave out --precision"
        )
    if device not in ("auto", "cpu"):
        raise UsageError(f"--device {device}: {source} runs where it runs", "leave out --device")
    if custom_ops:
        raise UsageError(f"--custom-ops: {source} is no ONNX file", "leave out --custom-ops")
    endpoint, own = find_endpoint(source, facts, connection)
    return load_outside(endpoint, facts, own, batch_size)


def is_outside(source: str | os.PathLike[str]) -> bool:
    """Whether this names no file, but a function or a server's network."""
    text = os.fspath(source)
    return text.startswith(PREFIX) or _URL.match(text) is not None


def find_endpoint(
    source: str, facts: Facts, connection: Connection | None = None
) -> tuple[Endpoint, Facts]:
    """What answers for a network that is no file, and what it says of itself. Raises ModelError."""
    if source.startswith(PREFIX):
        return load_function(source, facts)
    try:
        from tiemcli.scorers.open_inference import connect
    except ImportError as error:
        raise ModelError(
            f"{source}: {error.name} is not installed", "pip install 'tiem[remote]'"
        ) from error
    return connect(source, facts.output_name, connection), Facts()
