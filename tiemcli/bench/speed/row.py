"""One line of `tiem bench speed`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What something costs beside what it is compared with, in processor time.

    network, frames: what was run, and its T; "" and 0 where no network is. ratio: the baseline's
    time over ours, above 1 where we are faster. baseline: what it is compared with. cpu_seconds: of
    ours. forwards: what ours computed, in evaluations of the whole network. max_abs_diff: the
    largest between the scores of both, that is of probabilities. equivalents: our time in that of
    one `session.run`. share: of the time on the clock that is spent inside the network.
    wall_seconds: on the clock. peak_bytes: the memory that ours took at most. target: what the
    project promises, and met: whether it is so. None where it says nothing or was not measured.
    """

    what: str
    network: str
    frames: int
    ratio: float
    baseline: str
    cpu_seconds: float
    forwards: float | None = None
    max_abs_diff: float | None = None
    equivalents: float | None = None
    share: float | None = None
    wall_seconds: float | None = None
    peak_bytes: int | None = None
    target: str = ""
    met: bool | None = None
