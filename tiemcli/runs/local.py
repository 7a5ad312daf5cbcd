"""Workers that are processes of this machine, or, where nothing is to be contained, a thread."""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from tiemcli.beside import Task, stop
from tiemcli.errors import ModelError, first_line
from tiemcli.runs.engine import Event, Item, Lost, Refused

if TYPE_CHECKING:
    from tiemcli.request import Request

# Seconds that a worker has to tidy up in.
PATIENCE = 5
# Seconds in which a worker that does nothing ends.
MOMENT = 0.3
# How long a thread waits for a clip before it looks whether it is to end.
GLANCE = 0.1


class Processes:
    """An `Engine` of processes: whatever a clip or a network does to one, the run goes on."""

    def __init__(self, request: "Request", workers: int = 1) -> None:
        self.workers = workers
        self._request = request.shared_by(workers)
        self._threads = max(1, _processors() // workers)
        self._running: list[_Process] = []

    def start(self) -> "_Process":
        worker = _Process(self._request, self._threads)
        self._running.append(worker)
        return worker

    def wait(self, seconds: float) -> Sequence[tuple["_Process", Event]]:
        self._running = [worker for worker in self._running if not worker.connection.closed]
        speaking = wait([worker.connection for worker in self._running], seconds)
        told: list[tuple[_Process, Event]] = []
        for worker in self._running:
            if worker.connection not in speaking:
                continue
            try:
                while worker.connection.poll():
                    told.append((worker, worker.connection.recv()))
            except (EOFError, OSError):
                told.append((worker, Lost(worker.end())))
        return told

    def close(self) -> None:
        for worker in self._running:
            worker.connection.close()  # whoever waits for a clip ends by that
        left: Sequence[BaseProcess] = [worker.process for worker in self._running]
        self._running = []
        try:
            left = _running_after(MOMENT, left)
            for _ in range(2):  # for Python may meet an interrupt where it can only ignore it
                for process in left:
                    process.terminate()
                left = _running_after(PATIENCE, left)
        finally:  # whoever interrupts once more loses patience
            for process in left:
                process.kill()


class _Process:
    """A `Worker` at the other end of a pipe."""

    def __init__(self, request: "Request", threads: int) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(request, theirs, threads), daemon=True)
        with _deaf():
            self.process.start()
        theirs.close()

    def send(self, item: Item | None) -> None:
        with suppress(OSError):  # it has ended, of which `wait` tells
            self.connection.send(item)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def end(self) -> str:
        """How it ended, half a sentence."""
        self.process.join(PATIENCE)
        self.connection.close()
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            return "stopped answering"
        if code == -signal.SIGKILL:
            return "was killed, as the system does when memory runs out"
        if code < 0:
            return f"crashed ({signal.Signals(-code).name})"
        return f"ended with exit code {code}"


class InThread:
    """An `Engine` of one thread of this process, for whom nothing is contained: what crashes here
    ends the run, and what hangs cannot be ended."""

    workers = 1

    def __init__(self, request: "Request") -> None:
        self._request = request
        self._told: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._thread: _Thread | None = None

    def start(self) -> "_Thread":
        self._thread = _Thread(self._request, self._told)
        return self._thread

    def wait(self, seconds: float) -> Sequence[tuple["_Thread", Event]]:
        assert self._thread is not None
        told = []
        with suppress(queue.Empty):
            told.append((self._thread, self._told.get(timeout=seconds)))
            while True:
                told.append((self._thread, self._told.get_nowait()))
        return told

    def close(self) -> None:
        if self._thread is not None:
            self._thread.kill()


class _Thread:
    """A `Worker` that shares this process."""

    def __init__(self, request: "Request", told: "queue.SimpleQueue[Event]") -> None:
        self._inbox: queue.SimpleQueue[Item | None] = queue.SimpleQueue()

        def receive() -> Item | None:
            while True:
                with suppress(queue.Empty):
                    return self._inbox.get(timeout=GLANCE)

        def explain() -> None:
            from tiemcli.runs.worker import work

            work(request, receive, told.put)

        self._task = Task(explain)

    def send(self, item: Item | None) -> None:
        self._inbox.put(item)

    def kill(self) -> None:
        self._inbox.put(None)  # for whom waits for a clip; whoever works is interrupted
        stop([self._task])


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that the terminal's Ctrl-C does not reach: of it their parent decides."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which, as it starts, undoes what is set here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _running_after(seconds: float, processes: Sequence[BaseProcess]) -> list[BaseProcess]:
    """Those that have not ended by then."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
    return [process for process in processes if process.is_alive()]


def _processors() -> int:
    """How many this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _say_unless_interrupted(ignored: "sys.UnraisableHookArgs") -> None:
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


def _serve(request: "Request", connection: Connection, threads: int) -> None:
    """Be a worker until the pipe closes; SIGTERM lets it tidy up. threads: at most, unless said."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _say_unless_interrupted
    os.dup2(2, 1)  # stdout is for results
    telling = threading.Lock()

    def receive() -> Item | None:
        try:
            while not connection.poll(GLANCE):
                pass
            item: Item | None = connection.recv()
        except (EOFError, OSError):
            return None
        return item

    def tell(event: Event) -> None:
        with telling:
            connection.send(event)

    code = 1
    try:
        try:
            from tiemcli.runs.worker import work

            work(request, receive, tell)
            code = 0
        except (ImportError, MemoryError) as error:
            broken = ModelError(f"a worker does not start: {first_line(error)}", "see: tiem doctor")
            tell(Refused(broken))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        sys.stderr.flush()
        os._exit(code)  # what libraries do at exit may crash, and takes time
