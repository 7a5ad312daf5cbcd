"""Files that are replaced as a whole, whoever else writes them."""

import errno
import os
from pathlib import Path

import pytest

from tiemcli.errors import OutputError
from tiemcli.outputs.atomic import remove_abandoned, replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Each writes to a part of its own, hidden and with the suffix; the last one to end wins."""
    path = tmp_path / "a.masked.mp4"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        assert {first.suffix, second.suffix} == {".mp4"}
        assert first.name.startswith(".")
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.masked.mp4"]


def test_whatever_name_the_file_can_have_its_part_can_have(tmp_path: Path) -> None:
    """A part's name is short, whatever the file's."""
    path = tmp_path / f"{'a' * 245}.tiem.json"[-255:]
    with replacing(path) as part:
        part.write_text("long")
    assert path.read_text() == "long"


def test_a_name_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    """The hint is to rename the clip, and nothing is left."""
    with (
        pytest.raises(OutputError, match="File name too long") as error,
        replacing(tmp_path / f"{'a' * 250}.tiem.json") as part,
    ):
        part.write_text("long")
    assert error.value.hint == "rename the clip to something shorter"
    assert names(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The file is as it was."""
    path = tmp_path / "a.json"
    path.write_text("old")

    def fill() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="No space left") as error:
        fill()
    assert "free some space" in error.value.hint
    assert names(tmp_path) == ["a.json"]
    assert path.read_text() == "old"


def test_the_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    """Those that the umask leaves."""
    mask = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.json"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_what_is_being_written_is_not_abandoned(tmp_path: Path) -> None:
    """Only what nobody holds any more is removed; other hidden files are not looked at."""
    (tmp_path / ".0123456789abcdef.tiem-part.mp4").write_text("half")
    (tmp_path / ".notes").touch()
    with replacing(tmp_path / "a.json") as part:
        part.write_text("new")
        remove_abandoned(tmp_path)
        assert names(tmp_path) == sorted([".notes", part.name])
    assert names(tmp_path) == [".notes", "a.json"]


def test_a_part_that_is_removed_before_it_is_held_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may sweep the folder between the making and the locking of a part."""
    fcntl = pytest.importorskip("fcntl")
    lock, swept = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with replacing(tmp_path / "a.json") as part:
        assert part.exists()
        assert part not in swept
    assert names(tmp_path) == ["a.json"]
