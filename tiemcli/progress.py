"""What a long task tells while it runs; the terminal draws it, everybody else ignores it."""

from typing import Protocol


class Progress(Protocol):
    """A listener of stages, each of a known number of evaluations."""

    def stage(self, name: str, total: int) -> None:
        """A new stage begins; the one before is done."""
        ...

    def advance(self, done: int) -> None:
        """So many more evaluations of the stage are done."""
        ...


class Silent:
    """A `Progress` that nobody sees."""

    def stage(self, name: str, total: int) -> None:
        pass

    def advance(self, done: int) -> None:
        pass
