"""Filling the tables of a network's unrolled front, on a CPU."""

import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
import onnxruntime as ort

from tiemcli.errors import ClipError, ModelError, first_line
from tiemcli.kernels.arrays import Floats, Ints
from tiemcli.kernels.schedule import Schedule, Shape, Unit
from tiemcli.kernels.split import ROWS_OF, TABLE
from tiemcli.kernels.tables import Front, segment_model
from tiemcli.scorers.session import ONLY_FATAL, is_out_of_memory


@dataclass(frozen=True)
class Tables:
    """A front, and a session on the CPU, of one thread, for each of its segments."""

    front: Front
    sessions: tuple[ort.InferenceSession, ...]

    def fill(
        self, plan: Schedule, pictures: Callable[[Ints], Floats], progress: Callable[[int], None]
    ) -> dict[Shape, Floats]:
        """The slots of each shape, as the rest is to read them: (slots, C, H, W).

        pictures: rows (R,) of the first level as the network's input, (R, C, H, W). progress: told
        the multiply-adds that have been done since it was last told.
        """
        stores = {s: np.empty((count, *s), dtype=np.float32) for s, count in plan.slots.items()}
        for store in stores.values():
            store[0] = 0
        threads = os.cpu_count() or 1
        # Each run has a thread of its own from beginning to end: they wait for each other once a
        # unit, and not at every operator as the runtime's own threads do.
        with ThreadPoolExecutor(threads) as pool:
            for unit in plan.units:
                segment, count = self.front.segments[unit.segment], len(unit.rows)
                size = min(segment.run, math.ceil(count / threads))
                parts = [slice(at, min(at + size, count)) for at in range(0, count, size)]
                run = partial(self._run, unit, pictures, stores)
                list(pool.map(run, parts))  # which raises what a run raised
                progress(segment.work * count)
        return stores

    def _run(
        self,
        unit: Unit,
        pictures: Callable[[Ints], Floats],
        stores: Mapping[Shape, Floats],
        part: slice,
    ) -> None:
        """Some of a unit's rows, from slots to slots."""
        unrolling, segment = self.front.unrolling, self.front.segments[unit.segment]
        binding = self.sessions[unit.segment].io_binding()
        for name, slots in unit.reads.items():
            store = stores[unrolling.slices[unrolling.reads[name].source].shape]
            _bind(binding.bind_input, TABLE.format(name), store)
            _bind(binding.bind_input, ROWS_OF.format(name), slots[part])
        if segment.level == 0:
            x = pictures(unit.rows[part])
            _bind(binding.bind_input, unrolling.input, x)
        for name, first in unit.writes.items():
            filled = stores[unrolling.slices[name].shape][first : first + len(unit.rows)]
            _bind(binding.bind_output, f"tiem.{name}", filled[part])
        try:
            self.sessions[unit.segment].run_with_iobinding(binding)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ClipError(f"the network fails under a mask: {first_line(error)}") from error


def make_tables(model: onnx.ModelProto, front: Front) -> Tables:
    """A session for each segment. `model` gives the versions of operators; the front has its weights.

    Raises ModelError if the runtime refuses one.
    """
    options = ort.SessionOptions()
    options.log_severity_level = ONLY_FATAL
    options.intra_op_num_threads = 1
    # Sessions by the dozen would each keep what their largest run took.
    options.enable_cpu_mem_arena = False
    sessions = []
    for segment in front.segments:
        content = segment_model(model, front.unrolling, segment).SerializeToString()
        try:
            sessions.append(
                ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            )
        except Exception as error:
            raise ModelError(f"ONNX Runtime refuses its tables: {first_line(error)}") from error
    return Tables(front, tuple(sessions))


def _bind(bind: Callable[..., None], name: str, array: np.ndarray) -> None:
    """Have the session read or write an array where it lies; it must be in one piece."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
