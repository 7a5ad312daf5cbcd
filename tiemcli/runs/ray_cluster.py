"""A Ray cluster to work on, and what each worker gets of it."""

import logging
import math
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiemcli.errors import DeviceError, UsageError, first_line

# Nothing large travels through Ray; by default it would set a third of the memory aside.
STORE = 100 << 20
# Seconds within which a machine that is there takes a connection; Ray would try for minutes.
KNOCK = 5
# A worker reads a clip and writes another while it scores a third.
CPUS_EACH = 2


@dataclass(frozen=True)
class Share:
    """What each of so many workers gets. cpus, gpus: reserved for it, parts of one where workers
    share it. threads: that it computes with on CPUs."""

    workers: int
    cpus: float
    gpus: float
    threads: int

    def __str__(self) -> str:
        amount, kind = (self.gpus, "GPU") if self.gpus else (self.cpus, "CPU")
        return f"{amount:g} {kind}" + ("s" if amount > 1 else "")


def join(address: str | None) -> bool:
    """Join the cluster, or with None start a Ray of this machine alone; False if this process was
    part of one already, which it then stays. Raises UsageError without Ray, DeviceError without the
    cluster."""
    try:
        import ray
        from ray.exceptions import RayError
    except ModuleNotFoundError as error:
        raise UsageError(
            "--engine ray needs Ray, which is not installed", "pip install 'tiem[ray]'"
        ) from error
    if ray.is_initialized():
        return False
    alone: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE}
    # What Ray has to say of dead workers we say ourselves, and stdout is for results.
    ray._private.worker._worker_logs_enabled = False
    try:
        if address is not None:
            _knock(address)
        # Workers import what lies in the folder that Ray is joined from before what is installed.
        with chdir(Path.cwd().anchor), _without_stderr():
            ray.init(
                "local" if address is None else address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **(alone if address is None else {}),
            )
    except (OSError, ValueError, RuntimeError, RayError) as error:
        ray.shutdown()
        if address is None:
            raise DeviceError(
                f"Ray does not start: {first_line(error)}", "see its logs in /tmp/ray"
            ) from error
        hint = (
            "install the same Ray and Python on all machines"
            if "ersion mismatch" in str(error)
            else "run tiem on a machine of the cluster; if that has a token, set RAY_AUTH_MODE=token"
        )
        raise DeviceError(f"--address {address}: {first_line(error)}", hint) from error
    return True


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep what Ray's libraries write to it, past Python, from a person who gets the error."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _knock(address: str) -> None:
    """See whether the cluster's head is there. Raises UsageError or DeviceError."""
    from ray._private.services import get_ray_address_from_environment

    try:
        where = get_ray_address_from_environment(address, None) if address == "auto" else address
    except ConnectionError as error:
        raise DeviceError(
            "--address auto: this machine is part of no Ray cluster",
            "start one with: ray start --head, or leave out --address",
        ) from error
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise UsageError(f"--address {where}", "give auto, or HOST:PORT of the cluster's head")
    try:
        socket.create_connection((host, int(port)), KNOCK).close()
    except (OSError, OverflowError) as error:
        raise DeviceError(
            f"--address {address}: no Ray at {where}: {error}", "start one with: ray start --head"
        ) from error


def share(device: str, workers: int | None) -> Share:
    """Divide the cluster that this process is part of, whatever else is at work on it.

    A worker for each GPU; where there are none or the device is `cpu`, one for each two CPUs, as it
    decodes and writes beside scoring. Raises DeviceError without GPUs for `cuda`, or without CPUs;
    UsageError for a GPU by number.
    """
    import ray

    if device.startswith("cuda:"):
        raise UsageError(f"--device {device} --engine ray", "Ray picks the GPU: use --device cuda")
    machines = [
        machine["Resources"]
        for machine in ray.nodes()  # type: ignore[no-untyped-call]
        if machine["Alive"]
    ]
    cpus = [machine.get("CPU", 0.0) for machine in machines]
    gpus = [machine.get("GPU", 0.0) for machine in machines]
    if device == "cuda" and not sum(gpus):
        raise DeviceError("--device cuda: the Ray cluster has no GPU", "use --device cpu")
    if device != "cpu" and sum(gpus):
        workers = workers or int(sum(gpus))
        part = largest_part([1.0] * int(sum(gpus)), workers)
        least = min(cpu / gpu for cpu, gpu in zip(cpus, gpus, strict=True) if gpu)
        return Share(workers, 0, part, max(1, int(least * part)))
    if not sum(cpus):
        raise DeviceError("the Ray cluster has no CPU", "add one: ray start --address HOST:PORT")
    workers = workers or max(1, sum(int(cpu // CPUS_EACH) for cpu in cpus))
    part = largest_part(cpus, workers)
    return Share(workers, part, 0, max(1, int(part)))


def largest_part(sizes: Sequence[float], count: int) -> float:
    """The most that each of `count` workers can have where none spans two machines.

    sizes: what machines have. A whole number, or 1/k where they have less than one each, rounded
    down to what Ray counts in, ten thousandths.
    """
    for part in range(int(max(sizes)), 0, -1):
        if sum(int(size // part) for size in sizes) >= count:
            return part
    sharing = math.ceil(count / sum(sizes))
    while sum(int(size * sharing) for size in sizes) < count:
        sharing += 1
    return math.floor(10_000 / sharing) / 10_000
