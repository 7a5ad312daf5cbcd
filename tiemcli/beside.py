"""Work beside the main thread."""

import ctypes
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Thread
from typing import Any, Generic, TypeVar

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

    def interrupt(self) -> None:
        """Let it end as at an interrupt, which reaches the main thread alone, at its next line of
        Python.

        This is how CPython passes one on. Threads end without a word on SystemExit, wherever it
        meets them.
        """
        if self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(SystemExit)
            )

    def join(self) -> None:
        """Wait until it has ended, and tidied up.

        Where an interrupt meets `Thread.join`, CPython 3.11 takes the thread for ended, and
        would end the process without it.
        """
        while self._thread.is_alive():
            time.sleep(0.01)


def stop(tasks: Iterable[Task[Any]]) -> None:
    """Interrupt all of them, then wait: whoever loses patience meanwhile leaves none running on."""
    tasks = tuple(tasks)
    for task in tasks:
        task.interrupt()
    for task in tasks:
        task.join()
