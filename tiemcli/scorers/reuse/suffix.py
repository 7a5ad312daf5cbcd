"""Scoring what is left of a network once its frames are encoded: clips are rows of tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from tiemcli.kernels import fuse
from tiemcli.kernels.arrays import Doubles, Ints
from tiemcli.kernels.split import ROWS_OF, TABLE
from tiemcli.scorers import Progress, unheard
from tiemcli.scorers.batching import Batching
from tiemcli.scorers.fused import numbers, residents, run_bound


@dataclass(frozen=True)
class Size:
    """The shape of a value, or its number of elements, for n clips: fixed + n · per_clip, int64."""

    fixed: Ints
    per_clip: Ints

    def of(self, clips: int) -> Ints:
        return self.fixed + clips * self.per_clip


@dataclass(frozen=True)
class Suffix:
    """A session of a graph made by `suffix`.

    sizes: what its inputs tell of shapes in front of it. copies: how often every clip is given to
    it, one at a time, because the network's batch cannot be freed; the first answer counts.
    """

    session: ort.InferenceSession
    batching: Batching
    sizes: Mapping[str, Size]
    copies: int = 1

    def answers(
        self,
        tables: Sequence[np.ndarray],
        rows: Sequence[Ints],
        target: int,
        wanted: str = fuse.SCORE,
        progress: Progress = unheard,
    ) -> Doubles:
        """SCORE (N,) or OUTPUTS (N, K) of N clips, float64.

        tables: of each cut, (U, *slice). rows: of each cut, (N, T), those that a clip consists of.
        Raises ClipError where the network fails or an answer is no number.
        """
        fixed = {TABLE.format(index): table for index, table in enumerate(tables)}
        fixed[fuse.TARGET] = np.array([target], dtype=np.int64)
        resident = residents(fixed, self.session)

        def forward(part: slice) -> Doubles:
            fed = {
                ROWS_OF.format(index): np.repeat(clips[part], self.copies, axis=0)
                for index, clips in enumerate(rows)
            }
            count = (part.stop - part.start) * self.copies
            fed |= {name: size.of(count) for name, size in self.sizes.items()}
            (answers,) = run_bound(self.session, resident, fed, [wanted])
            return np.asarray(answers, dtype=np.float64)[:: self.copies]

        return numbers(self.batching.map(len(rows[0]), forward, progress))
