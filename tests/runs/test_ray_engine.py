"""Workers on a real Ray of several machines, all of which are this one."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiemcli import __version__
from tiemcli.errors import ClipError, DeviceError, UsageError
from tiemcli.facts import Facts
from tiemcli.outputs.atomic import replacing
from tiemcli.request import Request
from tiemcli.runs.engine import Event, Failure, Item, Lost, Ready, Refused, Staged
from tiemcli.runs.ray_cluster import join, largest_part
from tiemcli.runs.ray_engine import RayEngine, _end
from tiemcli.settings import Settings

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from ray import cloudpickle
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow  # Ray takes seconds to start

STORE = 100 << 20
LONG = 60
HOST = socket.gethostname()
Receive, Tell = Callable[[], Item | None], Callable[[Event], None]
# Workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head of two CPUs, joined by this process."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": STORE}
    )
    ray.init(cluster.address, log_to_driver=False, logging_level="critical")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def engine(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., RayEngine]]:
    """Make engines whose workers do what they are given, and close them in the end."""
    made = []

    def make(work: Callable[[Request, Receive, Tell], None], workers: int = 1) -> RayEngine:
        made.append(RayEngine(request(tmp_path), tmp_path, workers=workers, work=work))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def request(folder: Path, **changes: Any) -> Request:
    model = folder / "net.onnx"
    model.touch()
    known = {"model": model, "device": "cpu", "facts": Facts(), "settings": Settings()}
    return Request(**(known | {"batch_size": None, "force": False} | changes))


def echo(request: Request, receive: Receive, tell: Tell) -> None:
    """Say which process this is, then fail every clip."""
    tell(Ready((str(os.getpid()),)))
    while (item := receive()) is not None:
        tell(Staged(item.clip.name, 7))
        tell(Failure(item, ClipError("no", "yes")))


def item(name: str) -> Item:
    return Item(Path(name), Path("out") / name)


def hear(engine: RayEngine, *, until: int) -> list[tuple[Any, Event]]:
    """At least so many events."""
    told: list[tuple[Any, Event]] = []
    deadline = time.monotonic() + LONG
    while len(told) < until:
        assert time.monotonic() < deadline, told
        told += engine.wait(0.2)
    return told


def of(worker: Any, told: list[tuple[Any, Event]]) -> list[Event]:
    return [event for speaker, event in told if speaker is worker]


def process(event: Event) -> int:
    assert isinstance(event, Ready), event
    return int(event.notes[0])


def wait_for_end(process: int, engine: RayEngine | None = None) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
        if engine is not None:
            assert engine.wait(0.05) == []


def test_a_worker_tells_of_its_clips_in_their_order(engine: Callable[..., RayEngine]) -> None:
    """Ready comes first, and then each clip in the order in which they were sent."""
    engine = engine(echo)
    worker = engine.start()
    items = [item(f"{number}.mp4") for number in range(20)]
    for each in items:
        worker.send(each)
    events = of(worker, hear(engine, until=41))
    assert isinstance(events[0], Ready)
    assert [event.name for event in events[1::2]] == [each.clip.name for each in items]
    assert [event.item for event in events[2::2]] == items
    assert str(events[2].error) == "no (yes)"


def test_workers_work_side_by_side(engine: Callable[..., RayEngine], tmp_path: Path) -> None:
    """Two workers are two processes, and neither waits for the other."""

    def meet(request: Request, receive: Receive, tell: Tell) -> None:
        (tmp_path / f"here-{os.getpid()}").touch()
        while len(list(tmp_path.glob("here-*"))) < 2:
            time.sleep(0.05)
        tell(Ready((str(os.getpid()),)))

    engine = engine(meet, workers=2)
    first, second = engine.start(), engine.start()
    told = hear(engine, until=2)
    assert {speaker for speaker, _ in told} == {first, second}
    assert len({process(event) for _, event in told}) == 2


def test_a_killed_process_is_a_lost_worker(engine: Callable[..., RayEngine]) -> None:
    """Its worker is told to be lost, with the machine's name; the others go on, and a new one can
    take its place."""
    engine = engine(echo, workers=2)
    victim, other = engine.start(), engine.start()
    processes = {speaker: process(event) for speaker, event in hear(engine, until=2)}
    os.kill(processes[victim], signal.SIGKILL)
    victim.send(item("a.mp4"))
    ((speaker, event),) = hear(engine, until=1)
    assert speaker is victim
    assert event == Lost(f"crashed or was killed on {HOST}")
    other.send(item("b.mp4"))
    assert {speaker for speaker, _ in hear(engine, until=2)} == {other}
    another = engine.start()
    another.send(item("a.mp4"))
    assert isinstance(of(another, hear(engine, until=3))[-1], Failure)


def test_the_workers_of_a_lost_machine_are_lost(
    engine: Callable[..., RayEngine], cluster: Cluster
) -> None:
    """They are told to be lost with the machine's name; those of the other machines go on."""
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    engine = engine(echo, workers=3)
    workers = {engine.start() for _ in range(3)}
    hear(engine, until=3)
    cluster.remove_node(node, allow_graceful=False)
    ((lost, event),) = hear(engine, until=1)
    assert event == Lost(f"was cut off on {HOST}, which may have left the cluster")
    workers.remove(lost)
    for worker in workers:
        worker.send(item("a.mp4"))
    assert {speaker for speaker, _ in hear(engine, until=4)} == workers


def test_what_ray_says_of_lost_workers_becomes_half_a_sentence() -> None:
    """Its memory monitor names itself; a worker that never began has no machine yet."""
    short = ray.exceptions.OutOfMemoryError("3 pages")
    assert _end(short, "vm") == Lost("was killed on vm, as Ray does when memory runs out")
    died = ray.exceptions.ActorDiedError()
    assert _end(died, None) == Lost("crashed or was killed before it had begun")


@pytest.mark.parametrize("hold", [True, False], ids=["busy", "idle"])
def test_a_worker_is_killed_whatever_it_does(
    engine: Callable[..., RayEngine], *, hold: bool
) -> None:
    """Even one that never lets go of the interpreter is gone at once, and is not heard of again."""

    def hang(request: Request, receive: Receive, tell: Tell) -> None:
        tell(Ready((str(os.getpid()),)))
        time.sleep(0.5)  # until that is told
        if hold:
            re.match("(a+)+$", "a" * 60 + "b")
        receive()

    engine = engine(hang)
    worker = engine.start()
    ((_, ready),) = hear(engine, until=1)
    time.sleep(1)
    worker.kill()
    wait_for_end(process(ready))
    assert engine.wait(1) == []


def test_closing_lets_workers_tidy_up(engine: Callable[..., RayEngine], tmp_path: Path) -> None:
    """What they were writing is removed, nothing else appears, and none of them is left."""

    def write(request: Request, receive: Receive, tell: Tell) -> None:
        with replacing(tmp_path / "half.txt") as part:
            part.write_text("half")
            tell(Ready((str(os.getpid()),)))
            while True:
                time.sleep(0.05)

    before = set(tmp_path.iterdir())
    engine = engine(write, workers=2)
    engine.start(), engine.start()
    ready = [event for _, event in hear(engine, until=2)]
    during = set(tmp_path.iterdir())
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 5
    assert len(during) >= len(before) + 2
    assert set(tmp_path.iterdir()) == before | {tmp_path / "net.onnx"}
    for event in ready:
        wait_for_end(process(event))


def test_a_worker_ends_after_the_last_clip(engine: Callable[..., RayEngine]) -> None:
    """None lets it finish what it has; that it ends is no loss."""
    engine = engine(echo)
    worker = engine.start()
    worker.send(item("a.mp4"))
    worker.send(None)
    events = of(worker, hear(engine, until=3))
    wait_for_end(process(events[0]), engine)
    assert engine.wait(0.2) == []


def test_workers_have_what_the_driver_has(
    engine: Callable[..., RayEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its folder, its variables that are tiem's, and threads for their share of the CPUs."""
    monkeypatch.setenv("TIEM_TOKEN", "secret")
    monkeypatch.setenv("OTHER", "unknown")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)

    def tell_all(request: Request, receive: Receive, tell: Tell) -> None:
        known = [os.environ.get(name, "") for name in ("TIEM_TOKEN", "OTHER", "OMP_NUM_THREADS")]
        tell(Ready((os.getcwd(), *known)))

    engine = engine(tell_all)
    engine.start()
    ((_, event),) = hear(engine, until=1)
    assert event == Ready((str(tmp_path), "secret", "", "2"))


def test_another_version_of_tiem_ends_the_run(
    engine: Callable[..., RayEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both versions are named."""
    engine = engine(echo)
    monkeypatch.setattr("tiemcli.runs.ray_engine.__version__", "0.0.1")
    engine.start()
    ((_, event),) = hear(engine, until=1)
    assert isinstance(event, Refused)
    assert event.error.message == f"{HOST} has tiem {__version__}, this machine 0.0.1"
    assert event.error.exit_code == 3


def test_a_machine_without_tiem_ends_the_run(
    engine: Callable[..., RayEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be imported there is named."""

    class Seat:
        def __init__(self, version: str, orders: bytes) -> None: ...
        def host(self) -> str: ...

    absent = types.ModuleType("absent")
    monkeypatch.setitem(sys.modules, "absent", absent)
    absent.Seat, Seat.__module__, Seat.__qualname__ = Seat, "absent", "Seat"
    monkeypatch.setattr("tiemcli.runs.ray_engine.Seat", Seat)
    engine = engine(echo)
    engine.start()
    ((_, event),) = hear(engine, until=1)
    assert isinstance(event, Refused)
    assert "No module named 'absent'" in event.error.message
    assert "same tiem" in event.error.hint


@pytest.mark.parametrize("gone", ["net.onnx", ".ray-*"], ids=["network", "results"])
def test_a_machine_that_sees_other_files_ends_the_run(
    engine: Callable[..., RayEngine], tmp_path: Path, gone: str
) -> None:
    """It is named, with the path that it lacks."""
    engine = engine(echo)
    (path,) = tmp_path.glob(gone)
    path.unlink()
    engine.start()
    ((_, event),) = hear(engine, until=1)
    assert isinstance(event, Refused)
    assert event.error.message == f"{path} is not on {HOST}"


def test_a_busy_cluster_is_told_of(
    engine: Callable[..., RayEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker that waits for others to be done says so once, and begins when they are."""
    monkeypatch.setattr("tiemcli.runs.ray_engine.ODD", 0.5)
    first, said = engine(echo), []
    first.start()
    hear(first, until=1)
    second = RayEngine(request(tmp_path), tmp_path, workers=1, say=said.append, work=echo)
    second.start()
    for _ in range(10):
        assert second.wait(0.2) == []
    assert said == ["a worker waits until the cluster has 2 CPUs to spare; see: ray status"]
    first.close()
    assert isinstance(hear(second, until=1)[0][1], Ready)
    second.close()


def test_each_gpu_has_a_worker(cluster: Cluster, tmp_path: Path) -> None:
    """On a machine that Ray takes to have two GPUs each worker sees one, and may have its CPUs."""

    def look(request: Request, receive: Receive, tell: Tell) -> None:
        seen = (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"])
        tell(Ready(seen))

    node = cluster.add_node(num_cpus=6, num_gpus=2, object_store_memory=STORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        engine = RayEngine(request(tmp_path, device="auto"), tmp_path, work=look)
    assert engine.workers == 2
    engine.start(), engine.start()
    assert {event.notes for _, event in hear(engine, until=2)} == {("0", "3"), ("1", "3")}
    engine.close()
    cluster.remove_node(node)


def test_devices_that_are_not_there(cluster: Cluster, tmp_path: Path) -> None:
    """CUDA needs a GPU in the cluster, and which one is Ray's to choose."""
    with pytest.raises(DeviceError, match="the Ray cluster has no GPU"):
        RayEngine(request(tmp_path, device="cuda"), tmp_path)
    with pytest.raises(UsageError, match="use --device cuda"):
        RayEngine(request(tmp_path, device="cuda:1"), tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "net.onnx"]


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(any),
    st.integers(1, 200),
)
def test_parts_fit_into_machines(sizes: list[int], count: int) -> None:
    """So many parts of the size that is found fit, none over two machines, and a larger whole one
    would not."""
    part = largest_part(sizes, count)
    assert sum(int(size / part + 1e-9) for size in sizes) >= count
    if part >= 1:
        assert part == int(part)
        assert sum(size // (part + 1) for size in sizes) < count


def test_no_ray_is_said_with_what_to_do(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, where Ray itself would try for minutes; what is no address is the user's mistake."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(DeviceError, match=f"--address {dead}: no Ray .* ray start --head"):
            join(dead)
        monkeypatch.setenv("RAY_ADDRESS", dead)
        with pytest.raises(DeviceError, match=f"--address auto: no Ray at {dead}"):
            join("auto")
    for nonsense in ("nonsense", "ray://127.0.0.1:10001", "host:", ""):
        with pytest.raises(UsageError, match="HOST:PORT"):
            join(nonsense)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'tiem[ray]'")):
        join(None)


def test_another_version_of_ray_is_said_in_a_line(cluster: Cluster) -> None:
    """Ray compares, and names both."""
    code = (
        "import ray, sys; ray.__version__ = '2.0.0'\n"
        "from tiemcli.errors import DeviceError\n"
        "from tiemcli.runs.ray_cluster import join\n"
        "try: join(sys.argv[1])\n"
        "except DeviceError as error: print(error)\n"
    )
    done = run_python(code, cluster.address)
    assert re.fullmatch(r".*ersion mismatch.*2\.0\.0.*install the same Ray.*\n", done.stdout)
    assert done.stderr == ""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
