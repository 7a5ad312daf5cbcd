"""What answers for a network that is no file of ours: a server, or somebody's function."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

# What stands for a size that an endpoint leaves open.
Dims = tuple[int | None, ...]


@dataclass(frozen=True)
class Asked:
    """What it took to ask. requests: that were answered, with so many clips. seconds: from their being
    sent to the answer. inside: of these in the server, by what it tells itself, None if it does not.
    retries: of requests that were not answered at first."""

    requests: int = 0
    clips: int = 0
    seconds: float = 0.0
    inside: float | None = None
    retries: int = 0

    def since(self, before: Self) -> "Asked":
        """What it took since then."""
        return Asked(
            requests=self.requests - before.requests,
            clips=self.clips - before.clips,
            seconds=self.seconds - before.seconds,
            inside=None if self.inside is None else self.inside - (before.inside or 0.0),
            retries=self.retries - before.retries,
        )


class Endpoint(Protocol):
    """A network of which nothing is known but what it answers.

    name: as the user gave it, for messages and results. input: the name of the one that takes the
    clips. dims: of that input, None where it is open. element_type: of that input, one of
    `tiemcli.inputs.INPUT_TYPES`. output: the name of the one to explain. largest_batch: how many
    clips it takes at once, None where nobody said. identity: a stable hash of all that is known of
    it, for the fingerprint. providers: what computes, as a result names it. notes: what was assumed,
    a line each.
    """

    @property
    def name(self) -> str: ...
    @property
    def input(self) -> str: ...
    @property
    def dims(self) -> Dims: ...
    @property
    def element_type(self) -> int: ...
    @property
    def output(self) -> str: ...
    @property
    def largest_batch(self) -> int | None: ...
    @property
    def identity(self) -> str: ...
    @property
    def providers(self) -> tuple[str, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def answers(self, batch: np.ndarray) -> np.ndarray:
        """The output for a batch in the input's own axes and type, as it came.

        Raises ClipError or ModelError, of one line.
        """
        ...

    def asked(self) -> Asked:
        """What it took so far."""
        ...
