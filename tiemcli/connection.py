"""Where a server is, and on what terms it is asked."""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from tiemcli.errors import ModelError, UsageError, first_line

_LONGEST = 2000  # characters of an error that are looked at; some repeat the clips they were sent
_FORM = "give http://HOST:PORT/v2/models/NAME or grpc://HOST:PORT/NAME"
_MODEL = re.compile(r"(?P<base>.*)/v2/models/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?/?")
_SHORT = re.compile(r"(?P<base>)/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?/?")


def _from_environment(variable: str) -> str | None:
    return os.environ.get(variable, "").strip() or None


@dataclass(frozen=True)
class Connection:
    """The terms on which a server is asked.

    timeout: seconds that one request may take. retries: of a request that a server is too busy for,
    or that it does not receive. rate: requests a second at most, None for no limit. wait: seconds
    before the first retry, twice as many before each further one. token: sent as `Authorization:
    Bearer`; never shown. ca: a file of the certificate authorities to trust, None for the system's.
    """

    timeout: float = 60.0
    retries: int = 5
    rate: float | None = None
    wait: float = 1.0
    token: str | None = field(default_factory=lambda: _from_environment("TIEM_TOKEN"), repr=False)
    ca: str | None = field(default_factory=lambda: _from_environment("TIEM_CA"))

    def __post_init__(self) -> None:
        for flag, value, fine in (
            ("--request-timeout", self.timeout, self.timeout > 0),
            ("--retries", self.retries, self.retries >= 0),
            ("--rate", self.rate, self.rate is None or self.rate > 0),
        ):
            if not fine:
                raise UsageError(f"{flag} {value:g}", "give a number above 0, or leave it out")

    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}

    def words(self, error: BaseException | str) -> str:
        """One line of what a server or a library said, which may repeat what it was sent."""
        text = str(error) or type(error).__name__
        hidden = text if self.token is None else text.replace(self.token, "***")
        return first_line(Exception(hidden[:_LONGEST]))


@dataclass(frozen=True)
class Address:
    """A network of a server.

    scheme: http, https, grpc or grpcs. server: its host, with the port if one is said. base: what
    precedes /v2 in its paths. version: empty for the one that the server chooses.
    """

    url: str
    scheme: str
    server: str
    base: str
    model: str
    version: str

    @property
    def secure(self) -> bool:
        return self.scheme.endswith("s")

    @property
    def over_grpc(self) -> bool:
        return self.scheme.startswith("grpc")


def parse_address(url: str) -> Address:
    """The address that a URL names. Raises UsageError, which never repeats a password."""
    parts = urlsplit(url)
    server = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{server}{parts.path}"
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"-m {shown} comes with a password or a query",
            "leave it out, and put a token into the environment variable TIEM_TOKEN",
        )
    over_grpc = parts.scheme.startswith("grpc")
    found = _MODEL.fullmatch(parts.path) or (_SHORT.fullmatch(parts.path) if over_grpc else None)
    if found is None or not _is_server(parts) or (over_grpc and (found["base"] or not parts.port)):
        raise UsageError(f"-m {shown} names no network of a server", _FORM)
    return Address(
        url=url,
        scheme=parts.scheme,
        server=server,
        base=found["base"],
        model=unquote(found["model"]),
        version=found["version"] or "",
    )


def check(connection: Connection, address: Address) -> None:
    """Raises ModelError where a token would be readable on its way, or a file is not there."""
    token = connection.token
    if token is not None:
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ModelError(
                "TIEM_TOKEN holds what no token does: a space, a line break or an odd character",
                "set it to the bare token",
            )
        if not address.secure and not _is_here(address.server):
            raise ModelError(
                f"TIEM_TOKEN would cross the network to {address.server} for all to read",
                "use https:// or grpcs://, a tunnel to localhost, or unset TIEM_TOKEN",
            )
    if connection.ca is not None and not Path(connection.ca).is_file():
        raise ModelError(
            f"TIEM_CA: there is no file {connection.ca}", "set it to a PEM file of certificates"
        )


def _is_server(parts: SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _is_here(server: str) -> bool:
    host = urlsplit(f"//{server}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
