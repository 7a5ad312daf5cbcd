"""The file that a clip is in: whether it can be read, and whether it is still the same."""

import errno
from pathlib import Path

from tiemcli.errors import ClipError
from tiemcli.result import readable

ALONE = "leave the file alone while it is being explained, and start again"
_HINTS = {
    errno.ENOENT: "check the spelling of the path",
    errno.EACCES: "check that you may read it",
}

Version = tuple[int, int]


def require_clip(path: Path) -> None:
    """Raises ClipError if there is no file, or if it is none that a clip could be in."""
    size, _ = version_of(path)
    if path.is_dir():
        raise ClipError(f"{readable(path)}: is a folder, not a clip", "name the files in it")
    if not path.is_file():
        raise ClipError(f"{readable(path)}: not a regular file", "save the clip to a file first")
    if size == 0:
        raise ClipError(f"{readable(path)}: the file is empty", "copy or download it again")


def version_of(path: Path) -> Version:
    """What tells a file from one that takes its place: its bytes and when it was written, in ns.

    Raises ClipError if there is no such file.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return state.st_size, state.st_mtime_ns


def require_unchanged(path: Path, version: Version) -> None:
    """Raises ClipError if the file is no more of that version."""
    if version_of(path) != version:
        raise ClipError(f"{readable(path)}: was written to while it was read", ALONE)


def unreadable(path: Path, error: OSError) -> ClipError:
    """What to tell a person of a clip that cannot be read."""
    hint = _HINTS.get(error.errno or 0, "check the file and the disk it is on")
    return ClipError(f"{readable(path)}: {error.strerror}", hint)
