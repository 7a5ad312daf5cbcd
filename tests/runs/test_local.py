"""Workers that are processes: what a clip or a network does to one, and what is left of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

# A network that does to its process what the brightness of the clip says.
NETWORK = """
import os, signal, time

def predict(clips):
    for brightness in clips.mean(axis=(1, 2, 3, 4)).round():
        if brightness == 200:
            os.kill(os.getpid(), signal.SIGSEGV)
        if brightness == 210:
            os.kill(os.getpid(), signal.SIGKILL)
        if brightness == 220:
            time.sleep(1000)
    return clips.reshape(len(clips), -1)[:, :2].astype(float) + 1

predict.tiem = {"frames": 4, "size": 8}
"""
FATE = {"plain": 30, "segfault": 200, "killed": 210, "sleeps": 220}
QUICK = ("--queries", 2, "--format", "json", "--base", "black")


def record(path: Path, brightness: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
        for _ in range(4):
            image = np.full((16, 16, 3), brightness, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def network(tmp_path: Path) -> str:
    (tmp_path / "network.py").write_text(NETWORK)
    return "python:network.py:predict"


def is_alive(process: psutil.Process) -> bool:
    """Whether it still does something; where nobody reaps orphans, they stay on as zombies."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def wait_for_end(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def outcomes(stdout: str) -> dict[str, str]:
    """Each clip's reason, empty for a result."""
    document = json.loads(stdout)
    results = {Path(result["clip"]["path"]).stem: "" for result in document["results"]}
    return results | {Path(f["path"]).stem: f["error"] for f in document["failures"]}


def test_a_clip_that_ends_its_process_is_one_failure(
    tiem: Run, network: str, tmp_path: Path
) -> None:
    """A crash, a kill by the system and a hang: each has its reason, all other clips a result."""
    (tmp_path / "in").mkdir()
    order = ["a plain", "b segfault", "c plain", "d killed", "e sleeps", "f plain", "g plain"]
    for name in order:
        record(tmp_path / "in" / f"{name}.mkv", FATE[name[2:]])
    done = tiem("explain", "in", "-m", network, "-o", "out", *QUICK, "--timeout", 10, "--json")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    told = outcomes(done.stdout)
    assert {name[2:] for name in order if not told[name]} == {"plain"}
    assert "crashed (SIGSEGV)" in told["b segfault"]
    assert "was killed" in told["d killed"]
    assert "not explained after 10 s" in told["e sleeps"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    results = {f"{name}.tiem.json" for name in order if "plain" in name}
    assert written == results | {"summary.json", "summary.jsonl"}


def test_a_crash_while_the_network_is_loaded_is_one_line(tiem: Run, tmp_path: Path) -> None:
    """With the exit code of a network that cannot be used."""
    (tmp_path / "network.py").write_text("import os\nos.abort()")
    clip = record(tmp_path / "clip.mkv", 30)
    model = ("-m", "python:network.py:predict", "--frames", 4, "--size", 8)
    done = tiem("explain", clip, *model, "-o", "out")
    assert done.returncode == 3
    assert "crashed (SIGABRT)" in done.stderr.strip().splitlines()[-1]
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_contained_without_isolation(tiem: Run, network: str, tmp_path: Path) -> None:
    """The same results from a thread of the process, which a crash ends."""
    plain = record(tmp_path / "plain.mkv", 30)
    apart = tiem("explain", plain, "-m", network, "-o", "apart", *QUICK, "--json", "-q")
    within = tiem(
        "explain", plain, "-m", network, "-o", "in", *QUICK, "--json", "-q", "--no-isolate"
    )
    assert apart.returncode == within.returncode == 0, within.stderr
    first, second = (json.loads(done.stdout)["results"][0] for done in (apart, within))
    assert first["temporal"] == second["temporal"]
    assert first["masks"] == second["masks"]
    crash = record(tmp_path / "crash.mkv", FATE["segfault"])
    done = tiem("explain", crash, "-m", network, "-o", "in", *QUICK, "--no-isolate")
    assert done.returncode == -signal.SIGSEGV


def test_several_workers_find_the_same(tiem: Run, network: str, tmp_path: Path) -> None:
    """Side by side, each with its own session, told in the order of the clips."""
    (tmp_path / "in").mkdir()
    for number in range(8):
        record(tmp_path / "in" / f"{number}.mkv", 20 + number)
    one = tiem("explain", "in", "-m", network, "-o", "one", *QUICK, "--json")
    two = tiem("explain", "in", "-m", network, "-o", "two", *QUICK, "--json", "--workers", 2)
    assert one.returncode == two.returncode == 0
    first, second = (json.loads(done.stdout)["results"] for done in (one, two))
    assert [r["clip"]["path"] for r in first] == [r["clip"]["path"] for r in second]
    assert [r["masks"] for r in first] == [r["masks"] for r in second]


@pytest.fixture
def sleeping(network: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose worker hangs in its second clip, the first being done."""
    (tmp_path / "in").mkdir()
    record(tmp_path / "in" / "a.mkv", FATE["plain"])
    record(tmp_path / "in" / "b.mkv", FATE["sleeps"])
    command = [sys.executable, "-m", "tiemcli", "explain", "in", "-m", network, "-o", "out"]
    process = subprocess.Popen(
        [*command, *map(str, QUICK)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "a.tiem.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    yield process
    process.kill()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_workers_and_says_how_to_go_on(
    ending: signal.Signals, sleeping: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Ctrl-C reaches the whole group of processes, `kill` the first alone."""
    workers = psutil.Process(sleeping.pid).children(recursive=True)
    if ending == signal.SIGINT:
        os.killpg(sleeping.pid, ending)
    else:
        sleeping.send_signal(ending)
    _, stderr = sleeping.communicate(timeout=60)
    assert sleeping.returncode == 130
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    wait_for_end(workers)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["stopped"] == "interrupted"
    assert [entry["clip"] for entry in summary["results"]] == ["in/a.mkv"]
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"a.tiem.json", "summary.json", "summary.jsonl"}


def test_workers_do_not_outlive_a_run_that_is_killed(
    network: str, tmp_path: Path, build_network: Callable[..., Path]
) -> None:
    """They notice, at the latest with the clip that they are at, and leave nothing half-written."""
    clips = [record(tmp_path / f"{number}.mkv", 20 + number) for number in range(40)]
    command = [sys.executable, "-m", "tiemcli", "explain", *clips, "-m", network, "-o", "out"]
    process = subprocess.Popen([*map(str, command), *map(str, QUICK)], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*.tiem.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    wait_for_end(workers)
    for path in (tmp_path / "out").glob("*.tiem.json"):
        json.loads(path.read_text())
