"""A file is either the old one, the new one or absent, never half of one."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tiemcli.errors import OutputError
from tiemcli.result import readable

_HINTS = {
    errno.ENOSPC: "free some space, or choose another folder with -o",
    errno.EDQUOT: "free some of your quota, or choose another folder with -o",
    errno.EFBIG: "choose a file system that takes larger files with -o",
    errno.ENOENT: "create the folder first, or choose another one with -o",
    errno.ENAMETOOLONG: "rename the clip to something shorter",
    errno.ENOLCK: "choose a folder with -o whose file system has locks",
}
_HINT = "choose a folder that you may write to with -o"
_MARK = ".tiem-part"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, with its suffix, to write to; on success it becomes `path`.

    It is a hidden, empty file that no other process writes to, of a short name. The rename comes
    after the bytes are on the disk, so that not even a power cut leaves half a file under `path`. On
    any failure, an interrupt included, the file that was yielded is removed and `path` is left as it
    was; what a process leaves that is killed, `remove_abandoned` removes. Raises OutputError for an
    OSError of the body or of the rename.
    """
    try:
        part, hold = _create(path)
        try:
            yield part
            with part.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            if hold is not None:
                os.close(hold)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """What to tell a person of a file that cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(
        f"{readable(path)} cannot be written: {reason}", _HINTS.get(error.errno or 0, _HINT)
    )


def remove_abandoned(folder: Path) -> None:
    """Remove from a folder what `replacing` yielded to processes that were killed."""
    for part in folder.glob(f".*{_MARK}*"):
        with suppress(OSError):
            _remove_if_abandoned(part)


# The hold on a part is a lock of the kernel's, which ends with its process: a process's number in the
# name would tell less, as numbers are used again and mean nothing on another machine or in another
# container. Where files cannot be locked, parts stay for good. Windows would keep the body from
# writing to a locked file, but removes no open one either: there, being open is the hold.

if sys.platform == "win32":

    def _create(path: Path) -> tuple[Path, int | None]:
        part = _beside(path)
        part.open("xb").close()
        return part, None

    def _remove_if_abandoned(part: Path) -> None:
        part.unlink()

else:
    import fcntl

    def _create(path: Path) -> tuple[Path, int | None]:
        while True:
            part = _beside(path)
            hold = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                with suppress(OSError):
                    fcntl.flock(hold, fcntl.LOCK_EX)
                # Another run may have found it before it was locked.
                if os.fstat(hold).st_nlink:
                    return part, hold
            except BaseException:
                part.unlink(missing_ok=True)
                os.close(hold)
                raise
            os.close(hold)

    def _remove_if_abandoned(part: Path) -> None:
        hold = os.open(part, os.O_RDWR)
        try:
            fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
        finally:
            os.close(hold)


def _beside(path: Path) -> Path:
    return path.with_name(f".{os.urandom(8).hex()}{_MARK}{path.suffix}")
