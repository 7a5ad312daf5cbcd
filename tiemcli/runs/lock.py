"""A lock between processes and machines, which ends with the process that holds it."""

import warnings
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout, UnixFileLock

SUFFIX = ".tiemlock"


class Lock:
    """A hidden file in a folder that is there, locked while it is held: `.NAME.tiemlock`.

    The kernel lets go of it when the process ends, however it does, and no child inherits it. That
    holds over machines too where the file system locks for them, as NFS does by default; where it
    locks for each machine alone (Lustre's localflock, NFS's nolock), it does not. A file system
    without any such locks makes filelock go by the file's existence, with process and machine in it:
    there the lock of a process that was killed is broken by the next on the same machine alone.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._lock = FileLock(folder / f".{name}{SUFFIX}", thread_local=False, poll_interval=0.01)

    def take(self, seconds: float = 0.0) -> bool:
        """Hold it, waiting so long at most; False while another does. Raises OSError."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flock not supported")
            try:
                self._lock.acquire(timeout=seconds)
            except Timeout:
                return False
        return True

    def free(self) -> None:
        """Let go of it; the file stays."""
        self._lock.release()

    def discard(self) -> None:
        """Remove the file, and let go of it.

        In this order: who opened the file before it went gets a lock on what has no name any more,
        which filelock sees and refuses. Over NFS, which renames open files instead of removing them,
        two may then hold it, if one opened the file just before and another after.
        """
        if isinstance(self._lock, UnixFileLock):  # the others remove their file by themselves
            with suppress(OSError):
                Path(self._lock.lock_file).unlink()
        self._lock.release()
