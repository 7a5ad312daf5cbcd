"""The time of day that is set back while a clip is explained."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.pipeline import explain, read_clip
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings

Record = Callable[..., Path]


def test_a_clock_that_runs_backwards_changes_no_duration(
    record: Record, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every question for the time of day is answered by an earlier hour; stages take what they take."""
    hours = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    monkeypatch.setattr(time, "time_ns", lambda: next(hours) * 10**9)
    settings = Settings(queries=20, backend="finite-difference")
    loaded = load_network(load_model(network, Facts()), "cpu")
    found = explain(read_clip(record(), loaded.model, settings), loaded, settings)
    assert found.seconds
    assert all(0 <= seconds < 60 for seconds in found.seconds.values())
