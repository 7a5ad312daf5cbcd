"""The tables of `tiem bench paper`: what each is made of, and how much of it."""

from collections.abc import Callable, Iterator
from typing import Literal

from tiemcli.bench.paper import contest, table2
from tiemcli.bench.paper.case import KINDS, data_folder, signature_cases
from tiemcli.bench.paper.contest import Contestant
from tiemcli.bench.paper.real_clips import real_cases
from tiemcli.bench.paper.silhouettes import silhouette_cases
from tiemcli.errors import UsageError
from tiemcli.methods import METHODS

Part = Literal["table2", "signature", "real"]
PARTS: tuple[Part, ...] = ("table2", "signature", "real")
Row = table2.Row | contest.Row

# Of the published optimisation, whose 2,000 only step needs: the others stand where they will stay
# after a few hundred.
ITERATIONS = {"ep-2d": 400, "ep-3d": 400, "step": 2000}
QUERIES = 1000
# Real clips are large: one evaluation takes a tenth of a second, one gradient half of one.
REAL_CLIPS, REAL_ITERATIONS, REAL_QUERIES, REAL_STEPS = 5, 20, 300, 16


def parts_in(text: str) -> tuple[Part, ...]:
    """The parts in a list such as `table2,real`. Raises UsageError."""
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in PARTS:
            raise UsageError(f"--part {name}", f"choose from {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in named)


def rows(
    parts: tuple[Part, ...], seeds: int, clips: int, progress: Callable[[str], None]
) -> Iterator[tuple[str, Row]]:
    """The rows of the parts that are asked for, each with the name of its part.

    seeds: of Table 2. clips: of each classifier. Without the real clips and networks their part is
    left out, and `progress` is told.
    """
    if "table2" in parts:
        for row in table2.rows(seeds, progress):
            yield "table2", row
    if "signature" in parts:
        for kind in KINDS:
            cases = list(signature_cases(kind, clips, 0, progress))
            for found in contest.rows(kind, cases, contestants(), progress):
                yield "signature", found
    if "real" in parts:
        try:
            folder = data_folder()
        except UsageError as error:
            progress(f"real clips are left out: {error.message}")
            return
        cases = list(silhouette_cases(folder, clips))
        for found in contest.rows("silhouettes", cases, contestants(), progress):
            yield "real", found
        cases = list(real_cases(folder, min(clips, REAL_CLIPS)))
        for found in contest.rows(
            "real clips", cases, few(), progress, steps=REAL_STEPS, bases=("blur",)
        ):
            yield "real", found


def contestants() -> list[Contestant]:
    """The presets, every method as published, and what can be compared at equal optimisation."""
    return [
        Contestant.of("best", queries=QUERIES),
        Contestant.of("paper", queries=QUERIES),
        *(
            Contestant.of(name, iterations=ITERATIONS.get(name), queries=QUERIES)
            for name in METHODS
            if name != "tiem"
        ),
        *(
            Contestant.of(name, f"{name}, exact", constraint="exact", queries=QUERIES)
            for name in ITERATIONS
        ),
    ]


def few() -> list[Contestant]:
    """Those that a large network allows."""
    return [
        Contestant.of("best", iterations=REAL_ITERATIONS),
        Contestant.of("paper", iterations=REAL_ITERATIONS),
        *(
            Contestant.of(name, f"{name}, exact", constraint="exact", iterations=REAL_ITERATIONS)
            for name in ("ep-3d", "step")
        ),
        *(
            Contestant.of(name, queries=REAL_QUERIES)
            for name in (
                "rise",
                "occlusion",
                "aosa",
                "gradient",
                "grad-cam",
                "saliency-tubes",
                "random",
                "center",
            )
        ),
    ]
