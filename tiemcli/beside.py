"""Work beside the main thread."""

import ctypes
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Task(Generic[Value]):
    """A function that begins at once to run in a thread of its own."""

    def __init__(self, work: Callable[[], Value]) -> None:
        self._future: Future[Value] = Future()
        self._thread = Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], Value]) -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001  whoever asks for the result shall see it
            self._future.set_exception(error)
        else:
            self._future.set_result(value)

    @property
    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Value:
        """What the function returned, waited for. Raises what it raised."""
        return self._future.result()

    def stop(self) -> None:
        """End it as an interrupt would, at its next line of Python, and wait until it has tidied up.

        Control-C reaches the main thread alone; this is how CPython passes it on. Threads end
        without a word on SystemExit, wherever it meets them.
        """
        if self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(SystemExit)
            )
        self._thread.join()
