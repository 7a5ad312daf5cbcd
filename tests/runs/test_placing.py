"""Where the result of each clip goes."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.errors import UsageError
from tiemcli.runs.placing import Clip, place

OUT = Path("out")


def results(*clips: str, place_: tuple[str, ...] = ()) -> list[str]:
    items = place([Clip(Path(clip), place_) for clip in clips], OUT)
    return [item.result.relative_to(OUT).as_posix() for item in items]


def test_two_clips_of_one_stem_take_their_whole_names() -> None:
    """Both of them, so that the order does not matter; the others keep their stems."""
    assert results("a.mp4", "a.avi", "b.mp4") == [
        "a.mp4.tiem.json",
        "a.avi.tiem.json",
        "b.tiem.json",
    ]


def test_a_whole_name_may_be_the_stem_of_another() -> None:
    """That one takes its whole name in turn."""
    assert results("a.mp4", "a.avi", "a.mp4.mkv") == [
        "a.mp4.tiem.json",
        "a.avi.tiem.json",
        "a.mp4.mkv.tiem.json",
    ]


def test_two_clips_of_one_name_are_a_usage_error() -> None:
    """Both are named, and what to do."""
    with pytest.raises(UsageError) as error:
        results("x/a.mp4", "y/a.mp4")
    assert error.value.message == "x/a.mp4 and y/a.mp4 would both write a.mp4.tiem.json"
    assert "-o" in error.value.hint


def test_clips_of_one_name_in_different_places_do_not_meet() -> None:
    """The tree tells them apart."""
    items = place([Clip(Path("x/a.mp4"), ("x",)), Clip(Path("y/a.mp4"), ("y",))], OUT)
    assert [item.result for item in items] == [OUT / "x/a.tiem.json", OUT / "y/a.tiem.json"]


def test_a_clip_given_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever way its folder is reached; a link to a clip is a clip of its own."""
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    Path("d/a.mp4").touch()
    Path("l").symlink_to("d")
    Path("d/b.mp4").symlink_to("a.mp4")
    assert results("d/a.mp4", "l/a.mp4", str(tmp_path / "d/a.mp4"), "d/../d/a.mp4") == [
        "a.tiem.json"
    ]
    assert results("d/a.mp4", "d/b.mp4") == ["a.tiem.json", "b.tiem.json"]


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_names_are_compared_as_the_file_system_does(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows and macOS take A for a; é in one or in two code points is one name to macOS."""
    monkeypatch.setattr(sys, "platform", platform)
    for pair in (("x/a.mp4", "y/A.mp4"), ("x/\u00e9.mp4", "y/e\u0301.mp4")):
        if platform == "linux":
            assert len(set(results(*pair))) == 2
        else:
            with pytest.raises(UsageError, match="would both write"):
                results(*pair)


@pytest.mark.parametrize(
    "name",
    [
        "a\nb.mp4",
        "-a.mp4",
        "日本語 🎬.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
        "a" * 251 + ".mp4",
        ".mp4",
    ],
)
def test_odd_names_keep_their_stems(name: str) -> None:
    """Whatever a file system takes is a name."""
    assert results(name) == [f"{Path(name).stem}.tiem.json"]


NAMES = st.builds(
    str.__add__,
    st.sampled_from(["a", "b", "a.mp4", "a.avi"]),
    st.sampled_from(["", ".mp4", ".avi"]),
)


@given(names=st.lists(NAMES, unique=True), data=st.data())
def test_results_never_meet_and_do_not_depend_on_the_order(
    names: list[str], data: st.DataObject
) -> None:
    """Any clips of one folder have results of their own, the stem's or the whole name's."""
    placed = dict(zip(names, results(*names), strict=True))
    assert len(set(placed.values())) == len(names)
    for name, result in placed.items():
        assert result in (f"{Path(name).stem}.tiem.json", f"{name}.tiem.json")
    shuffled = data.draw(st.permutations(names))
    assert dict(zip(shuffled, results(*shuffled), strict=True)) == placed
