"""A network asked of MLServer, a server of the Open Inference Protocol, over HTTP and over gRPC."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from inference_server import SCHEMES, InferenceServer, declared
from onnx import TensorProto, helper, numpy_helper

from tiemcli.errors import ClipError, ModelError
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.open_inference import Connection, TooManyClips, connect
from tiemcli.scorers.session import is_out_of_memory

SIZES = [3, 4, 12, 16]
TOKEN = "nobody-may-see-this"
QUICK = Connection(timeout=10, retries=0)
# What the server takes of a message over gRPC: ten clips of 9 kB.
LARGEST_MESSAGE = 100_000


def write_network(path: Path, kind: int = TensorProto.FLOAT, batch: int | None = None) -> Path:
    """Five numbers of a clip, and the same turned round: a Gemm of its means and of their squares."""
    weights = np.random.default_rng(3).normal(size=(3 * 4, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["clip"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[3, 4], keepdims=0),
        helper.make_node("Reshape", ["means", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["logits"]),
        helper.make_node("Neg", ["logits"], ["turned"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch or "N", 5])
        for name in ("logits", "turned")
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("clip", kind, [batch or "N", *SIZES])],
        outputs,
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([batch or -1, 12]), "flat"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


class Server(InferenceServer):
    """One whose networks are told clips of `SIZES`, and answer five numbers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, largest_message=LARGEST_MESSAGE)

    def add(self, name: str, file: Path, **settings: object) -> None:
        usual = {
            "inputs": [declared("clip", "FP32", [-1, *SIZES])],
            "outputs": [declared("logits", "FP32", [-1, 5])],
        }
        super().add(name, file, **(usual | settings))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of several networks for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("networks")
    small = write_network(folder / "small.onnx")
    single = write_network(folder / "single.onnx", batch=1)
    server = Server(folder / "server")
    server.add("small", small)
    server.add("both", small, outputs=[declared(n, "FP32", [-1, 5]) for n in ("logits", "turned")])
    server.add("slow", small, delay=30)
    server.add("single", single, inputs=[declared("clip", "FP32", [1, *SIZES])])
    server.add("unsaid", single)
    server.add("undeclared", small, inputs=[], outputs=[])
    server.add("double", small, inputs=[declared("clip", "FP64", [-1, *SIZES])])
    server.add("flat", small, inputs=[declared("clip", "FP32", [-1, 12])])
    two = [declared("fast", "FP32", [-1, *SIZES]), declared("slow", "FP32", [-1, *SIZES])]
    server.add("two", small, inputs=two)
    for name, kind, datatype in (
        ("bytes", TensorProto.UINT8, "UINT8"),
        ("half", TensorProto.FLOAT16, "FP16"),
    ):
        file = write_network(folder / f"{name}.onnx", kind)
        server.add(name, file, inputs=[declared("clip", datatype, [-1, *SIZES])])
    server.start()
    yield server
    server.kill()


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may kill."""
    server = Server(tmp_path / "server")
    server.add("small", write_network(tmp_path / "small.onnx"))
    server.start()
    yield server
    server.kill()


def some_clips(count: int, dtype: type[np.generic] = np.float32) -> np.ndarray:
    return (np.random.default_rng(5).random((count, *SIZES)) * 200).astype(dtype)


def local_answers(server: Server, name: str, clips: np.ndarray) -> np.ndarray:
    file = server.folder.parent / f"{name}.onnx"
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"clip": clips})[0]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("name", "dtype", "element_type"),
    [
        ("small", np.float32, TensorProto.FLOAT),
        ("half", np.float16, TensorProto.FLOAT16),
        ("bytes", np.uint8, TensorProto.UINT8),
    ],
)
def test_a_server_answers_as_the_runtime_does_here(
    server: Server, scheme: str, name: str, dtype: type[np.generic], element_type: int
) -> None:
    """The same network, asked here and of a server, gives the same numbers to 1e-6."""
    endpoint = connect(server.url(scheme, name), None, QUICK)
    assert endpoint.element_type == element_type
    clips = some_clips(3, dtype)
    answers = endpoint.answers(clips)
    expected = local_answers(server, name, clips)
    assert np.abs(expected).max() > 1
    assert answers == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_endpoint_is_what_the_server_declares(server: Server, scheme: str) -> None:
    """Name, sizes, output and maker come of its metadata; a free size is None."""
    endpoint = connect(server.url(scheme), None, QUICK)
    assert endpoint.name == server.url(scheme)
    assert (endpoint.input, endpoint.output) == ("clip", "logits")
    assert endpoint.dims == (None, *SIZES)
    assert endpoint.largest_batch is None
    assert endpoint.providers[0].startswith("mlserver ")
    assert connect(server.url(scheme, "single"), None, QUICK).largest_batch == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_network_is_known_by_its_address_and_card(server: Server, scheme: str) -> None:
    """The same network has the same identity again, another network another."""
    first, again, other = (
        connect(server.url(scheme, name), None, QUICK).identity
        for name in ("small", "small", "slow")
    )
    assert first == again != other
    assert len(first) == 64


def test_a_version_may_be_named(server: Server) -> None:
    """It is a part of the path; one that is not there is an error."""
    for url in (server.url("http"), server.url("grpc")):
        assert connect(f"{url}/versions/v1", None, QUICK).answers(some_clips(1)).shape == (1, 5)
        with pytest.raises(ModelError, match="'small' of version v2"):
            connect(f"{url}/versions/v2", None, QUICK)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_of_several_outputs_one_is_named(server: Server, scheme: str) -> None:
    """It is the one that is answered; without a name, or with a wrong one, the names are told."""
    url, clips = server.url(scheme, "both"), some_clips(2)
    turned = connect(url, "turned", QUICK).answers(clips)
    assert turned == pytest.approx(-local_answers(server, "small", clips), rel=1e-6)
    for name in (None, "other"):
        with pytest.raises(ModelError, match="logits, turned"):
            connect(url, name, QUICK)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("nowhere", "has no network 'nowhere'"),
        ("two", r"2 inputs \(fast, slow\)"),
        ("undeclared", "no input"),
        ("double", "FP64"),
        ("flat", r"shape \[-1, 12\]"),
    ],
)
def test_a_network_that_takes_no_clip_is_one_line(
    server: Server, scheme: str, name: str, what: str
) -> None:
    """The error says which network, and what it takes instead."""
    with pytest.raises(ModelError, match=what) as error:
        connect(server.url(scheme, name), None, QUICK)
    assert name in error.value.message
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_batch_that_a_server_refuses_is_halved(server: Server, scheme: str) -> None:
    """A network that takes one clip, and says nothing of it, is asked about one at a time."""
    endpoint = connect(server.url(scheme, "unsaid"), None, QUICK)
    clips = some_clips(5)
    with pytest.raises(TooManyClips) as error:
        endpoint.answers(clips)
    assert is_out_of_memory(error.value)
    batching = Batching(4)
    answers = batching.map(5, lambda part: endpoint.answers(clips[part]))
    assert batching.size == 1
    assert answers == pytest.approx(local_answers(server, "small", clips), rel=1e-6)


def test_a_message_that_is_too_long_is_halved(server: Server) -> None:
    """MLServer takes ten such clips in a message over gRPC: sixteen go by eight, at once."""
    endpoint = connect(server.url("grpc"), None, Connection(timeout=10, retries=5))
    clips, batching = some_clips(16), Batching(16)
    began = time.perf_counter()
    answers = batching.map(16, lambda part: endpoint.answers(clips[part]))
    assert batching.size == 8
    assert time.perf_counter() - began < 1
    assert answers == pytest.approx(local_answers(server, "small", clips), rel=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_clip_that_a_server_refuses_fails_alone(server: Server, scheme: str) -> None:
    """A clip of another size is an error of that clip, and the next is answered."""
    endpoint = connect(server.url(scheme), None, QUICK)
    with pytest.raises(ClipError, match="refuses the clip"):
        endpoint.answers(some_clips(1)[:, :2])
    assert endpoint.answers(some_clips(1)).shape == (1, 5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_is_too_slow_is_given_up(server: Server, scheme: str) -> None:
    """One clip ends the run after the timeout; of several, fewer may be faster."""
    endpoint = connect(server.url(scheme, "slow"), None, Connection(timeout=0.5, retries=0))
    began = time.perf_counter()
    with pytest.raises(ModelError, match=r"no answer within 0\.5 s"):
        endpoint.answers(some_clips(1))
    with pytest.raises(TooManyClips):
        endpoint.answers(some_clips(2))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_may_come_back_within_the_retries(short_lived: Server, scheme: str) -> None:
    """A request to a server that was killed is asked again until another stands in its place."""
    connection = Connection(timeout=10, retries=8, wait=0.1)
    endpoint = connect(short_lived.url(scheme), None, connection)
    before = endpoint.answers(some_clips(1))
    short_lived.kill()
    back = threading.Timer(0.5, short_lived.start)
    back.start()
    assert np.array_equal(endpoint.answers(some_clips(1)), before)
    back.join()
    asked = endpoint.asked()
    assert (asked.requests, asked.clips) == (2, 2)
    assert asked.retries > 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_is_gone_ends_the_run(short_lived: Server, scheme: str) -> None:
    """It is the network's error, not the clip's, and says that the command may be repeated."""
    endpoint = connect(short_lived.url(scheme), None, Connection(timeout=5, retries=2, wait=0.05))
    short_lived.kill()
    with pytest.raises(ModelError, match="does not answer") as error:
        endpoint.answers(some_clips(1))
    assert error.value.exit_code == 3
    assert str(short_lived.ports[scheme]) in error.value.message
    assert "goes on where this one stopped" in error.value.hint
    with pytest.raises(ModelError, match="does not answer"):
        connect(short_lived.url(scheme), None, Connection(timeout=5))


def test_the_other_protocol_s_port_is_an_error(server: Server) -> None:
    """HTTP to the port of gRPC, and the other way round."""
    http, grpc = server.ports["http"], server.ports["grpc"]
    with pytest.raises(ModelError, match=str(grpc)):
        connect(f"http://127.0.0.1:{grpc}/v2/models/small", None, QUICK)
    with pytest.raises(ModelError, match=str(http)):
        connect(f"grpc://127.0.0.1:{http}/small", None, QUICK)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_thread_may_ask(server: Server, scheme: str) -> None:
    """One endpoint, asked from several threads at once and from that which connected."""
    endpoint = connect(server.url(scheme), None, QUICK)
    clips = some_clips(6)
    expected = endpoint.answers(clips)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda i: endpoint.answers(clips[i : i + 1]), range(6)))
    assert np.concatenate(answers) == pytest.approx(expected, rel=1e-6)
    assert np.array_equal(endpoint.answers(clips), expected)


SPAWNED = """
import multiprocessing, sys
import numpy as np
from tiemcli.scorers.open_inference import connect

def ask(url):
    return connect(url, None).answers(np.ones((2, 3, 4, 12, 16), np.float32)).tolist()

if __name__ == "__main__":
    here = ask(sys.argv[1])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(ask, sys.argv[1:])
    sys.exit(here != there)
"""

ASKING = """
import sys
import numpy as np
from tiemcli.scorers.open_inference import connect

endpoint = connect(sys.argv[1], None)
print("asking", flush=True)
endpoint.answers(np.ones((1, 3, 4, 12, 16), np.float32))
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_process_of_its_own_may_ask(server: Server, scheme: str, tmp_path: Path) -> None:
    """A worker that is spawned by a process which is connected itself gets the same answers."""
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    command = [sys.executable, script, server.url(scheme)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_interrupt_ends_the_waiting(server: Server, scheme: str) -> None:
    """Ctrl-C while a server takes its time is Python's KeyboardInterrupt, at once."""
    process = subprocess.Popen(
        [sys.executable, "-c", ASKING, server.url(scheme, "slow")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asking\n"
    time.sleep(0.3)
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=30)
    assert time.perf_counter() - began < 5
    assert process.returncode == -signal.SIGINT
    assert talk.count("KeyboardInterrupt\n") == 1


@pytest.fixture
def tiem(tmp_path: Path, bikes: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs `tiem explain` on a clip, with a token that nobody may see."""

    def run(*words: object, command: str = "explain") -> subprocess.CompletedProcess[str]:
        given = [sys.executable, "-m", "tiemcli", command, *words]
        done = subprocess.run(
            [str(word) for word in given],
            cwd=tmp_path,
            env=os.environ | {"TIEM_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
            assert TOKEN.encode() not in path.read_bytes()
        assert TOKEN not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_a_clip_is_explained_alike_here_and_by_a_server(
    server: Server, tiem: Callable[..., subprocess.CompletedProcess[str]], bikes: Path
) -> None:
    """The same masks, scores to 1e-5, and at the end what asking took, which the result has too."""
    quick = ("--backend", "finite-difference", "--queries", 60, "--json", "--output", "logits")
    places = [server.folder.parent / "small.onnx", *map(server.url, SCHEMES)]
    results = []
    for place in places:
        out = ("--output-name", "logits", "-o", f"out-{len(results)}", "--format", "json,npz")
        done = tiem(bikes, "-m", place, *quick, *out)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout)["results"][0])
        told = re.search(r"(\d+) requests of (\d+) clips: .* ms a clip", done.stderr)
        asked = results[-1]["cost"]["asked"]
        if "//" not in str(place):
            assert (told, asked) == (None, None)
        else:
            assert told is not None, done.stderr
            assert [int(told[1]), int(told[2])] == [asked["requests"], asked["clips"]]
            assert asked["clips"] > 60
    here, *there = results
    for result in there:
        for part, name in (("target", "score"), ("base", "score"), ("temporal", "importance")):
            assert result[part][name] == pytest.approx(here[part][name], abs=1e-5)
        for ours, theirs in zip(here["masks"], result["masks"], strict=True):
            assert theirs["score"] == pytest.approx(ours["score"], abs=1e-5)
            assert theirs["frame_areas"] == pytest.approx(ours["frame_areas"], abs=1e-5)


def test_a_folder_is_explained_by_a_server_at_the_rate_that_is_allowed(
    server: Server,
    tiem: Callable[..., subprocess.CompletedProcess[str]],
    bikes: Path,
    tmp_path: Path,
) -> None:
    """Of all workers together; a clip that is none is a failure as ever."""
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(bikes, tmp_path / "clips" / name)
    (tmp_path / "clips" / "c.mp4").write_bytes(b"no clip")
    quick = ("--queries", 4, "--windows", "1", "--format", "json", "--batch-size", 4, "-o", "out")
    began = time.monotonic()
    done = tiem("clips", "-m", server.url("grpc"), *quick, "--workers", 2, "--rate", 10, "--jsonl")
    seconds = time.monotonic() - began
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    requests = sum(record["cost"]["asked"]["requests"] for record in records if "cost" in record)
    assert requests >= 4
    assert seconds > (requests - 2) / 10


@pytest.mark.parametrize(
    ("place", "options", "code", "reason"),
    [
        ("{http}/v2/models/none", (), 3, "has no network 'none'"),
        ("http://127.0.0.1:1/v2/models/small", (), 3, "does not answer"),
        ("{http}/small", (), 2, "names no network of a server"),
        ("{http}/v2/models/small", ("--precision", "half"), 2, "--precision half"),
        ("{http}/v2/models/small", ("--custom-ops", "x.so"), 2, "is no ONNX file"),
        ("{http}/v2/models/small", ("--backend", "autograd"), 3, "only the network's answers"),
        ("{http}/v2/models/small", ("--rate", "0"), 2, "--rate 0"),
    ],
)
def test_what_cannot_be_asked_of_a_server_is_one_line(
    place: str,
    options: tuple[str, ...],
    code: int,
    reason: str,
    server: Server,
    tiem: Callable[..., subprocess.CompletedProcess[str]],
    bikes: Path,
    tmp_path: Path,
) -> None:
    """And nothing is written."""
    url = place.format(http=f"http://127.0.0.1:{server.ports['http']}")
    done = tiem(bikes, "-m", url, "-o", "out", "--retries", 0, *options)
    assert done.returncode == code, done.stderr
    assert reason in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*"))


def test_a_server_that_goes_ends_the_run_and_its_return_goes_on(
    short_lived: Server,
    tiem: Callable[..., subprocess.CompletedProcess[str]],
    bikes: Path,
    tmp_path: Path,
) -> None:
    """With exit code 3; the clip that was finished stays."""
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(bikes, tmp_path / "clips" / name)
    words = (
        "clips",
        "-m",
        short_lived.url("grpc"),
        "--format",
        "json",
        "-o",
        "out",
        "--retries",
        0,
    )

    def kill() -> None:
        while not (tmp_path / "out" / "a.tiem.json").exists():
            time.sleep(0.01)
        short_lived.kill()

    with ThreadPoolExecutor() as beside:
        killed = beside.submit(kill)
        done = tiem(*words, "--queries", 3000)
        killed.result()
    assert done.returncode == 3, done.stderr
    assert "the same command goes on" in done.stderr
    first = (tmp_path / "out" / "a.tiem.json").read_bytes()
    assert not (tmp_path / "out" / "b.tiem.json").exists()
    short_lived.start()
    assert tiem(*words, "--queries", 3000).returncode == 0
    assert (tmp_path / "out" / "a.tiem.json").read_bytes() == first


def test_a_server_is_inspected_compared_and_evaluated(
    server: Server, tiem: Callable[..., subprocess.CompletedProcess[str]], bikes: Path
) -> None:
    """As a file is; a method that needs gradients says so."""
    url = server.url("grpc")
    assert "only its answers are known" in tiem(url, command="inspect").stdout
    methods = ("--methods", "tiem,random,gradient", "--queries", 20, "--json")
    done = tiem(bikes, "-m", url, *methods, command="compare")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert [row["method"] for row in document["rows"]] == ["tiem", "random"]
    assert "only the network's answers are known" in document["failures"][0]["error"]
    assert tiem(bikes, "-m", url, "--queries", 20, "--format", "json,npz").returncode == 0
    done = tiem("bikes.tiem.json", "--steps", 4, command="evaluate")
    assert done.returncode == 0, done.stderr
