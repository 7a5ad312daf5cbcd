"""What the tables are to show, and whether they do."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiemcli.settings import PRESETS

# A row of the tables, as JSON holds it.
Record = Mapping[str, Any]

# Of the published methods that explain any network, those that the presets are to find time better than.
RIVALS = ("ep-3d", "step", "rise", "aosa")
# Pointing games of TIEM on the white-box regressors: by constraint and regressor, at least.
LEAST = {
    ("penalty", "gentle"): 97.0,
    ("penalty", "dynamic"): 99.8,
    ("exact", "gentle"): 99.9,
    ("exact", "dynamic"): 99.9,
}


@dataclass(frozen=True)
class Claim:
    """A claim in words, whether the tables bear it out, and by which figures."""

    text: str
    met: bool
    figures: str


@dataclass(frozen=True)
class Figure:
    """A mean over clips and its standard error, NaN for one clip."""

    mean: float
    error: float

    @classmethod
    def of(cls, metric: Mapping[str, Any]) -> "Figure":
        """Of a `Spread` as JSON holds it."""
        std = metric["std"]
        return cls(metric["mean"], math.nan if std is None else std / math.sqrt(metric["count"]))

    def above(self, other: "Figure") -> bool:
        """Whether mean ± error lies above all of the other's."""
        return self.mean - self.error > other.mean + other.error

    def text(self, digits: int) -> str:
        error = "" if math.isnan(self.error) else f" ± {self.error:.{digits}f}"
        return f"{self.mean:.{digits}f}{error}"


def claims(records: Sequence[Record]) -> Iterator[Claim]:
    """Every claim that the records can say something of."""
    yield from _of_table2([record for record in records if record["part"] == "table2"])
    tables: dict[str, dict[str, Record]] = {}
    for record in records:
        if record["part"] != "table2" and record["clips"]:
            tables.setdefault(record["table"], {})[record["method"]] = record
    for table, rows in tables.items():
        yield from _of_time(table, rows)
        yield from _of_insertion(table, rows)


def _of_table2(rows: Sequence[Record]) -> Iterator[Claim]:
    for row in rows:
        least = LEAST.get((row["constraint"], row["regressor"]))
        if row["method"] == "tiem" and least is not None:
            text = f"TIEM, {row['constraint']}, {row['regressor']} regressor: at least {least}"
            yield Claim(text, row["mean"] >= least, f"{row['mean']:.2f}")
    for constraint in ("penalty", "exact"):
        spills = [
            (row["smoothness"], row["spill"])
            for row in rows
            if row["constraint"] == constraint and row["smoothness"] is not None
        ]
        if spills:
            figures = ", ".join(f"{spill or 0:.1%} at {weight:g}" for weight, spill in spills)
            text = (
                f"STEP, {constraint}: the more its term weighs, the more spills into frames 6 and 9"
            )
            yield Claim(text, (spills[-1][1] or 0) > (spills[0][1] or 0), figures)


def _of_time(table: str, rows: Mapping[str, Record]) -> Iterator[Claim]:
    for winner in PRESETS:
        rivals = ("paper", *RIVALS) if winner == "best" else RIVALS
        losers = [name for name in rivals if name in rows]
        if winner not in rows or not losers:
            continue
        first = Figure.of(rows[winner]["metrics"]["temporal_pointing"])
        for loser in losers:
            second = Figure.of(rows[loser]["metrics"]["temporal_pointing"])
            text = f"{table}: {winner} above {loser} in temporal pointing, ± apart"
            yield Claim(text, first.above(second), f"{first.text(1)} against {second.text(1)}")


def _of_insertion(table: str, rows: Mapping[str, Record]) -> Iterator[Claim]:
    if "best" not in rows:
        return
    found = {name: Figure.of(row["metrics"]["insertion"]) for name, row in rows.items()}
    best = found.pop("best")
    name = max(found, key=lambda name: found[name].mean)
    text = f"{table}: insertion of best above all others'"
    figures = f"{best.text(3)} against {found[name].text(3)} of {name}"
    yield Claim(text, best.mean > found[name].mean, figures)
