"""Work in a forked process, where it may crash, hang or fill the memory without harm."""

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from tiemcli.errors import TiemError

PATIENCE = 60
BUG = 70


@dataclass(frozen=True)
class Ended:
    """How work ended.

    code: what it returned, `BUG` for an exception that is no TiemError, whose traceback is in the
    text; below zero the signal that ended the process, SIGALRM where it took too long. text: all
    that it printed, and the line of its TiemError. seconds: that it took. peak: bytes it held.
    """

    code: int
    text: str
    seconds: float
    peak: int

    @property
    def fault(self) -> str:
        """What a user must never see, or "". A process that dies is none: a worker contains it."""
        if self.code == -signal.SIGALRM:
            return "hang"
        return "traceback" if self.code == BUG or "Traceback" in self.text else ""


def forked(work: Callable[[], int], seconds: int = PATIENCE) -> Ended:
    """Do the work in a copy of this process, which must have no thread but this one."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            _end(work, seconds, printed.fileno())
        _, status, usage = os.wait4(child, 0)
        printed.seek(0)
        text = printed.read().decode(errors="replace")
    code, seconds_taken = os.waitstatus_to_exitcode(status), time.monotonic() - began
    return Ended(code, text, seconds_taken, usage.ru_maxrss * 1024)


def _end(work: Callable[[], int], seconds: int, printed: int) -> None:
    """Work, and end the process with the outcome, whatever that is."""
    code = BUG
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which also ends what never returns to us
        signal.alarm(seconds)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(printed, stream.fileno())
        code = work()
    except TiemError as error:
        print(error)
        code = error.exit_code
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    except BaseException:  # noqa: BLE001  whatever it is, it must not reach the parent's code
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
