"""Results that cannot be written."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from tiemcli.result import Result

Record = Callable[..., Path]
Explain = Callable[..., subprocess.CompletedProcess[str]]


def whole(folder: Path) -> set[str]:
    """The kinds of files in a folder of results, each of which opens."""
    kinds = set()
    for path in folder.iterdir():
        kinds.add("".join(path.suffixes))
        if path.suffix == ".json":
            Result.model_validate_json(path.read_text())
        else:
            with av.open(path) as container:
                assert any(True for _ in container.decode(video=0))
    return kinds


@pytest.mark.parametrize("size", ["size=4k", "size=8k", "size=1m,nr_inodes=2"])
def test_a_full_disk_is_one_line_and_holds_whole_files_alone(
    size: str, mount: Callable[[str], Path], record: Record, explain: Explain
) -> None:
    """Whether there is room for nothing, for the video alone, or for no other name."""
    disk = mount(size)
    done = explain(record(frames=40), "--style", "heat", out=disk)
    assert done.returncode == 1
    assert "No space left on device — free some space" in done.stderr
    assert ".tiem.json" not in whole(disk)


@pytest.mark.parametrize("blocks", [0, 4])
def test_a_file_that_grows_too_large_is_one_line(
    blocks: int, record: Record, explain: Explain, tmp_path: Path
) -> None:
    """As file systems and quotas have it: here of 512 bytes times `blocks`."""
    done = explain(record(frames=40), limit=f"-f {blocks}")
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert whole(tmp_path / "out") == set()


def test_a_disk_that_is_full_at_last_keeps_what_is_finished(
    mount: Callable[[str], Path], record: Record, explain: Explain, tmp_path: Path
) -> None:
    """Of six clips some are explained, and nothing else has the name of a result."""
    clips = tmp_path / "clips"
    clips.mkdir()
    clip = record()
    for index in range(6):
        shutil.copy(clip, clips / f"{index}.mp4")
    disk = mount("size=48k")
    done = explain(*sorted(clips.iterdir()), out=disk)
    assert done.returncode in (1, 2)
    results = [path for path in disk.iterdir() if path.name.endswith(".tiem.json")]
    assert 0 < len(results) < 6
    for path in results:
        Result.model_validate_json(path.read_text())
        assert path.with_name(path.name.replace(".tiem.json", ".masked.mp4")).exists()


def test_a_folder_that_may_not_be_written_to_is_told_before_any_work(
    mount: Callable[[str], Path], record: Record, explain: Explain, tmp_path: Path
) -> None:
    """A disk that is read-only, a folder on it, a file, and a folder in a file."""
    disk, file = mount("ro"), tmp_path / "file"
    file.touch()
    for out, reason in (
        (disk, "Read-only file system"),
        (disk / "sub", "Read-only file system"),
        (file, "File exists"),
        (file / "sub", "Not a directory"),
    ):
        done = explain(record(), out=out)
        assert done.returncode == 2
        assert f"cannot write into {out}: {reason} — choose another folder" in done.stderr


def test_a_folder_that_is_removed_meanwhile_harms_nothing(
    record: Record, network: Path, tmp_path: Path
) -> None:
    """The result is written all the same, or one line says that it is not."""
    out = tmp_path / "out"
    words = ["explain", record(frames=200), "-m", network, "-o", out, "--device", "cpu"]
    words += ["--backend", "finite-difference", "--queries", 4000, "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tiemcli", *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not out.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    assert process.poll() is None, "it was too quick"
    shutil.rmtree(out)
    _, said = process.communicate(timeout=120)
    lines = [line for line in said.splitlines() if not line.startswith("warning")]
    assert process.returncode in (0, 1)
    assert len(lines) == process.returncode, said
    if process.returncode == 0:
        assert whole(out) == {".masked.mp4", ".tiem.json"}
