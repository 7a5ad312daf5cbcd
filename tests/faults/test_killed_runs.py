"""A folder run that is killed over and over comes to what an undisturbed one comes to."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

Record = Callable[..., Path]
# Clips, of which so many are broken, and how often the run is killed.
FEW, MANY = (24, 3, 2), (300, 10, 5)
LONG = 900  # seconds
FORMATS = ("--format", "json,mp4", "--style", "mask")


def some_and_many(test: Any) -> Any:
    """Run a test with few clips, and when asked for with many."""
    sizes = [FEW, pytest.param(MANY, marks=pytest.mark.long)]
    return pytest.mark.parametrize("sizes", sizes, ids=["few", "many"])(test)


def broken(good: Path) -> list[bytes]:
    """What is no video, in every way that is certain to be none."""
    content = good.read_bytes()
    return [
        b"",
        b"this is no video\n" * 20,
        content[:100],
        content[: content.index(b"moov")],
        bytes(4096),
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        content[:40] + bytes(len(content) - 40),
        b"ID3" + content[::-1],
        b"RIFF" + bytes(60),
        content[len(content) // 2 : len(content) // 2 + 50],
    ]


def fill(folder: Path, record: Record, clips: int, bad: int) -> set[str]:
    """Write so many clips into folders of a folder; which of them, relative to it, are broken."""
    whole = [  # of a size from which on x264 makes the same bytes each time
        record(f"{frames}{suffix}", frames=frames, height=96, width=128)
        for frames in range(6, 16)
        for suffix in (".mp4", ".mkv")
    ]
    lost = set()
    for number in range(clips):
        source = whole[number % len(whole)]
        content = source.read_bytes()
        name = f"{'äöü 映像 '[number % 6]}{number}"
        if number % (clips // bad) == 0:
            content = broken(whole[0])[number // (clips // bad)]
            lost.add(name)
        place = folder / f"{number % 7}" / f"{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}{source.suffix}").write_bytes(content)
    assert len(lost) == bad
    return lost


class Runs:
    """Runs of one command over one folder of clips."""

    def __init__(self, folder: Path, network: Path) -> None:
        self.folder, self.network = folder, network

    def start(self, out: Path, *more: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tiemcli", "explain", self.folder, "-m", self.network]
        command += ["-o", out, "--backend", "finite-difference", "--queries", 20, *FORMATS, *more]
        return subprocess.Popen(
            [*map(str, command), "--device", "cpu"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        told, _ = process.communicate(timeout=LONG)
        assert "Traceback" not in told, told
        return process.returncode, told


def results(out: Path) -> dict[str, dict[str, Any]]:
    """Each result, by its place, without what differs between any two runs."""
    found = {}
    for path in out.rglob("*.tiem.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        video = path.with_name(result["files"]["masked"])
        result |= {"created": None, "video": video.read_bytes()}
        del result["cost"]["seconds"]
        found[str(path.relative_to(out))] = result
    return found


def created(out: Path) -> dict[Path, int]:
    """When each result was written, in nanoseconds: its own time stamp tells no less than a second."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.tiem.json")}


def failures(out: Path, name: str = "summary.json") -> dict[str, str]:
    """Why clips have no result, by the last run."""
    summary = json.loads((out / name).read_text(encoding="utf-8"))
    return {Path(failure["clip"]).stem: failure["error"] for failure in summary["failures"]}


def left_behind(out: Path) -> list[str]:
    """What is no output of tiem's."""
    ours = (".tiem.json", ".masked.mp4", "summary.json", "summary.jsonl")
    return [str(p) for p in out.rglob("*") if p.is_file() and not p.name.endswith(ours)]


def wait_for(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until there are so many results."""
    deadline = time.monotonic() + LONG
    while len(list(out.rglob("*.tiem.json"))) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def undisturbed(
    sizes: tuple[int, int, int], record: Record, network: Path, tmp_path: Path
) -> tuple[Runs, Path]:
    """The clips, and the results of a run that nobody disturbs."""
    clips, bad, _ = sizes
    lost = fill(tmp_path / "clips", record, clips, bad)
    runs, out = Runs(tmp_path / "clips", network), tmp_path / "undisturbed"
    code, told = runs.end(runs.start(out))
    assert code == 1, told
    assert len(results(out)) == clips - bad
    assert set(failures(out)) == lost
    assert all(failures(out).values())
    assert left_behind(out) == []
    return runs, out


@some_and_many
def test_a_run_that_is_killed_and_started_again_loses_nothing(
    sizes: tuple[int, int, int], undisturbed: tuple[Runs, Path], tmp_path: Path
) -> None:
    """Whatever SIGKILL hits, the process, all of its group or a worker, at any moment: what was
    finished stays as it is, and the end is the same."""
    clips, bad, kills = sizes
    runs, wanted = undisturbed
    out, chance = tmp_path / "killed", random.Random(4)
    finished: dict[Path, int] = {}
    for kill in range(kills):
        process = runs.start(out)
        wait_for(out, len(finished) + chance.randint(1, (clips - bad) // (kills + 1)), process)
        time.sleep(chance.uniform(0, 0.05))
        workers = psutil.Process(process.pid).children(recursive=True)
        if kill % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        psutil.wait_procs(workers, timeout=30)
        assert set(finished.items()) <= set(created(out).items())
        finished = created(out)
        assert len(finished) < clips - bad, "it was over before it was killed"
    process = runs.start(out)
    wait_for(out, len(finished) + 1, process)
    for worker in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(worker.cmdline()):
                worker.kill()
    code, told = runs.end(process)
    assert code == 1, told
    assert "its clips are tried again" in told
    assert set(finished.items()) <= set(created(out).items())
    assert results(out) == results(wanted)
    assert failures(out) == failures(wanted)
    assert left_behind(out) == []
    told_of = [json.loads(line)["clip"] for line in (out / "summary.jsonl").open()]
    assert len(set(told_of)) == clips


@some_and_many
def test_two_runs_on_one_folder_share_the_work(
    sizes: tuple[int, int, int], undisturbed: tuple[Runs, Path], tmp_path: Path
) -> None:
    """Each clip is explained once, and both know of every result in the end."""
    clips, bad, _ = sizes
    runs, wanted = undisturbed
    out = tmp_path / "shared"
    both = [runs.start(out), runs.start(out)]
    assert [runs.end(process)[0] for process in both] == [1, 1]
    assert results(out) == results(wanted)
    assert failures(out) == failures(wanted)
    assert left_behind(out) == []
    lines = [json.loads(line) for line in (out / "summary.jsonl").open()]
    explained = [line["clip"] for line in lines if line["status"] == "explained"]
    assert len(explained) == len(set(explained)) == clips - bad


@pytest.mark.slow
@some_and_many
def test_a_ray_worker_that_is_killed_changes_nothing(
    sizes: tuple[int, int, int], undisturbed: tuple[Runs, Path], tmp_path: Path
) -> None:
    """The same folder over a Ray of two workers, one of them lost amid its clips."""
    runs, wanted = undisturbed
    out = tmp_path / "ray"
    process = runs.start(out, "--engine", "ray", "--workers", 2)
    wait_for(out, 4, process)
    seats = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ray::Seat" in " ".join(child.cmdline())
    ]
    assert len(seats) == 2
    seats[0].kill()
    code, told = runs.end(process)
    assert code == 1, told
    # A worker may be done with all of a few clips before it is killed.
    assert sizes == FEW or "its clips are tried again" in told
    assert results(out) == results(wanted)
    assert failures(out) == failures(wanted)
    assert left_behind(out) == []
