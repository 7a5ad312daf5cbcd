"""Claims between processes: exclusive while their process lives, gone with it."""

import errno
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import filelock
import pytest

from tiemcli.errors import OutputError
from tiemcli.runs.claims import Claims, sweep
from tiemcli.runs.engine import Item

TAKE_ALL = """
import sys
from pathlib import Path
from tiemcli.runs.claims import Claims
from tiemcli.runs.engine import Item

folder, count = Path(sys.argv[1]), int(sys.argv[2])
claims = Claims()
for index in range(count):
    assert claims.claim(Item(Path(f"{index}.mp4"), folder / f"{index}.tiem.json"))
"""

# Each clip is to be worked on once at a time: a mark that is there when it is made, or gone when it
# is removed, shows that two hold a claim.
FIGHT = """
import random, sys
from pathlib import Path
from tiemcli.runs.claims import Claims, sweep
from tiemcli.runs.engine import Item

folder, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
items = [Item(Path(f"{index}.mp4"), folder / f"{index}.tiem.json") for index in range(200)]
print("ready", flush=True)
sys.stdin.readline()
won = 0
with Claims() as claims:
    for turn in range(3):
        chance.shuffle(items)
        for item in items:
            if claims.claim(item):
                mark = item.result.with_suffix(".mark")
                mark.open("x").close()
                mark.unlink()
                claims.release(item)
                won += 1
        sweep(folder)
print(won)
"""


def items_of(folder: Path, count: int) -> list[Item]:
    return [Item(Path(f"{i}.mp4"), folder / f"{i}.tiem.json") for i in range(count)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, program: str, *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_of_two_has_a_clip_until_it_gives_it_back(tmp_path: Path) -> None:
    """The folder of the result is made; after the release nothing is left in it."""
    item = Item(Path("a.mp4"), tmp_path / "deep" / "er" / "a.tiem.json")
    with Claims() as one, Claims() as other:
        assert one.claim(item)
        assert not other.claim(item)
        assert [path.name for path in item.result.parent.iterdir()] == [".a.tiemlock"]
        one.release(item)
        assert other.claim(item)
        assert not one.claim(item)
    assert list(item.result.parent.iterdir()) == []


def test_a_lock_has_no_name_any_more_when_it_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another could take it just before the name goes, and a third make a new one beside it."""
    item = Item(Path("a.mp4"), tmp_path / "a.tiem.json")
    there, release = [], filelock.BaseFileLock.release

    def watch(lock: filelock.BaseFileLock, force: bool = False) -> None:
        there.extend(tmp_path.iterdir())
        release(lock, force)

    monkeypatch.setattr(filelock.BaseFileLock, "release", watch)
    with Claims() as claims:
        assert claims.claim(item)
    assert there == []
    assert not filelock.FileLock(tmp_path / ".a.tiemlock").is_locked


def test_two_processes_never_have_one_clip_at_once(tmp_path: Path, stack: ExitStack) -> None:
    """Both take and give back 200 clips, three times each in any order, and sweep meanwhile."""
    fighters = [start(stack, FIGHT, tmp_path, seed) for seed in range(3)]
    assert [line(fighter) for fighter in fighters] == ["ready"] * 3
    for fighter in fighters:
        assert fighter.stdin is not None
        fighter.stdin.write("go\n")
        fighter.stdin.flush()
    won = [int(line(fighter)) for fighter in fighters]
    assert [fighter.wait() for fighter in fighters] == [0, 0, 0]
    assert all(100 < count <= 600 for count in won)
    assert list(tmp_path.iterdir()) == []


def test_claims_end_with_their_process_though_a_child_lives_on(
    tmp_path: Path, stack: ExitStack
) -> None:
    """A process that is killed claims nothing any more, and what it started has inherited nothing."""
    child = "import time; time.sleep(60)"
    process = start(
        stack,
        TAKE_ALL
        + "import subprocess, time\n"
        + f"child = subprocess.Popen([sys.executable, '-c', {child!r}], close_fds=False)\n"
        + "print(child.pid, flush=True)\ntime.sleep(60)\n",
        tmp_path,
        20,
    )
    child_id = int(line(process))
    stack.callback(os.kill, child_id, signal.SIGKILL)
    with Claims() as claims:
        assert not any(claims.claim(item) for item in items_of(tmp_path, 20))
        process.kill()
        process.wait()
        os.kill(child_id, 0)
        assert all(claims.claim(item) for item in items_of(tmp_path, 20))


def test_sweeping_removes_what_the_dead_left_and_spares_the_living(
    tmp_path: Path, stack: ExitStack
) -> None:
    """Locks and half-written files of this folder; nothing else, nor below it."""
    leave = (
        TAKE_ALL
        + "from tiemcli.outputs.atomic import replacing\nimport time\n"
        + "with replacing(folder / 'x.mp4') as part:\n"
        + "    part.write_text('half')\n    print('there', flush=True)\n    time.sleep(60)\n"
    )
    (tmp_path / "below").mkdir()
    strangers = {"a.tiem.json", ".hidden", "x.lock", ".b.lock", ".c.part.mp4", "below"}
    for name in strangers - {"below"}:
        (tmp_path / name).touch()
    processes = [start(stack, leave, folder, 5) for folder in (tmp_path, tmp_path / "below")]
    assert [line(process) for process in processes] == ["there", "there"]
    with Claims() as claims:
        mine = Item(Path("mine.mp4"), tmp_path / "mine.tiem.json")
        assert claims.claim(mine)
        assert len(list(tmp_path.iterdir())) == len(strangers) + 5 + 1 + 1
        sweep(tmp_path)
        assert len(list(tmp_path.iterdir())) == len(strangers) + 5 + 1 + 1
        for process in processes:
            process.kill()
            process.wait()
        sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {*strangers, ".mine.tiemlock"}
        with Claims() as others:
            assert not others.claim(mine)
    assert len(list((tmp_path / "below").iterdir())) == 6


def test_a_folder_that_is_not_there_is_swept_without_a_word(tmp_path: Path) -> None:
    """As before the first run."""
    sweep(tmp_path / "gone")


@pytest.mark.parametrize("name", ["a\nb", "-a", "[a]", "日本語", os.fsdecode(b"\xff"), "a" * 244])
def test_odd_names_can_be_claimed(tmp_path: Path, name: str) -> None:
    """Whatever name its result can have; a lock's is no longer than that."""
    item = Item(Path(f"{name}.mp4"), tmp_path / f"{name}.tiem.json")
    item.result.touch()
    with Claims() as claims, Claims() as others:
        assert claims.claim(item)
        assert not others.claim(item)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [item.result]


def test_where_no_lock_can_be_written_is_said(tmp_path: Path) -> None:
    """A name that is too long fails its clip alone; a file in the way of a folder, as anywhere."""
    (tmp_path / "file").touch()
    with Claims() as claims:
        with pytest.raises(OutputError, match="File name too long") as error:
            claims.claim(Item(Path("a.mp4"), tmp_path / f"{'a' * 250}.tiem.json"))
        assert error.value.hint == "rename the clip to something shorter"
        with pytest.raises(OutputError, match="cannot be written"):
            claims.claim(Item(Path("a.mp4"), tmp_path / "file" / "a.tiem.json"))


def test_a_file_system_that_refuses_locks_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does whose server runs no lock service."""

    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refused)
    with Claims() as claims, pytest.raises(OutputError, match="No locks available") as error:
        claims.claim(Item(Path("a.mp4"), tmp_path / "a.tiem.json"))
    assert "whose file system has locks" in error.value.hint


def test_without_locks_of_the_file_system_claims_go_by_existence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a warning; nothing is left behind either."""

    def missing(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", missing)
    item = Item(Path("a.mp4"), tmp_path / "a.tiem.json")
    with warnings.catch_warnings(), Claims() as one, Claims() as other:
        warnings.simplefilter("error")
        assert one.claim(item)
        assert not other.claim(item)
        one.release(item)
        assert other.claim(item)
    assert list(tmp_path.iterdir()) == []
