"""Which clips a run is over, and where the result of each goes."""

import codecs
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePath

from tiemcli.errors import UsageError
from tiemcli.result import readable
from tiemcli.runs.engine import Item
from tiemcli.runs.placing import Clip, Parts, place

# The containers that FFmpeg reads and that hold video as a rule. A file of another name can be given
# by itself, by a list, or by a pattern that ends as it does.
VIDEO_SUFFIXES = frozenset(
    (
        ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2ts .m2v .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpeg .mpg"
        " .mts .mxf .ogv .ts .vob .webm .wmv .y4m"
    ).split()
)
_WRITTEN = (".masked.mp4", ".overlay.mp4", ".heat.mp4", ".side-by-side.mp4")


@dataclass(frozen=True)
class Found:
    """The clips of a run, in an order that is the same on every machine.

    many: whether a folder, a pattern or a list was given. ignored: files of the folders that are no
    video. notes: what was passed over, a line each."""

    items: tuple[Item, ...]
    many: bool
    ignored: int
    notes: tuple[str, ...]


@dataclass
class _Passed:
    """What folders hold besides clips. written: files that tiem wrote. unreadable: a line each."""

    ignored: int = 0
    written: int = 0
    unreadable: list[str] = field(default_factory=list)

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.ignored:
            what = "file that is" if self.ignored == 1 else "files that are"
            notes.append(f"skipped {self.ignored} {what} no video")
        if self.written:
            files = "file" if self.written == 1 else "files"
            notes.append(f"skipped {self.written} {files} that tiem wrote")
        return (*notes, *self.unreadable)


def find_clips(given: Sequence[str], input_list: str | None, folder: Path) -> Found:
    """Find the clips, and give each its place below `folder`, where the results go.

    given: files; folders, of which all videos are taken, however deep; patterns, with ** for any
    depth, unless a file has that very name; - for a list on standard input. input_list: a file of
    paths, or -. Hidden files and what tiem wrote are never taken from a folder or by a pattern. A
    clip that is given twice counts once. Files that were given or listed need not be there.

    Results of a folder's clips mirror its tree, those of a pattern the tree below its fixed part,
    those of a list the tree below the folder that its clips have in common; the others lie flat.
    Raises UsageError where nothing is found, and where two clips would have one result.
    """
    passed = _Passed()
    clips: list[Clip] = []
    many = input_list is not None
    for text in given:
        if text == "-":
            clips += _listed("-")
            many = True
        elif os.path.isdir(text):
            clips += _in_folder(Path(text), folder, passed)
            many = True
        elif has_magic(text) and not os.path.lexists(text):
            clips += _by_pattern(text, folder, passed)
            many = True
        elif text:
            clips.append(Clip(Path(text), ()))
        else:
            raise UsageError("a clip's name is empty", "give a video file, a folder or a pattern")
    if input_list is not None:
        clips += _listed(input_list)
    return Found(place(clips, folder), many, passed.ignored, passed.notes())


def shard(items: Sequence[Item], text: str) -> tuple[Item, ...]:
    """The share i of n, by "i/n": every n-th of all items, from the i-th on. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None:
        raise UsageError(f"--shard {text}: not of the form i/n", "the second of eight is 2/8")
    share, shares = int(match[1]), int(match[2])
    if not 1 <= share <= shares:
        raise UsageError(f"--shard {text}: no such share", f"the shares are 1/{shares} and on")
    return tuple(items[share - 1 :: shares])


def _in_folder(root: Path, output: Path, passed: _Passed) -> Iterator[Clip]:
    clips = [
        parts
        for parts in _foreign(_below(root, output, lambda _: True, passed), passed)
        if _is_video(parts, passed)
    ]
    if not clips:
        raise UsageError(
            f"{readable(root)}: no video in this folder",
            "give the files themselves if their names end otherwise, or a pattern such as '*.bin'",
        )
    return (Clip(root.joinpath(*parts), parts[:-1]) for parts in clips)


def _by_pattern(text: str, output: Path, passed: _Passed) -> Iterator[Clip]:
    fixed = tuple(takewhile(lambda part: not has_magic(part), PurePath(text).parts))
    pattern = PurePath(text).parts[len(fixed) :]
    root = Path(*fixed)
    found = []
    if root.is_dir():
        below = _below(root, output, lambda parts: _fits(parts, pattern, whole=False), passed)
        matching = (parts for parts in below if _fits(parts, pattern, whole=True))
        suffix = PurePath(pattern[-1]).suffix
        told = bool(suffix) and not has_magic(suffix)
        found = [parts for parts in _foreign(matching, passed) if told or _is_video(parts, passed)]
    if not found:
        raise UsageError(
            f"{readable(Path(text))}: no such file, and no clip of this pattern",
            "** stands for folders of any depth, as in 'clips/**/*.mp4'",
        )
    return (Clip(root.joinpath(*parts), parts[:-1]) for parts in found)


def _listed(name: str) -> Iterator[Clip]:
    paths = [Path(line) for line in _lines(name)]
    if not paths:
        where = "standard input" if name == "-" else readable(Path(name))
        raise UsageError(f"{where}: an empty list", "give the path of a clip on each line")
    parents = [os.path.dirname(os.path.abspath(path)) for path in paths]
    try:
        common = os.path.commonpath(parents)
    except ValueError:  # of Windows' drives
        raise UsageError(
            "the clips of the list lie on different drives", "explain each drive's by themselves"
        ) from None
    return (
        Clip(path, PurePath(os.path.relpath(parent, common)).parts)
        for path, parent in zip(paths, parents, strict=True)
    )


def _lines(name: str) -> Iterator[str]:
    """The paths in a list: one a line, or separated by NUL; in the encoding of file names."""
    try:
        text = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{readable(Path(name))}: {error.strerror}", "give a file of paths, one on each line"
        ) from error
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Windows PowerShell writes
        text = text.decode("utf-16", "surrogatepass").encode("utf-8", "surrogatepass")
    text = text.removeprefix(codecs.BOM_UTF8)
    nul = b"\0" in text
    for line in text.split(b"\0" if nul else b"\n"):
        path = line if nul else line.removesuffix(b"\r")
        if path.strip():
            yield os.fsdecode(path)


def _below(
    root: Path, output: Path, enters: Callable[[Parts], bool], passed: _Passed
) -> list[Parts]:
    """All files below a folder but hidden ones, relative to it, sorted; the folders by `enters`.

    Links are followed after all else, so that a clip has its real path if it has one here, and each
    folder is entered once. `output` is not entered, unless it is `root` itself.
    """
    files: list[Parts] = []
    entered = set()
    if output.is_dir() and not output.samefile(root):
        entered.add(_identity(output))
    waiting: deque[Parts] = deque([()])
    while waiting:
        parts = waiting.popleft()
        folder = root.joinpath(*parts)
        try:
            identity = _identity(folder)
            if identity in entered:
                continue
            entered.add(identity)
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            reason = f"cannot read {readable(folder)}: {error.strerror}"
            if not parts:
                raise UsageError(reason, "give a folder that you may read") from error
            passed.unreadable.append(reason)
            continue
        for entry in entries:
            below = (*parts, entry.name)
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                files.append(below)
            elif enters(below):
                if entry.is_symlink():
                    waiting.append(below)
                else:
                    waiting.appendleft(below)
    return sorted(files)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to where nobody may look
        return False


def _fits(parts: Parts, pattern: Parts, *, whole: bool) -> bool:
    """Whether a path is one of the pattern, or if not `whole`, a folder on the way to one."""
    if not parts:
        return all(part == "**" for part in pattern) if whole else bool(pattern)
    if not pattern:
        return False
    if pattern[0] == "**":
        return _fits(parts[1:], pattern, whole=whole) or _fits(parts, pattern[1:], whole=whole)
    return fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:], whole=whole)


def _foreign(files: Iterable[Parts], passed: _Passed) -> Iterator[Parts]:
    """The files that tiem did not write."""
    for parts in files:
        name = parts[-1].lower()
        if name.endswith(_WRITTEN) or ".tiem." in name:
            passed.written += 1
        else:
            yield parts


def _is_video(parts: Parts, passed: _Passed) -> bool:
    if PurePath(parts[-1]).suffix.lower() in VIDEO_SUFFIXES:
        return True
    passed.ignored += 1
    return False
