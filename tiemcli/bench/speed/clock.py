"""What things cost in processor time and memory, compared in one run, turn by turn.

Ratios of processor time hold while other programs take the processors; times on the clock do not.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Turn:
    """One piece of work. amount: how many units it is, such as clips. run: does it."""

    name: str
    amount: float
    run: Callable[[], object]


def interleave(turns: Sequence[Turn], now: Callable[[], float] | None = None) -> dict[str, float]:
    """Take the turns in order, and return the median seconds a unit of each name's turns.

    A name that is to be compared has turns before and after those it is compared with, so that
    what changes with time falls on both. now: the clock, of processor time where none is given.
    """
    now = now or cpu_seconds
    taken: dict[str, list[float]] = {}
    for turn in turns:
        began = now()
        turn.run()
        taken.setdefault(turn.name, []).append((now() - began) / turn.amount)
    return {name: median(seconds) for name, seconds in taken.items()}


def cpu_seconds() -> float:
    """Processor time of this process, all its threads, and the children that it waited for."""
    import resource  # which Windows has not

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def forget_peak() -> bool:
    """Let `peak_memory` begin anew; returns whether this system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """The most bytes that this process has held.

    Linux hands what the parent held down to the child's `ru_maxrss`; its own record does not.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(re.findall(r"VmHWM:\s*(\d+)", status)[0])


def peak_memory_of_children() -> int:
    """The most bytes that one process has held which this one has started and seen end."""
    import resource  # which Windows has not

    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
