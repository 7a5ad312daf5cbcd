"""Which of a network's answers to explain."""

import difflib
from collections.abc import Sequence

from tiemcli.errors import UsageError
from tiemcli.kernels.arrays import Doubles


def resolve_target(wanted: str | None, outputs: Doubles, labels: Sequence[str]) -> int:
    """The index of the output to explain: a label, an index, or None for the largest.

    outputs: (K,). Raises UsageError for a label or index that there is not.
    """
    if wanted is None:
        return int(outputs.argmax())
    by_name = {label.casefold(): index for index, label in reversed(list(enumerate(labels)))}
    if wanted in labels:
        return list(labels).index(wanted)
    if wanted.casefold() in by_name:
        return by_name[wanted.casefold()]
    if wanted.isdecimal():
        if int(wanted) < len(outputs):
            return int(wanted)
        raise UsageError(
            f"--target {wanted}: the network has outputs 0 to {len(outputs) - 1}",
            "give one of them",
        )
    if wanted.lstrip("-").isdecimal():
        raise UsageError(f"--target {wanted}: no output has that index", "count from 0")
    if not labels:
        raise UsageError(
            f"--target {wanted}: the network's labels are not known", "give an index, or --labels"
        )
    close = difflib.get_close_matches(wanted, labels, n=3, cutoff=0.4) or list(labels[:5])
    raise UsageError(f"--target {wanted}: no such label", f"such as {', '.join(close)}")
