"""Which run works on which clip: a lock beside the result, which ends with the process that holds it."""

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tiemcli.outputs.atomic import remove_abandoned, unwritable
from tiemcli.result import ENDING
from tiemcli.runs.engine import Item
from tiemcli.runs.lock import SUFFIX, Lock


class Claims:
    """The clips that this process works on, so that no other does: a context that ends with `close`.

    A clip that two explain all the same, as over a file system whose locks end at the machine, costs
    time only: its result is replaced as a whole."""

    def __init__(self) -> None:
        self._held: dict[Path, Lock] = {}

    def claim(self, item: Item) -> bool:
        """Take a clip, without waiting; makes the folder of its result.

        False while another run has it, and for a moment after; so ask again later. Raises OutputError
        where no lock can be written, be it for this clip alone, whose name is too long.
        """
        try:
            item.result.parent.mkdir(parents=True, exist_ok=True)
            lock = Lock(item.result.parent, item.result.name.removesuffix(ENDING))
            if not lock.take():
                return False
        except OSError as error:
            raise unwritable(item.result, error) from error
        self._held[item.result] = lock
        return True

    def release(self, item: Item) -> None:
        """Give back a clip that was claimed."""
        self._held.pop(item.result).discard()

    def close(self) -> None:
        """Give back all of them."""
        while self._held:
            self._held.popitem()[1].discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sweep(folder: Path) -> None:
    """Remove from a folder, not from those below it, what killed processes left half-written there.

    For the output folder and for each `item.result.parent`; one that is not there is passed over.
    What living processes hold stays, on whatever machine they are."""
    remove_abandoned(folder)
    for path in folder.glob(f".*{SUFFIX}"):
        with suppress(OSError):
            lock = Lock(folder, path.name.removesuffix(SUFFIX).removeprefix("."))
            if lock.take():
                lock.discard()
