import json
import subprocess
import sys

import numpy as np
import pytest

from tiemcli.bench.whitebox import FRAMES, SIDE, SIZE, ceiling, pointing_game, region


def test_the_regions_are_the_papers() -> None:
    """A square that moves along the diagonal; dynamic: reversed in frames 7 and 8 alone."""
    gentle, dynamic = region("gentle"), region("dynamic")
    assert gentle.shape == (FRAMES, SIZE, SIZE)
    assert (gentle.sum(axis=(1, 2)) == SIDE**2).all()
    assert gentle[0, 0, 0] == gentle[-1, -1, -1] == 1
    changed = np.flatnonzero((gentle != dynamic).any(axis=(1, 2)))
    assert changed.tolist() == [7, 8]
    np.testing.assert_array_equal(dynamic[7], 1 - gentle[7])


def test_the_pointing_game_is_100_inside_and_minus_100_outside() -> None:
    """100·(in A − out of A)/kept."""
    truth = region("gentle")
    assert pointing_game(truth, truth) == 100
    assert pointing_game(1 - truth, truth) == -100
    assert pointing_game(np.ones_like(truth), truth) == pytest.approx(100 * (2 * truth.mean() - 1))


def test_the_ceiling_is_reached_by_the_best_mask() -> None:
    """A frame that must keep more than A holds cannot point at A alone."""
    truth = region("gentle")
    share = SIDE**2 / SIZE**2
    assert ceiling(np.full(FRAMES, share), truth) == pytest.approx(100)
    assert ceiling(np.full(FRAMES, 2 * share), truth) == pytest.approx(0)


@pytest.mark.slow
def test_tiem_points_at_the_truth() -> None:
    """The table has a row a variant; with gradients and exact areas almost all that is kept is in A,
    on both regressors."""
    command = [sys.executable, "-m", "tiemcli", "bench", "whitebox"]
    options = ["--seeds", "1", "--queries", "800", "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 12
    keys = {
        "method",
        "constraint",
        "backend",
        "regressor",
        "cells",
        "mean",
        "std",
        "ceiling",
        "paper",
    }
    assert all(set(row) == keys for row in rows)
    exact = [
        r for r in rows if (r["constraint"], r["backend"], r["cells"]) == ("exact", "autograd", 16)
    ]
    assert {row["regressor"] for row in exact} == {"gentle", "dynamic"}
    assert all(row["mean"] > 99.5 for row in exact)
    queries = [r for r in rows if (r["constraint"], r["backend"]) == ("exact", "finite-difference")]
    assert all(row["mean"] > 85 for row in queries)
