"""Runs on a Ray of their own: what they leave, and that their results are those of any run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tiemcli.facts import Facts
from tiemcli.progress import Silent
from tiemcli.request import Request
from tiemcli.runs.claims import Claims, sweep
from tiemcli.runs.engine import Engine, Event, Failure, Finished, Item, Outcome
from tiemcli.runs.local import Processes
from tiemcli.runs.ray_engine import RayEngine
from tiemcli.runs.supervisor import supervise
from tiemcli.runs.worker import work
from tiemcli.settings import Settings

pytest.importorskip("ray", reason="the extra `ray` is not installed")

pytestmark = pytest.mark.slow  # Ray takes seconds to start

LONG = 60
CLIPS = 24

DRIVER = """
import os, signal, sys, time
from pathlib import Path
from tiemcli.facts import Facts
from tiemcli.outputs.atomic import replacing
from tiemcli.request import Request
from tiemcli.runs.engine import Lost, Ready
from tiemcli.runs.ray_engine import RayEngine
from tiemcli.settings import Settings

def work(request, receive, tell):
    with replacing(Path("half.txt")) as part:
        part.write_text("half")
        print("noise", flush=True)
        tell(Ready((str(os.getpid()),)))
        while True:
            time.sleep(0.05)

def hear(kind):
    while True:
        for worker, event in engine.wait(0.2):
            assert isinstance(event, kind), event
            return event

request = Request(Path("net.onnx"), Facts(), Settings(), "cpu", None, False)
engine = RayEngine(request, Path.cwd(), workers=1, work=work)
try:
    engine.start()
    first = int(hear(Ready).notes[0])
    os.kill(first, signal.SIGKILL)
    hear(Lost)
    engine.start()
    print(hear(Ready).notes[0], flush=True)
    engine.wait(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
finally:
    engine.close()
"""


def test_a_ray_of_our_own_is_silent_and_leaves_nothing(tmp_path: Path) -> None:
    """Nothing of Ray's or the workers' is printed, though one is killed; at the terminal's Ctrl-C,
    which reaches all processes in the foreground, the workers tidy up first, and none is left."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert driver.stdout is not None
        worker = driver.stdout.readline().strip()
        time.sleep(2)  # for Ray to tell of the worker that was killed
        started = below(driver.pid)
        assert int(worker) in started
        # That of the killed one is for others to sweep.
        assert len(list(tmp_path.glob(".*.tiem-part.txt"))) == 2
        os.killpg(driver.pid, signal.SIGINT)
        out, err = driver.communicate(timeout=LONG)
    finally:
        driver.kill()
    assert (out, err, driver.returncode) == ("interrupted\n", "", 0)
    assert len(list(tmp_path.iterdir())) == 1
    for process in started:
        wait_for_end(process)


class Heard(Silent):
    """Who follows a run, and remembers what was lost."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def ready(self, notes: Sequence[str]) -> None: ...

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)


def test_a_run_over_ray_gives_what_any_run_gives(
    tmp_path: Path, build_network: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a worker is killed, every clip has the result of a run by one local process, and a clip
    that cannot be read has the same reason."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    for number in range(CLIPS):
        record(Path(f"{number}.mkv"), number)
    Path("broken.mkv").write_bytes(b"no video")
    settings = Settings(
        method="occlusion", areas=(0.2,), windows="dyadic", formats=("json",), base="black"
    )
    request = Request(build_network().name, Facts(), settings, "cpu", 8, False)

    def items(folder: str) -> list[Item]:
        Path(folder).mkdir()
        stems = (*map(str, range(CLIPS)), "broken")
        return [Item(Path(f"{s}.mkv"), Path(folder) / f"{s}.tiem.json") for s in stems]

    def dying(
        request: Request, receive: Callable[[], Item | None], tell: Callable[[Event], None]
    ) -> None:
        """Be a worker that is killed as it takes a certain clip, the first time."""

        def take() -> Item | None:
            item = receive()
            if item is not None and item.clip.name == f"{CLIPS // 2}.mkv":
                with contextlib.suppress(FileExistsError):
                    Path("killed").touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGKILL)
            return item

        work(request, take, tell)

    plain, _ = results(items("local"), Processes(request))
    given = items("ray")
    shared, heard = results(given, RayEngine(request, Path("ray"), workers=2, work=dying))
    [reason] = heard.reasons
    assert reason.startswith("crashed or was killed on ")
    assert len(shared) == CLIPS + 1
    assert shared == plain
    sweep(Path("ray"))
    assert {path.name for path in Path("ray").iterdir()} == {
        path.name for path in Path("local").iterdir()
    }


def results(items: list[Item], engine: Engine) -> tuple[dict[str, Any], Heard]:
    """By clip, what it came to, apart from what differs from run to run."""
    heard, found = Heard(), {}
    with Claims() as claims:
        for outcome in supervise(items, engine, claims, heard):
            found[outcome.item.clip.name] = told(outcome)
    return found, heard


def told(outcome: Outcome) -> Any:
    if isinstance(outcome, Failure):
        return str(outcome.error)
    assert isinstance(outcome, Finished)
    record = json.loads(outcome.result.to_json())  # as one that is kept is read again
    del record["created"], record["cost"]["seconds"]
    return record


def record(path: Path, seed: int) -> None:
    """A clip of noise."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 12, "bgr0"
        for image in random.integers(0, 255, (6, 12, 16, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def below(process: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process}
