"""A file is either the old one, the new one or absent, never half of one."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiemcli.errors import OutputError

_HINTS = {
    errno.ENOSPC: "free some space, or choose another folder with -o",
    errno.EDQUOT: "free some of your quota, or choose another folder with -o",
    errno.EFBIG: "choose a file system that takes larger files with -o",
    errno.ENOENT: "create the folder first, or choose another one with -o",
    errno.ENAMETOOLONG: "rename the clip to something shorter",
}
_HINT = "choose a folder that you may write to with -o"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, with its suffix, to write to; on success it becomes `path`.

    The rename comes after the bytes are on the disk, so that not even a power cut leaves half a
    file under `path`. On any failure, an interrupt included, the file that was yielded is removed
    and `path` is left as it was. Raises OutputError for an OSError of the body or of the rename.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        try:
            yield part
            with part.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path} cannot be written: {reason}", _HINTS.get(error.errno or 0, _HINT)
        ) from error
