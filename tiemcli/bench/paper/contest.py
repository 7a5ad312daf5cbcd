"""Every method on clips whose signature frames are known: Tables 3 and 6 in shape."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiemcli.bench.paper.case import Case
from tiemcli.comparison import settings_of
from tiemcli.errors import ClipError, ModelError
from tiemcli.kernels.arrays import Bools
from tiemcli.methods import method
from tiemcli.methods.evidence import Evidence
from tiemcli.methods.scene import Scene
from tiemcli.metrics.measures import CURVE_BASES, Measures, measure
from tiemcli.metrics.summary import Spread, spread
from tiemcli.metrics.truth import Truth
from tiemcli.progress import Silent
from tiemcli.scorers import Scorer
from tiemcli.settings import CURVE_STEPS, Base, Settings

AREA = 0.1


@dataclass(frozen=True)
class Contestant:
    """A method, or a preset of tiem, as the table calls it, with what it is run by."""

    name: str
    settings: Settings

    @classmethod
    def of(cls, name: str, shown: str = "", **changes: object) -> "Contestant":
        """By the name of a method or preset; `shown` if the table is to call it otherwise."""
        settings = settings_of(name, replace(Settings(), **changes), AREA)  # type: ignore[arg-type]
        return cls(shown or name, settings)


@dataclass(frozen=True)
class Standing:
    """What one method did on one clip. importance_match: the cosine of its frames' importance with
    their exact contributions, where these are known."""

    method: str
    case: str
    measures: Measures
    importance_pointing: float
    importance_match: float | None
    forwards: int
    backwards: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """One method over the clips of one table. metrics: by name, over clips. refused: on how many clips
    it could not serve, and why on the last."""

    table: str
    method: str
    clips: int
    metrics: Mapping[str, Spread]
    forwards: float
    backwards: float
    seconds: float
    refused: int = 0
    reason: str = ""


def rows(
    table: str,
    cases: Sequence[Case],
    contestants: Iterable[Contestant],
    progress: Callable[[str], None],
    *,
    steps: int = CURVE_STEPS,
    bases: tuple[Base, ...] = CURVE_BASES,
) -> Iterator[Row]:
    """Each contestant on every case, a row each."""
    scorers = [
        {base: case.network.scorer(case.clip, _base(case, base), case.target) for base in bases}
        for case in cases
    ]
    for contestant in contestants:
        progress(f"{table}: {contestant.name}")
        standings: list[Standing] = []
        refused, reason = 0, ""
        for index, (case, curves) in enumerate(zip(cases, scorers, strict=True)):
            chosen = replace(contestant.settings, seed=contestant.settings.seed + index)
            try:
                standings.append(stand(case, contestant.name, chosen, curves, steps))
            except (ClipError, ModelError) as error:
                refused, reason = refused + 1, error.message
        if standings:
            yield _row(table, contestant.name, standings, refused, reason)
        else:
            yield Row(table, contestant.name, 0, {}, 0, 0, 0, refused, reason)


def stand(
    case: Case, name: str, settings: Settings, curves: Mapping[Base, Scorer], steps: int
) -> Standing:
    """Explain one case, and measure it. Raises ClipError or ModelError."""
    scene = scene_of(case, settings)
    began = time.perf_counter()
    evidence = method(settings.method).find(scene)
    seconds = time.perf_counter() - began
    forwards, _, backwards = scene.cost
    (mask,) = (mask for mask in evidence.masks if mask.area == AREA)
    measures = measure(
        evidence.saliency,
        mask.hard,
        clean=scene.clean,
        score=mask.score,
        enough=scene.enough,
        regression=scene.objective.regression,
        truth=Truth(case.signature, _telling(case)),
        curves=curves,
        random=scene.random(),
        steps=steps,
    )
    return Standing(
        method=name,
        case=case.name,
        measures=measures,
        importance_pointing=100 * float(evidence.temporal.importance[case.signature].sum()),
        importance_match=_match(evidence, case),
        forwards=forwards,
        backwards=backwards,
        seconds=seconds,
    )


def scene_of(case: Case, settings: Settings) -> Scene:
    """The case as a method is given it."""
    clean = float(case.network.outputs(case.clip)[case.target])
    return Scene(case.network, settings, case.clip, case.target, clean, Silent())


def _telling(case: Case) -> Bools | None:
    """(T, H, W): the object where it tells the class, which is in signature frames alone."""
    return None if case.region is None else case.region & case.signature[:, None, None]


def _match(evidence: Evidence, case: Case) -> float | None:
    """The cosine of importance and exact contributions, (T,) each."""
    if case.weights is None:
        return None
    l, truth = evidence.temporal.importance, case.weights
    return float(l @ truth / (np.linalg.norm(l) * np.linalg.norm(truth)))


def _base(case: Case, kind: Base) -> np.ndarray:
    return case.network.model.preprocessing.base(kind, case.clip)


def _row(table: str, name: str, standings: Sequence[Standing], refused: int, reason: str) -> Row:
    told = [standing.measures.known() for standing in standings]
    names = [name for name in told[0] if all(name in known for known in told)]
    metrics = {name: spread([known[name] for known in told]) for name in names}
    metrics["importance_pointing"] = spread([s.importance_pointing for s in standings])
    matches = [s.importance_match for s in standings if s.importance_match is not None]
    if matches:
        metrics["importance_match"] = spread(matches)
    return Row(
        table=table,
        method=name,
        clips=len(standings),
        metrics=metrics,
        forwards=float(np.mean([s.forwards for s in standings])),
        backwards=float(np.mean([s.backwards for s in standings])),
        seconds=float(np.mean([s.seconds for s in standings])),
        refused=refused,
        reason=reason,
    )
