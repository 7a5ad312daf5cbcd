"""Stage 1, the windows: against raw ONNX Runtime, against eager torch, with and without reuse."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tiemcli.bench.speed.clock import Turn, forget_peak, interleave, peak_memory
from tiemcli.bench.speed.networks import Subject
from tiemcli.bench.speed.rivals import EagerTorch, RawRuntime
from tiemcli.bench.speed.row import Row
from tiemcli.kernels.arrays import Doubles, Floats, Ints
from tiemcli.kernels.windows import enumerate_windows, window_membership, window_sizes
from tiemcli.memory import resident_memory
from tiemcli.running_cost import measure_speed
from tiemcli.scorers.network import load_network
from tiemcli.scorers.reuse.shared import SAME
from tiemcli.scorers.session import make_session

PLAIN, REUSE = "all windows", "all windows, with reuse"
RAW, ONE_BY_ONE, BATCH = "session.run", "eager torch, one by one", "eager torch, batch 4"
# What windows are promised to be against each, in its time over ours: as good as the runtime itself
# without reuse, and, as a user has them, well above eager torch.
LEAST = {PLAIN: {RAW: 0.95}, REUSE: {ONE_BY_ONE: 4.0, BATCH: 2.0}}
# The clips that eager torch is given at once, and at a turn.
EAGER = {ONE_BY_ONE: (1, 2), BATCH: (4, 4)}
# A sample of the windows takes about so long, but holds so many at least.
SAMPLE_SECONDS, SMALLEST_SAMPLE = 2.0, 8
BEFORE, AFTER = 2, 1  # rounds of samples around all windows at once


@dataclass
class Heat:
    """What the turns of one case leave behind: scores by name, and what reuse took."""

    scores: dict[str, Doubles] = field(default_factory=dict)
    forwards: float = 0.0
    peak_bytes: int | None = None

    def turn(self, name: str, clips: int, score: Callable[[], Doubles]) -> Turn:
        """A turn that keeps its scores."""

        def run() -> None:
            self.scores[name] = score()

        return Turn(name, clips, run)


def rows(subject: Subject) -> Iterator[Row]:
    """Score all windows of a clip; a row for each thing that this is compared with.

    Without reuse every window costs the same, so a sample spread over them is timed in three rounds,
    and scaled to all. With reuse they are scored at once, which it spans, and once: that is long
    enough to be its own average; where nothing to reuse is found they are timed as those without.
    Differences are those of the sample's scores.
    """
    case, model, clip = subject.case, subject.model, subject.clip
    keep = 1 - window_membership(case.frames, _windows(case.frames))
    base = model.preprocessing.base("black", clip)
    plain = load_network(model, "cpu", reuse=False)
    target = int(plain.outputs(clip).argmax())
    scorer = plain.scorer(clip, base, target)
    rate = measure_speed(scorer, plain.batching).evaluations_per_second
    batch = plain.batching.size
    sample = _sample(len(keep), batch, rate)
    heat = Heat()
    short = [heat.turn(PLAIN, len(sample), lambda: scorer.score(keep[sample]))]
    if case.rivals:
        masked = np.stack([base + keep[i][:, None, None] * (clip - base) for i in sample])
        raw, *eager = _rivals(heat, subject, masked, batch, target)
        # The two that are hard to tell apart have two turns a round.
        short = [*short, raw, *short, raw, *eager]
    held = resident_memory()
    network = load_network(model, "cpu", reuse=True)
    reusing = network.scorer(clip, base, target)
    loaded = resident_memory() - held
    spanned = sample if network.reuse is None else np.arange(len(keep))

    def score_all() -> Doubles:
        forgets, held, before = forget_peak(), resident_memory(), reusing.computed
        scores = reusing.score(keep[spanned])
        heat.forwards = (reusing.computed - before) * len(keep) / len(spanned)
        if forgets and network.reuse is not None:
            heat.peak_bytes = loaded + peak_memory() - held
        return scores if network.reuse is None else scores[sample]

    full = heat.turn(REUSE, len(spanned), score_all)
    long = [] if network.reuse is None else [full]
    short = short if long else [*short, full]
    for turn in short:
        turn.run()  # the first run pays for caches and allocations
    seconds = interleave([*short * BEFORE, *long, *short * AFTER])
    yield from _compared(subject, heat, seconds, len(keep))


def _compared(
    subject: Subject, heat: Heat, seconds: dict[str, float], windows: int
) -> Iterator[Row]:
    """seconds: of a clip, by name."""
    case = subject.case
    for ours in (PLAIN, REUSE):
        for baseline in (PLAIN, RAW, ONE_BY_ONE, BATCH):
            if baseline == ours or baseline not in seconds:
                continue
            least = case.least if baseline == PLAIN else LEAST[ours].get(baseline)
            ratio = seconds[baseline] / seconds[ours]
            theirs = heat.scores[baseline]
            apart = float(np.abs(heat.scores[ours][: len(theirs)] - theirs).max())
            yield Row(
                what=ours,
                network=case.network,
                frames=case.frames,
                ratio=ratio,
                baseline=baseline,
                cpu_seconds=seconds[ours] * windows,
                forwards=windows if ours == PLAIN else heat.forwards,
                max_abs_diff=apart,
                peak_bytes=None if ours == PLAIN else heat.peak_bytes,
                target="" if least is None else f"≥ {least:g}",
                met=None if least is None else ratio >= least and apart <= SAME,
            )


def _windows(frames: int) -> Ints:
    return enumerate_windows(frames, window_sizes(frames))


def _sample(windows: int, batch: int, rate: float) -> Ints:
    """Indices spread over the windows, a multiple of the batch of them; again from one if need be."""
    wanted = min(max(SMALLEST_SAMPLE, rate * SAMPLE_SECONDS), windows)
    clips = max(1, int(wanted) // batch) * batch
    return np.linspace(0, windows - 1, clips).astype(np.int64)


def _rivals(
    heat: Heat, subject: Subject, masked: Floats, batch: int, target: int
) -> Iterator[Turn]:
    """The sample's clips as raw ONNX Runtime takes them, and the first of them for eager torch."""
    model = subject.model
    fed = model.tensor(masked)
    session = make_session(model.proto, model.path.parent, "cpu")
    raw = RawRuntime(session, model, _batches(fed, batch))
    yield heat.turn(RAW, len(fed), lambda: raw.probabilities()[:, target])
    for name, (size, clips) in EAGER.items():
        yield _eager(heat, name, EagerTorch(subject.module, _batches(fed[:clips], size)), target)


def _eager(heat: Heat, name: str, rival: EagerTorch, target: int) -> Turn:
    clips = sum(map(len, rival.batches))
    return heat.turn(name, clips, lambda: rival.probabilities()[:, target])


def _batches(fed: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    return tuple(fed[start : start + size] for start in range(0, len(fed), size))
