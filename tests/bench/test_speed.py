"""The bench of speed end to end on a small network, and how its rows are shown."""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from tiemcli.bench.speed import comparison, folder, start
from tiemcli.bench.speed.networks import CASES, Case
from tiemcli.bench.speed.row import Row
from tiemcli.bench.speed.table import markdown, show
from tiemcli.bench.speed.windows import PLAIN, REUSE
from tiemcli.errors import UsageError

WINDOWS = Row(
    what=REUSE,
    network="net",
    frames=16,
    ratio=12.5,
    baseline=PLAIN,
    cpu_seconds=4.0,
    forwards=11.0,
    max_abs_diff=0.0,
    peak_bytes=250_000_000,
    target="≥ 40",
    met=False,
)
EXPLANATION = Row(
    what="one whole explanation",
    network="net",
    frames=16,
    ratio=9.876,
    baseline="the paper's recipe",
    cpu_seconds=123.4,
    forwards=200,
    equivalents=321.4,
    target="≤ 400 forwards",
    met=True,
)
FOLDER = Row(
    what="a folder of 4, each clip",
    network="net",
    frames=8,
    ratio=1.02,
    baseline="a folder of 1",
    cpu_seconds=6.5,
    share=0.961,
    wall_seconds=3.25,
)


def test_a_row_has_the_fields_that_the_json_promises() -> None:
    """What, network, frames, ratio, baseline, cpu_seconds, forwards, max_abs_diff, and all of JSON."""
    fields = json.loads(json.dumps(asdict(WINDOWS)))
    assert list(fields)[:8] == [
        "what",
        "network",
        "frames",
        "ratio",
        "baseline",
        "cpu_seconds",
        "forwards",
        "max_abs_diff",
    ]
    assert fields["peak_bytes"] == 250_000_000


def test_the_page_shows_targets_and_what_depends_on_T_and_on_clips() -> None:
    """A row with a target has its verdict; stage 1 its time without reuse, the ratio's times ours;
    a folder its share; the command and its versions are named."""
    page = markdown([WINDOWS, EXPLANATION, FOLDER], date(2026, 11, 23), 540.0)
    assert "Made on 2026-11-23 in 9 minutes" in page
    assert "    tiem bench speed --markdown > docs/benchmarks.md" in page
    assert "Python 3" in page
    targets, after = page.split("## Targets")[1].split("## Stage 1 against T")
    assert "| 0 | 250 MB | ≥ 40: missed |" in targets
    assert "| the time of 321 session.run | ≤ 400 forwards: met |" in targets
    assert "a folder" not in targets
    against_t, after = after.split("## A folder of clips")
    assert "| net | 16 | 136 | 50.0 | 4.00 | 12.5 | 250 MB |" in against_t
    folders, every = after.split("## All rows")
    assert "| 4 | net | 8 | 6.50 | 3.25 | 96.1% |" in folders
    assert every.count("\n| ") == 4


def test_the_table_counts_the_targets_that_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows without a target count for nothing."""
    show([WINDOWS, EXPLANATION, FOLDER])
    assert "1 of 2 targets met" in capsys.readouterr().out


def test_an_unknown_network_is_refused_with_the_known() -> None:
    """Before anything is measured."""
    with pytest.raises(UsageError, match="r2plus1d-18"):
        next(comparison.rows("nosuch"))


def test_the_committed_page_is_of_these_networks(root: Path) -> None:
    """docs/benchmarks.md has windows with reuse for every network and T that the code has."""
    page = (root / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    every = page.split("## All rows")[1]
    for case in CASES:
        assert f"| {REUSE} | {case.network} | {case.frames} |" in every
    assert "| tiem --help |" in every


@pytest.mark.slow
def test_a_network_comes_all_the_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every kind of row of a small CNN with an LSTM, with scores that agree on all sides."""
    pytest.importorskip("torchvision")
    case = Case(
        "tiny", "zoo:cnn-lstm", 8, 32, None, rivals=True, explained=True, folder=True, least=1000
    )
    monkeypatch.setattr(comparison, "CASES", (case,))
    monkeypatch.setattr(folder, "CLIPS", (1, 2))
    seen: list[str] = []
    table = list(comparison.rows("tiny", seen.append))
    assert seen[0] == "tiny, 8 frames: export"
    by_what: dict[str, list[Row]] = {}
    for row in table:
        assert (row.network, row.frames) == ("tiny", 8)
        assert row.ratio > 0
        assert row.cpu_seconds > 0
        assert row.max_abs_diff is None or row.max_abs_diff < 1e-5
        by_what.setdefault(row.what, []).append(row)
    rivals = ["session.run", "eager torch, one by one", "eager torch, batch 4"]
    assert [row.baseline for row in by_what[PLAIN]] == rivals
    assert [row.baseline for row in by_what[REUSE]] == [PLAIN, *rivals]
    assert all(row.forwards == 36 for row in by_what[PLAIN])
    assert by_what[REUSE][0].met is False
    (explanation,) = by_what["one whole explanation"]
    assert explanation.equivalents is not None
    assert explanation.forwards is not None
    assert explanation.equivalents > explanation.forwards > 0
    assert explanation.peak_bytes is not None
    assert explanation.peak_bytes > 100e6
    shares = [by_what[f"a folder of {count}, each clip"][0].share for count in (1, 2)]
    assert all(share is not None and 0 < share < 1 for share in shares)
    show(table)
    assert "all windows" in capsys.readouterr().out


@pytest.mark.slow
def test_the_start_is_measured() -> None:
    """`tiem --help` takes longer than Python that does nothing."""
    row = start.row()
    assert 0 < row.ratio < 1
    assert row.met == (row.ratio >= 1 / 8)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["r2plus1d-10", "videomae-tiny"])
def test_our_own_networks_answer_clips_differently(network: str, tmp_path: Path) -> None:
    """Their facts stand in the file, and no class is all that they ever say."""
    pytest.importorskip("transformers")
    from tiemcli.bench.speed.networks import prepare
    from tiemcli.scorers.network import load_network

    case = next(case for case in CASES if case.network == network)
    subject = prepare(case, tmp_path)
    assert subject.model.shape == (3, case.frames, case.size, case.size)
    assert not subject.model.assumed
    answers = load_network(subject.model, "cpu").outputs(subject.clip)
    assert answers.shape == (7,)
    assert 1 / 7 < answers.max() < 0.999
    base = subject.model.preprocessing.base("black", subject.clip)
    assert np.abs(load_network(subject.model, "cpu").outputs(base) - answers).max() > 1e-3
