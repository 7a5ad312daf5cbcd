"""Which clips a run is over, from what was typed and what lies on the disk."""

import io
import os
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.errors import UsageError
from tiemcli.runs.engine import Item
from tiemcli.runs.finding import Found, find_clips, shard

OUT = Path("out")

Tree = Callable[..., None]


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Make empty files by their names, below the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def feed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))


def clips(found: Found) -> list[str]:
    return [item.clip.as_posix() for item in found.items]


def results(found: Found) -> list[str]:
    return [item.result.relative_to(OUT).as_posix() for item in found.items]


def find(*given: str, input_list: str | None = None) -> Found:
    return find_clips(given, input_list, OUT)


def test_named_files_lie_flat_and_need_not_be_there(tree: Tree) -> None:
    """Files are taken as they are named, whatever their suffix, and their results lie side by side."""
    tree("a/x.mp4", "b/y.bin")
    found = find("b/y.bin", "a/x.mp4", "gone/z.mp4")
    assert clips(found) == ["b/y.bin", "a/x.mp4", "gone/z.mp4"]
    assert results(found) == ["y.tiem.json", "x.tiem.json", "z.tiem.json"]
    assert not found.many
    assert found.notes == ()


def test_a_folder_gives_its_videos_however_deep_and_mirrors_its_tree(tree: Tree) -> None:
    """In the order of their paths, hidden ones and files that are no video left out."""
    tree("d/b.mp4", "d/a/z.MOV", "d/a/b/c.webm", "d/.h/x.mp4", "d/.x.mp4", "d/n.txt", "d/a/n.csv")
    found = find("d")
    assert clips(found) == ["d/a/b/c.webm", "d/a/z.MOV", "d/b.mp4"]
    assert results(found) == ["a/b/c.tiem.json", "a/z.tiem.json", "b.tiem.json"]
    assert found.many
    assert found.ignored == 2
    assert found.notes == ("skipped 2 files that are no video",)


def test_what_tiem_wrote_is_no_clip(tree: Tree) -> None:
    """Masked videos of each style are passed over in folders and by patterns, but not when named."""
    written = ["x.masked.mp4", "x.overlay.mp4", "x.heat.mp4", "x.side-by-side.mp4"]
    tree("d/x.mp4", "d/x.tiem.json", "d/x.tiem.gif", *(f"d/{name}" for name in written))
    assert clips(find("d")) == ["d/x.mp4"]
    assert find("d").notes == ("skipped 6 files that tiem wrote",)
    assert clips(find("d/*.mp4")) == ["d/x.mp4"]
    assert clips(find("d/x.heat.mp4")) == ["d/x.heat.mp4"]


def test_the_output_folder_is_not_entered(tree: Tree) -> None:
    """It may lie within the folder of the clips, or be that folder."""
    tree("d/a.mp4", "d/out/b.mp4", "d/out/c/d.mp4")
    assert clips(find_clips(["d"], None, Path("d/out"))) == ["d/a.mp4"]
    assert clips(find_clips(["d/**/*.mp4"], None, Path("d/out"))) == ["d/a.mp4"]
    assert len(find_clips(["d"], None, Path("d")).items) == 3


def test_linked_folders_are_followed_once(tree: Tree) -> None:
    """A clip keeps its real path where it has one here; a loop ends; a link out of the folder is
    followed."""
    tree("d/z/x.mp4", "elsewhere/y.mp4")
    Path("d/a").symlink_to("z")
    Path("d/z/up").symlink_to("../..")
    Path("d/b").symlink_to("../elsewhere")
    assert clips(find("d")) == ["d/b/y.mp4", "d/z/x.mp4"]
    assert clips(find("d/**/*.mp4")) == ["d/b/y.mp4", "d/z/x.mp4"]


def test_a_broken_link_is_a_clip_that_will_fail(tree: Tree) -> None:
    """Whatever bears a video's name is taken, so that there is a reason for its missing result."""
    tree("d/x.mp4")
    Path("d/gone.mp4").symlink_to("nowhere")
    assert clips(find("d")) == ["d/gone.mp4", "d/x.mp4"]


def test_an_unreadable_folder_is_named(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the one that was given; that one itself must be readable."""
    tree("d/x.mp4", "d/secret/y.mp4")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find("d")
    assert clips(found) == ["d/x.mp4"]
    assert found.notes == ("cannot read d/secret: Permission denied",)
    with pytest.raises(UsageError, match="cannot read d/secret"):
        find("d/secret")


def test_a_pattern_mirrors_the_tree_below_its_fixed_part(tree: Tree) -> None:
    """With ** for any depth, none included; hidden files are not matched."""
    tree("d/s/1/x.mp4", "d/s/2/x.mp4", "d/s/x.mp4", "d/s/.h/x.mp4", "d/t/1/x.mp4")
    assert results(find("d/s/*/x.mp4")) == ["1/x.tiem.json", "2/x.tiem.json"]
    assert results(find("d/s/**/x.mp4")) == ["1/x.tiem.json", "2/x.tiem.json", "x.tiem.json"]
    assert clips(find("d/*/1/*.mp4")) == ["d/s/1/x.mp4", "d/t/1/x.mp4"]
    assert clips(find(str(Path("d/[st]/1/x.mp4").resolve()))) == [
        str(Path(f"d/{name}/1/x.mp4").resolve()) for name in "st"
    ]
    assert find("d/s/*/x.mp4").many


def test_a_pattern_takes_files_of_any_suffix_that_it_tells(tree: Tree) -> None:
    """One that ends in a star takes videos only, as a folder does."""
    tree("d/x.mp4", "d/y.bin")
    assert clips(find("d/*.bin")) == ["d/y.bin"]
    assert clips(find("d/*")) == ["d/x.mp4"]
    assert find("d/*").ignored == 1


def test_a_file_that_looks_like_a_pattern_is_a_file(tree: Tree) -> None:
    """A name is a pattern only if nothing bears it."""
    tree("x[1].mp4", "x1.mp4")
    assert clips(find("x[1].mp4")) == ["x[1].mp4"]
    Path("x[1].mp4").unlink()
    assert clips(find("x[1].mp4")) == ["x1.mp4"]


def test_a_pattern_does_not_look_where_it_cannot_match(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a pattern over a large disk is quick."""
    tree("d/a/deep/er/x.mp4", "d/b/x.mp4", "d/x.mp4")
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path.name) or scandir(path))
    assert clips(find("d/b*/*.mp4")) == ["d/b/x.mp4"]
    assert sorted(looked) == ["b", "d"]
    looked.clear()
    assert clips(find("d/*")) == ["d/x.mp4"]
    assert looked == ["d"]


@pytest.mark.parametrize("given", ["d/*.mp4", "gone/*.mp4", "d", "d/*"])
def test_nothing_found_is_a_usage_error_with_a_hint(tree: Tree, given: str) -> None:
    """A pattern that matches nothing and a folder without a video are mistakes."""
    tree("d/n.txt", "d/deep.mp4/n.txt")
    with pytest.raises(UsageError) as error:
        find(given)
    assert error.value.message.startswith(given)
    assert error.value.hint


def test_an_empty_name_is_a_usage_error() -> None:
    """As from a variable of the shell that is not set."""
    with pytest.raises(UsageError, match="name is empty"):
        find("")


LISTS = {
    "lines": b"a/x.mp4\nb/y.mp4\n",
    "no newline at the end": b"a/x.mp4\nb/y.mp4",
    "of Windows": b"\xef\xbb\xbfa/x.mp4\r\n\r\nb/y.mp4\r\n",
    "of PowerShell": "﻿a/x.mp4\r\nb/y.mp4\r\n".encode("utf-16-le"),
    "by NUL": b"a/x.mp4\0b/y.mp4\0",
    "blank lines": b"\n  \na/x.mp4\n\n\nb/y.mp4\n\n",
}


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("way", ["file", "option -", "argument -"])
def test_a_list_is_read_however_it_was_written(
    monkeypatch: pytest.MonkeyPatch, content: bytes, way: str
) -> None:
    """From a file or standard input; its clips need not be there."""
    feed(monkeypatch, content)
    Path("list.txt").write_bytes(content)
    found = {
        "file": lambda: find(input_list="list.txt"),
        "option -": lambda: find(input_list="-"),
        "argument -": lambda: find("-"),
    }[way]()
    assert clips(found) == ["a/x.mp4", "b/y.mp4"]
    assert results(found) == ["a/x.tiem.json", "b/y.tiem.json"]
    assert found.many


def test_odd_names_stand_in_a_list_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leading # or dash or space, a bracket, a byte that is no UTF-8; with NUL, a newline too."""
    names = [b"#1.mp4", b"-m.mp4", b" a .mp4", b"[x].mp4", b"\xff.mp4", b"-", b"\xc3\xa9\r.mp4"]
    feed(monkeypatch, b"\n".join(names))
    assert [os.fsencode(item.clip) for item in find("-").items] == names
    names.append(b"a\nb.mp4")
    feed(monkeypatch, b"\0".join(names))
    assert [os.fsencode(item.clip) for item in find("-").items] == names


def test_a_list_mirrors_the_tree_below_the_common_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the folders of all its clips, whether relative or not; one folder's clips lie flat."""
    feed(monkeypatch, f"d/s/1/x.mp4\n{Path('d/s/2/x.mp4').absolute()}\nd/t/../s/x.mp4\n".encode())
    assert results(find("-")) == ["1/x.tiem.json", "2/x.tiem.json", "x.tiem.json"]
    feed(monkeypatch, b"d/s/1/x.mp4\nd/s/1/y.mp4\n")
    assert results(find("-")) == ["x.tiem.json", "y.tiem.json"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\0"])
def test_an_empty_list_is_a_usage_error(content: bytes) -> None:
    """The list is named."""
    Path("list.txt").write_bytes(content)
    with pytest.raises(UsageError, match=r"list\.txt: an empty list"):
        find(input_list="list.txt")


def test_a_list_that_cannot_be_read_is_a_usage_error() -> None:
    """With the reason in one line."""
    with pytest.raises(UsageError, match=r"gone\.txt: No such file or directory"):
        find(input_list="gone.txt")
    with pytest.raises(UsageError, match="Is a directory"):
        find(input_list=".")


def test_all_ways_go_together(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they were given, the list last; each clip once, as first given."""
    tree("d/x.mp4", "d/y.mp4", "e/z.mp4", "w.mp4")
    feed(monkeypatch, b"./w.mp4\nv.mp4\n")
    found = find_clips(["w.mp4", "d", "e/*.mp4", "d/../d/x.mp4"], "-", OUT)
    assert clips(found) == ["w.mp4", "d/x.mp4", "d/y.mp4", "e/z.mp4", "v.mp4"]


@given(
    paths=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=8),
    pattern=st.lists(st.sampled_from(["**", "*", "a", "b", "[bc]"]), min_size=1, max_size=4),
)
def test_patterns_match_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], pattern: list[str]
) -> None:
    """A path matches if its parts are those of the pattern with each ** replaced by some stars."""
    if "*" not in "".join(pattern) and "[" not in "".join(pattern):
        return
    root = tmp_path_factory.mktemp("tree")
    for parts in paths:
        path = root.joinpath(*parts[:-1], f"{parts[-1]}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def expected(parts: tuple[str, ...]) -> bool:
        shapes: list[list[str]] = [[]]
        for part in [*pattern[:-1], f"{pattern[-1].replace('**', '*')}.mp4"]:
            fill = [["*"] * count for count in range(5)] if part == "**" else [[part]]
            shapes = [[*shape, *more] for shape in shapes for more in fill]
        return any(len(shape) == len(parts) and all(map(fnmatch, parts, shape)) for shape in shapes)

    typed = "/".join([*pattern[:-1], f"{pattern[-1].replace('**', '*')}.mp4"])
    files = sorted(path.relative_to(root).parts for path in root.rglob("*.mp4"))
    wanted = [root.joinpath(*parts) for parts in files if expected(parts)]
    try:
        found = [item.clip for item in find_clips([f"{root}/{typed}"], None, OUT).items]
    except UsageError:
        found = []
    if not (root / typed).exists():
        assert found == wanted


@given(count=st.integers(0, 40), shares=st.integers(1, 9))
def test_shares_are_all_clips_and_each_once(count: int, shares: int) -> None:
    """They differ by one clip at most."""
    items = [Item(Path(f"{i}.mp4"), OUT / f"{i}.tiem.json") for i in range(count)]
    parts = [shard(items, f"{share}/{shares}") for share in range(1, shares + 1)]
    assert sorted(sum(parts, ()), key=items.index) == items
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "text", ["", "1", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/4/2", " 1/4", "1/١"]
)
def test_what_is_no_share_is_a_usage_error(text: str) -> None:
    """A share is numbered from one to their number."""
    with pytest.raises(UsageError, match="--shard"):
        shard([], text)


def test_a_tree_gives_the_same_order_wherever_it_was_copied(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order the file system lists, so that shares of several machines fit together."""
    names = ["b/2.mp4", "b/10.mp4", "a.mp4", "b.mp4", "B/1.mp4", "é.mp4"]
    tree(*(f"d/{name}" for name in names))
    first = clips(find("d"))
    assert first == [f"d/{name}" for name in sorted(names, key=lambda n: PurePosixPath(n).parts)]
    scandir = os.scandir

    class Reversed:
        def __init__(self, path: Path) -> None:
            with scandir(path) as entries:
                self._entries = list(entries)[::-1]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self._entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Reversed)
    assert clips(find("d")) == first
