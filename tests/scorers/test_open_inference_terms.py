"""The terms on which a server is asked: retries, pace, time, tokens and certificates.

MLServer has no TLS and no limits of its own, so that small servers stand in for it here.
"""

import datetime
import ipaddress
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tiemcli.errors import ClipError, ModelError, UsageError
from tiemcli.facts import Facts
from tiemcli.scorers import loading
from tiemcli.scorers.endpoint import Asked
from tiemcli.scorers.open_inference import Connection, TooManyClips, connect
from tiemcli.scorers.remote.pace import Pace

TOKEN = "s3cret-token"
CLIP = np.ones((1, 3, 2, 2, 2), np.float32)
CARD = {
    "name": "small",
    "versions": ["1"],
    "platform": "test",
    "inputs": [{"name": "clip", "datatype": "FP32", "shape": [-1, 3, 2, 2, 2]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 1]}],
}
QUICK = Connection(timeout=5, retries=3, wait=0.01)

Reply = tuple[int, bytes]


class SmallServer(ThreadingHTTPServer):
    """Answers the sum of each clip, as bytes, if the protocol's binary extension is asked for.

    script: replies to the next requests for answers, which come before any of its own. wants: the
    Authorization header that every request needs. asked: when answers were asked for.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SmallHandler)
        self.script: list[Reply] = []
        self.wants: str | None = None
        self.delay = 0.0
        self.clips = 0
        self.asked: list[float] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client may hang up."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v2/models/small"


class SmallHandler(BaseHTTPRequestHandler):
    server: SmallServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        known = {
            "/v2": {"name": "small", "version": "1", "extensions": ["binary_tensor_data"]},
            "/v2/models/small": CARD,
            "/v2/models/small/config": {"max_batch_size": 8},
            "/v2/models/small/stats": {
                "model_stats": [
                    {
                        "inference_count": self.server.clips,
                        "inference_stats": {"success": {"ns": self.server.clips * 2_000_000}},
                    }
                ]
            },
        }
        if self.path in known:
            self._reply(200, json.dumps(known[self.path]).encode())
        else:
            self._reply(404, b'{"error": "no such thing"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v2/models/small/infer":
            self._reply(404, b'{"error": "no such thing"}')
            return
        self.server.asked.append(time.monotonic())
        if self.server.script:
            self._reply(*self.server.script.pop(0))
            return
        time.sleep(self.server.delay)
        length = int(self.headers["Inference-Header-Content-Length"])
        (fed,) = json.loads(body[:length])["inputs"]
        clips = np.frombuffer(body[length:], np.float32).reshape(fed["shape"])
        scores = clips.reshape(len(clips), -1).sum(axis=1).tobytes()
        self.server.clips += len(clips)
        head = {
            "model_name": "small",
            "outputs": [
                {
                    "name": "scores",
                    "datatype": "FP32",
                    "shape": [len(clips), 1],
                    "parameters": {"binary_data_size": len(scores)},
                }
            ],
        }
        text = json.dumps(head).encode()
        self._reply(200, text + scores, {"Inference-Header-Content-Length": str(len(text))})

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        given = self.headers["Authorization"]
        if self.server.wants is not None and given != self.server.wants:
            status, body = 401, json.dumps({"error": f"{given} is not welcome"}).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[SmallServer]:
    with SmallServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


class SmallServicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The same over gRPC. refusals: status codes of the next requests, with their words."""

    def __init__(self, wants: str | None = None) -> None:
        self.wants = wants
        self.refusals: list[tuple[grpc.StatusCode, str]] = []

    def ServerMetadata(self, request, context):
        return service_pb2.ServerMetadataResponse(name="small", version="1")

    def ModelMetadata(self, request, context):
        given = dict(context.invocation_metadata()).get("authorization")
        if self.wants is not None and given != self.wants:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{given} is not welcome")
        return service_pb2.ModelMetadataResponse(**CARD)

    def ModelInfer(self, request, context):
        if self.refusals:
            context.abort(*self.refusals.pop(0))
        clips = np.frombuffer(request.raw_input_contents[0], np.float32)
        scores = clips.reshape(request.inputs[0].shape[0], -1).sum(axis=1)
        output = service_pb2.ModelInferResponse.InferOutputTensor(
            name="scores", datatype="FP32", shape=[len(scores), 1]
        )
        return service_pb2.ModelInferResponse(
            outputs=[output], raw_output_contents=[scores.tobytes()]
        )


def serve_grpc(
    servicer: SmallServicer, credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.Server, str]:
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, f"127.0.0.1:{port}"


@pytest.fixture
def servicer() -> Iterator[tuple[SmallServicer, str]]:
    servicer = SmallServicer()
    server, host = serve_grpc(servicer)
    yield servicer, f"grpc://{host}/small"
    server.stop(None).wait()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One that signs itself for 127.0.0.1, and its key: two PEM files."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "small")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(signed.public_bytes(encoding))
    (folder / "key.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def secure_urls(server: SmallServer, certificate: tuple[Path, Path]) -> Iterator[dict[str, str]]:
    """Both protocols over TLS, with that certificate and a token wanted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.wants = f"Bearer {TOKEN}"
    signed, key = (file.read_bytes() for file in certificate)
    over_grpc, host = serve_grpc(
        SmallServicer(f"Bearer {TOKEN}"), grpc.ssl_server_credentials([(key, signed)])
    )
    yield {"https": f"https://{server.host}/v2/models/small", "grpcs": f"grpcs://{host}/small"}
    over_grpc.stop(None).wait()


def test_bytes_go_as_bytes_where_the_server_takes_them(server: SmallServer) -> None:
    """A server that names the binary extension is sent no text, and nobody is told that it is slow."""
    endpoint = connect(server.url, None, QUICK)
    clips = np.arange(48, dtype=np.float32).reshape(2, 3, 2, 2, 2)
    assert endpoint.answers(clips).ravel().tolist() == [276, 852]
    assert not any("text" in note for note in endpoint.notes)
    assert any("after a change" in note for note in endpoint.notes)


def test_the_configuration_tells_the_largest_batch(server: SmallServer) -> None:
    """It is Triton's max_batch_size."""
    assert connect(server.url, None, QUICK).largest_batch == 8


def test_what_was_asked_is_counted(server: SmallServer) -> None:
    """Requests, clips, retries, and the time of them that the server says it took."""
    server.clips = 1000
    endpoint = connect(server.url, None, QUICK)
    before = endpoint.asked()
    assert before == Asked()
    server.script = [(503, b"{}")]
    for _ in range(3):
        endpoint.answers(CLIP.repeat(2, axis=0))
    asked = endpoint.asked().since(before)
    assert (asked.requests, asked.clips, asked.retries) == (3, 6, 1)
    assert asked.inside == pytest.approx(6 * 0.002)
    assert asked.seconds > 0


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_busy_server_is_asked_again(server: SmallServer, status: int) -> None:
    """Until it answers; a retry that is the last may be the good one."""
    endpoint = connect(server.url, None, QUICK)
    server.script = [(status, b'{"error": "later"}')] * 3
    assert endpoint.answers(CLIP).item() == 24
    assert len(server.asked) == 4


def test_each_retry_waits_longer(server: SmallServer) -> None:
    """Twice as long as the one before, and up to the first wait more."""
    endpoint = connect(server.url, None, Connection(timeout=5, retries=3, wait=0.1))
    server.script = [(503, b"{}")] * 3
    endpoint.answers(CLIP)
    waits = np.diff(server.asked)
    for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert least <= wait < least + 0.3


def test_a_server_that_stays_busy_ends_the_run(server: SmallServer) -> None:
    """After so many retries, with what it said last."""
    endpoint = connect(server.url, None, QUICK)
    server.script = [(429, b'{"error": "quota exceeded"}')] * 4
    with pytest.raises(ModelError, match="429 quota exceeded"):
        endpoint.answers(CLIP)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((400, b'{"error": "bad clip"}'), "400 bad clip"),
        ((413, b"<html>Request Entity Too Large</html>"), "413 Request Entity Too Large"),
        ((422, b'{"detail": "not\\nunderstood"}'), "422 not understood"),
        ((422, b'{"detail": [' + b"1," * 9999 + b"1]}"), "422 Unprocessable"),
        ((500, b""), "500 client received an empty response"),
        ((599, b"{}"), "599 {}"),
        ((200, b"hello"), "not of this protocol"),
        ((200, b'{"outputs": []}'), "without 'scores'"),
        ((301, b""), "301"),
    ],
)
def test_a_refusal_is_not_repeated(server: SmallServer, reply: Reply, words: str) -> None:
    """It is the clip's error of one short line; of several clips, fewer may be taken."""
    endpoint = connect(server.url, None, QUICK)
    server.script = [reply]
    with pytest.raises(ClipError, match=re.escape(words)) as error:
        endpoint.answers(CLIP)
    assert not isinstance(error.value, TooManyClips)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    server.script = [reply]
    with pytest.raises(TooManyClips, match="4 clips at once"):
        endpoint.answers(CLIP.repeat(4, axis=0))
    assert len(server.asked) == 2
    assert endpoint.answers(CLIP).item() == 24


@pytest.mark.parametrize(("status", "hint"), [(401, "TIEM_TOKEN"), (403, "TIEM_TOKEN"), (404, "")])
def test_a_refusal_of_all_clips_ends_the_run(server: SmallServer, status: int, hint: str) -> None:
    """A token that ran out, or a network that was taken away, is no clip's error."""
    endpoint = connect(server.url, None, QUICK)
    server.script = [(status, b'{"error": "no"}')]
    with pytest.raises(ModelError, match=f"{status} no") as error:
        endpoint.answers(CLIP)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        ("RESOURCE_EXHAUSTED", "quota exceeded", None),
        ("UNAVAILABLE", "later", None),
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (9 vs. 4)", ClipError),
        ("INVALID_ARGUMENT", "bad clip", ClipError),
        ("INTERNAL", "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : bad clip", ClipError),
        ("PERMISSION_DENIED", "no", ModelError),
        ("NOT_FOUND", "no", ModelError),
    ],
)
def test_grpc_s_codes_say_what_is_worth_a_retry(
    servicer: tuple[SmallServicer, str], code: str, words: str, kind: type[Exception] | None
) -> None:
    """Those of a server that is busy or away are; those of a clip or of the network are not."""
    endpoint = connect(servicer[1], None, QUICK)
    servicer[0].refusals = [(grpc.StatusCode[code], words)]
    if kind is None:
        assert endpoint.answers(CLIP).item() == 24
    else:
        with pytest.raises(kind, match=words.split()[-1].strip("()")):
            endpoint.answers(CLIP)
    assert not servicer[0].refusals


def test_requests_keep_their_pace() -> None:
    """Four a second begin a quarter of a second apart; time that passed unused is not made up."""
    now, slept = 100.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(4, clock=lambda: now, sleep=sleep)
    began = []
    for pause in (0, 0, 0.1, 2, 0):
        now += pause
        pace.keep()
        began.append(now)
    assert np.diff(began).round(6).tolist() == [0.25, 0.25, 2, 0.25]
    assert np.round(slept, 6).tolist() == [0.25, 0.15, 0.25]


def test_no_rate_is_no_wait() -> None:
    """Nothing sleeps where nobody limits the rate."""
    pace = Pace(None, clock=lambda: 0.0, sleep=lambda seconds: pytest.fail("slept"))
    for _ in range(3):
        pace.keep()


def test_a_connection_s_rate_is_kept(server: SmallServer) -> None:
    """Of requests for answers, retries and all."""
    endpoint = connect(server.url, None, Connection(rate=20, wait=0.001))
    server.script = [(503, b"{}")]
    began = time.monotonic()
    for _ in range(4):
        endpoint.answers(CLIP)
    earliest = began + np.arange(5) / 20
    assert (server.asked >= earliest).all()


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_certificate_is_checked(
    secure_urls: dict[str, str], scheme: str, certificate: tuple[Path, Path]
) -> None:
    """One that nobody vouches for is refused at once, with TIEM_CA as the way out; that works."""
    url = secure_urls[scheme]
    with pytest.raises(ModelError, match="certificate") as error:
        connect(url, None, Connection(token=TOKEN, ca=None))
    assert "TIEM_CA" in error.value.hint
    trusting = Connection(token=TOKEN, ca=str(certificate[0]))
    assert connect(url, None, trusting).answers(CLIP).item() == 24
    for host in ("localhost", "127.0.0.2"):
        other = url.replace("127.0.0.1", host)
        with pytest.raises(ModelError, match=r"certificate|does not answer"):
            connect(other, None, trusting)


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_the_environment_brings_token_and_certificates(
    secure_urls: dict[str, str],
    scheme: str,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TIEM_TOKEN, with a line break as files end; TIEM_CA, or SSL_CERT_FILE as elsewhere."""
    monkeypatch.setenv("TIEM_TOKEN", f"{TOKEN}\n")
    for variable in ("TIEM_CA", "SSL_CERT_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(certificate[0]))
            assert connect(secure_urls[scheme], None).answers(CLIP).item() == 24


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_wrong_token_is_never_shown(
    secure_urls: dict[str, str], scheme: str, certificate: tuple[Path, Path]
) -> None:
    """Even where the server repeats it; what a connection shows of itself is without it as well."""
    connection = Connection(token="wr0ng-token", ca=str(certificate[0]))
    with pytest.raises(ModelError, match="refuses access") as error:
        connect(secure_urls[scheme], None, connection)
    assert "wr0ng" not in f"{error.value} {error.value.__cause__!r} {connection}"
    assert "TIEM_TOKEN" in error.value.hint


def test_a_token_stays_off_open_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes in clear text to this very machine alone."""
    for url in ("http://example.invalid/v2/models/x", "grpc://example.invalid:1/x"):
        with pytest.raises(ModelError, match="for all to read") as error:
            connect(url, None, Connection(token=TOKEN))
        assert TOKEN not in str(error.value)
    for url in ("http://localhost:1/v2/models/x", "grpc://127.0.0.1:1/x", "grpc://[::1]:1/x"):
        with pytest.raises(ModelError, match="does not answer"):
            connect(url, None, Connection(token=TOKEN))


@pytest.mark.parametrize("token", ["two words", "a\r\nX-Header: b", "tökén"])
def test_what_is_no_token_is_not_sent(token: str) -> None:
    """Nor shown: a library would, as it refuses the header."""
    with pytest.raises(ModelError, match="TIEM_TOKEN") as error:
        connect("http://localhost:1/v2/models/x", None, Connection(token=token))
    assert token not in str(error.value)


def test_a_file_of_authorities_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ModelError, match=r"TIEM_CA.*nothing\.pem"):
        connect(
            "https://localhost:1/v2/models/x", None, Connection(ca=str(tmp_path / "nothing.pem"))
        )


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000",
        "http://localhost:8000/v2/models/",
        "http://localhost:8000/small",
        "http://localhost:80000/v2/models/small",
        "http:///v2/models/small",
        "grpc://localhost/small",
        "grpc://localhost:8001/a/b/c",
        "grpc://localhost:8001/base/v2/models/small",
    ],
)
def test_a_url_that_names_no_network_is_a_usage_error(url: str) -> None:
    """With the form of those that do."""
    with pytest.raises(UsageError, match="names no network") as error:
        connect(url, None)
    assert "/v2/models/NAME" in error.value.hint


def test_a_password_in_a_url_is_refused() -> None:
    """And not repeated."""
    for secret in ("http://me:s3cret@h/v2/models/x", "http://h/v2/models/x?key=s3cret"):
        with pytest.raises(UsageError, match="TIEM_TOKEN") as error:
            connect(secret, None)
        assert "s3cret" not in str(error.value)


def test_a_server_of_something_else_is_an_error(tmp_path: Path) -> None:
    """One that serves files has no networks."""

    class Files(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(ModelError, match="gives no network 'small': 404") as error:
            connect(f"http://127.0.0.1:{server.server_port}/v2/models/small", None, QUICK)
        server.shutdown()
    assert "Open Inference Protocol" in error.value.hint


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `remote`."""
    monkeypatch.delitem(sys.modules, "tiemcli.scorers.open_inference")
    monkeypatch.setitem(sys.modules, "stamina", None)
    with pytest.raises(ModelError, match="stamina") as error:
        loading.find_endpoint("http://localhost:8000/v2/models/small", Facts())
    assert "tiem[remote]" in error.value.hint
