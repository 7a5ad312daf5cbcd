"""The page of the paper's tables, and what it claims, of made-up records."""

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tiemcli import command_compare
from tiemcli.bench.paper import page
from tiemcli.bench.paper.claims import Figure, claims
from tiemcli.errors import UsageError

Record = dict[str, Any]


def regressor(method: str, mean: float, **changes: object) -> Record:
    """A row of Table 2."""
    row: Record = {
        "part": "table2",
        "regressor": "dynamic",
        "method": method,
        "constraint": "penalty",
        "smoothness": None,
        "iterations": 800,
        "seeds": 5,
        "mean": mean,
        "std": 0.02,
        "ceiling": 100.0,
        "soft_area": 0.104,
        "spill": 0.25,
        "paper": 99.79,
        "seconds": 3.0,
    }
    return row | changes


def standing(method: str, pointing: float, insertion: float, **changes: object) -> Record:
    """A row of the signature tables; 16 clips, a deviation of 4, so ± 1."""
    metrics = {
        "temporal_pointing": {"mean": pointing, "std": 4.0, "count": 16},
        "importance_pointing": {"mean": pointing, "std": 4.0, "count": 16},
        "insertion": {"mean": insertion, "std": 0.04, "count": 16},
    }
    row: Record = {
        "part": "signature",
        "table": "CNN-LSTM",
        "method": method,
        "clips": 16,
        "metrics": metrics,
        "forwards": 1234.5,
        "backwards": 60.0,
        "seconds": 1.0,
        "refused": 0,
        "reason": "",
    }
    return row | changes


RECORDS = [
    regressor("tiem", 99.95),
    regressor("tiem", 96.9, regressor="gentle"),
    regressor("ep-3d", 91.2, paper=None, std=None, spill=None),
    regressor("step", 90.0, smoothness=0.0, spill=0.01),
    regressor("step", 70.0, smoothness=300.0, spill=0.4),
    standing("best", 90.0, 0.93),
    standing("paper", 87.9, 0.91),
    standing("rise", 88.0, 0.94),
    standing("ceb-r", 0, 0, clips=0, metrics={}, refused=16, reason="no layer"),
    standing("best", 70.0, 0.8, part="real", table="silhouettes"),
    standing("random", 50.0, 0.5, part="real", table="silhouettes"),
]


def test_claims_are_met_or_not_by_the_figures() -> None:
    """By least values, by what spills more, by means whose standard errors do not meet, by means."""
    told = {claim.text: claim.met for claim in claims(RECORDS)}
    assert told == {
        "TIEM, penalty, dynamic regressor: at least 99.8": True,
        "TIEM, penalty, gentle regressor: at least 97.0": False,
        "STEP, penalty: the more its term weighs, the more spills into frames 6 and 9": True,
        "CNN-LSTM: paper above rise in temporal pointing, ± apart": False,
        "CNN-LSTM: best above paper in temporal pointing, ± apart": True,
        "CNN-LSTM: best above rise in temporal pointing, ± apart": False,
        "CNN-LSTM: insertion of best above all others'": False,
        "silhouettes: insertion of best above all others'": True,
    }


def test_a_claim_tells_its_figures() -> None:
    """The mean and the standard error of either side."""
    told = {claim.text: claim.figures for claim in claims(RECORDS)}
    assert told["CNN-LSTM: best above rise in temporal pointing, ± apart"] == (
        "90.0 ± 1.0 against 88.0 ± 1.0"
    )
    assert told["CNN-LSTM: insertion of best above all others'"] == (
        "0.930 ± 0.010 against 0.940 ± 0.010 of rise"
    )


def test_nothing_is_claimed_of_tables_without_best() -> None:
    """Nor of a table without a rival of the presets'."""
    rows = [standing("paper", 90, 0.9), standing("rise", 60, 0.8)]
    assert [claim.text.split()[1] for claim in claims(rows)] == ["paper"]
    assert not list(claims([standing("paper", 90, 0.9), standing("random", 60, 0.8)]))


def test_one_clip_has_no_error_and_is_above_none() -> None:
    """What is known of one clip bears out no claim of many."""
    one = Figure.of({"mean": 99.0, "std": None, "count": 1})
    assert math.isnan(one.error)
    assert one.text(1) == "99.0"
    assert not one.above(Figure(1.0, 0.1))


def test_the_page_has_every_table_and_no_nan() -> None:
    """Each table as markdown, of one width; methods in order of insertion; refusals below."""
    text = page.markdown(RECORDS, date(2026, 1, 2))
    assert "Made on 2026-01-02" in text
    assert "nan" not in text.lower().replace("explanan", "")
    assert "4 of 8" in text
    for heading in (
        "## White-box regressors",
        "### STEP on the dynamic regressor",
        "### CNN-LSTM, 16 clips",
        "### silhouettes, 16 clips",
        "## Beyond the paper",
    ):
        assert heading in text
    assert "`ceb-r` could not serve 16 of the clips: no layer." in text
    section = text.split("### CNN-LSTM")[1].split("##")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert [line.split()[1] for line in table[2:]] == ["rise", "best", "paper"]
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_part_that_was_not_measured_is_left_out() -> None:
    """The page of one part has no heading of another."""
    text = page.markdown(RECORDS[:5], date(2026, 1, 2))
    assert "## White-box regressors" in text
    assert "## Known signature frames" not in text
    assert "## Real clips" not in text


def test_json_knows_no_nan() -> None:
    """NaN and infinity are null, however deep; all else stays."""
    row = {"a": math.nan, "b": {"std": math.inf, "mean": 1.5, "count": 1}, "c": "x", "d": None}
    assert page.finite(row) == {
        "a": None,
        "b": {"std": None, "mean": 1.5, "count": 1},
        "c": "x",
        "d": None,
    }


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"rows": RECORDS}))
    return path


def test_stored_rows_are_read_back(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, or those of the parts asked for; as JSON, as the page, as tables."""

    def printed(part: str, *, as_json: bool = False, as_markdown: bool = False) -> str:
        command_compare.paper(part, 5, 20, stored, None, as_json=as_json, as_markdown=as_markdown)
        told = capsys.readouterr()
        assert told.err == ""
        return told.out

    every = "table2,signature,real"
    assert json.loads(printed(every, as_json=True))["rows"] == RECORDS
    assert json.loads(printed("real", as_json=True))["rows"] == RECORDS[-2:]
    assert printed(every, as_markdown=True) == page.markdown(RECORDS, date.today())
    shown = printed(every)
    for text in ("white-box regressors", "CNN-LSTM", "silhouettes", "NO ", "yes "):
        assert text in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "rows.json: "),
        ("[1]", "rows.json: "),
        ('{"rows": 3}', "rows.json: "),
        ('{"rows": [3]}', "rows.json: "),
        ('{"rows": [{"network": "r50"}]}', "rows of another table"),
        ('{"rows": []}', "no rows of --part real"),
    ],
)
def test_what_is_no_table_is_one_line(stored: Path, content: str, message: str) -> None:
    """Another bench's JSON too."""
    stored.write_text(content)
    with pytest.raises(UsageError, match=message) as error:
        command_compare.paper("real", 5, 20, stored, None, as_json=True, as_markdown=False)
    assert "\n" not in str(error.value)


def test_a_part_that_there_is_not_is_one_line(stored: Path) -> None:
    """It names the value, and what there is; so does a file that is not there."""
    with pytest.raises(UsageError, match=r"--part tabel2.*table2, signature, real"):
        command_compare.paper("tabel2", 5, 20, stored, None, as_json=True, as_markdown=False)
    gone = stored.with_name("gone.json")
    with pytest.raises(UsageError, match=r"gone\.json"):
        command_compare.paper("real", 5, 20, gone, None, as_json=True, as_markdown=False)
