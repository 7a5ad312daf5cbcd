"""Several clips in a folder: what each takes, and how much of it is not the network's."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any
from unittest.mock import patch

import onnxruntime as ort

from tiemcli.batch import prepare, run
from tiemcli.bench.speed.clock import cpu_seconds
from tiemcli.bench.speed.networks import Subject
from tiemcli.bench.speed.row import Row
from tiemcli.facts import Facts
from tiemcli.progress import Silent
from tiemcli.request import Request
from tiemcli.runs.engine import Failure, Item, Outcome
from tiemcli.settings import Settings

CLIPS = (1, 4, 16)
LEAST_SHARE = 0.95


def rows(subject: Subject) -> Iterator[Row]:
    """Explain folders of 1, 4 and 16 copies of the clip with all defaults; a row for each.

    Times are of one clip, the network loaded before. share: of the time on the clock spent in calls
    of ONNX Runtime or torch that run the network; the first gradient's imports are outside.
    """
    alone = 0.0
    for count in CLIPS:
        folder = subject.path.parent / f"folder{count}"
        folder.mkdir()
        clips = tuple(folder / f"clip{number}.mp4" for number in range(count))
        for clip in clips:
            shutil.copyfile(subject.video, clip)
        wall, cpu, share = watched(_explaining(clips, subject.path, folder), _running_a_network())
        alone = alone or cpu
        yield Row(
            what=f"a folder of {count}, each clip",
            network=subject.case.network,
            frames=subject.case.frames,
            ratio=alone / (cpu / count),
            baseline="a folder of 1",
            cpu_seconds=cpu / count,
            share=share,
            wall_seconds=wall / count,
            target=f"≥ {LEAST_SHARE:.0%} inside" if count == CLIPS[-1] else "",
            met=share >= LEAST_SHARE if count == CLIPS[-1] else None,
        )


def _explaining(clips: tuple[Path, ...], model: Path, folder: Path) -> Callable[[], None]:
    """What explains the clips, once the network is loaded."""
    request = Request(
        model=str(model),
        facts=Facts(),
        settings=Settings(backend="autograd"),
        device="cpu",
        batch_size=None,
        force=False,
    )
    network = prepare(request)
    items = iter([Item(clip, folder / f"{clip.stem}.tiem.json") for clip in clips])
    return lambda: run(request, network, lambda: next(items, None), _Raising())


class _Raising(Silent):
    """A listener for whom every clip must have a result."""

    def scored(self) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            raise outcome.error


def watched(
    work: Callable[[], None], functions: Sequence[tuple[Any, str]]
) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of processors, and the share of the first in which any thread
    is in one of `functions`, by owner and name.

    They are replaced while the work runs by ones that take the time as well.
    """
    inside = _Inside()
    with ExitStack() as watching:
        for owner, name in functions:
            timed = inside.timing(getattr(owner, name))
            watching.enter_context(patch.object(owner, name, timed))
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return wall, cpu, inside.seconds / wall


class _Inside:
    """The time in which any thread is inside; several at once count once."""

    def __init__(self) -> None:
        self.seconds = self._since = 0.0
        self._threads, self._lock = 0, Lock()

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            self._count(1)
            try:
                return function(*arguments, **named)
            finally:
                self._count(-1)

        return run

    def _count(self, change: int) -> None:
        with self._lock:
            now = time.perf_counter()
            if self._threads:
                self.seconds += now - self._since
            self._since = now
            self._threads += change


def _running_a_network() -> tuple[tuple[Any, str], ...]:
    """The functions in which a network runs: in ONNX Runtime, and in torch there and back."""
    import torch

    from tiemcli.gradients import Differentiable

    return (
        (ort.InferenceSession, "run"),
        (ort.InferenceSession, "run_with_iobinding"),
        (ort.InferenceSession, "run_with_ort_values"),
        (Differentiable, "__call__"),
        (torch.autograd, "grad"),
    )
