"""Several clips in a folder: what each takes, and how much of it is not the network's."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnxruntime as ort

from tiemcli.batch import Failure, Request, prepare, run
from tiemcli.bench.speed.clock import cpu_seconds
from tiemcli.bench.speed.networks import Subject
from tiemcli.bench.speed.row import Row
from tiemcli.facts import Facts
from tiemcli.progress import Silent
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
        clips=clips,
        model=model,
        facts=Facts(),
        settings=Settings(backend="autograd"),
        folder=folder,
        device="cpu",
        batch_size=None,
        force=False,
    )
    network = prepare(request)

    def explain_all() -> None:
        for outcome in run(request, network, Silent()):
            if isinstance(outcome, Failure):
                raise outcome.error

    return explain_all


def watched(
    work: Callable[[], None], methods: Sequence[tuple[type, str]]
) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of processors, and the share of the first spent in `methods`.

    They are replaced while the work runs by ones that take the time as well. None may call another.
    """
    spent: list[float] = []
    with ExitStack() as watching:
        for owner, name in methods:
            timed = _timed(getattr(owner, name), spent)
            watching.enter_context(patch.object(owner, name, timed))
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return wall, cpu, sum(spent) / wall


def _timed(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @wraps(method)
    def run(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            spent.append(time.perf_counter() - began)

    return run


def _running_a_network() -> tuple[tuple[type, str], ...]:
    """The methods in which a network runs: in ONNX Runtime, and in torch there and back."""
    import torch

    from tiemcli.gradients import Differentiable

    return (
        (ort.InferenceSession, "run"),
        (ort.InferenceSession, "run_with_iobinding"),
        (ort.InferenceSession, "run_with_ort_values"),
        (Differentiable, "__call__"),
        (torch.Tensor, "backward"),
    )
