"""The contest: its rows are means over clips, and who cannot serve is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiemcli.bench.paper import contest
from tiemcli.bench.paper.case import Case
from tiemcli.bench.paper.contest import Contestant, rows, scene_of, stand
from tiemcli.errors import ClipError
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Doubles
from tiemcli.methods import METHODS, method
from tiemcli.methods.scene import Scene
from tiemcli.model import load_model
from tiemcli.scorers.network import load_network

Cases = list[Case]
STEPS = 4


@pytest.fixture
def cases(build_network: Callable[..., Path]) -> Cases:
    """Two clips of noise; what they are said to mean is made up."""
    facts = Facts(layout="NCTHW", labels=list("abcde"))
    network = load_network(load_model(build_network(), facts), "cpu", 1)
    region = np.zeros((4, 12, 16), dtype=bool)
    region[:, 2:5, 3:7] = True
    made = []
    for seed, signature in ((0, [1, 1, 0, 0]), (1, [0, 0, 1, 0])):
        clip = np.random.default_rng(seed).standard_normal((3, 4, 12, 16), dtype=np.float32)
        told = np.array(signature, dtype=bool)
        target = int(network.outputs(clip).argmax())
        made.append(Case(f"noise {seed}", network, clip, target, told, region))
    return made


def contestants(*names: str) -> list[Contestant]:
    return [Contestant.of(name) for name in names]


def test_a_row_is_a_method_over_all_clips(cases: Cases) -> None:
    """Its metrics are means and deviations of what `stand` says of each, its seed one more a clip."""
    told: list[str] = []
    table = list(rows("made", cases, contestants("random", "center"), told.append, steps=STEPS))
    assert [(row.table, row.method, row.clips) for row in table] == [
        ("made", "random", 2),
        ("made", "center", 2),
    ]
    assert told == ["made: random", "made: center"]
    (random,) = contestants("random")
    for name, found in table[0].metrics.items():
        if name in ("importance_pointing", "insertion_black", "deletion_black"):
            continue
        values = []
        for seed, case in enumerate(cases):
            settings = replace(random.settings, seed=seed)
            curves = {"blur": case.network.scorer(case.clip, blurred(case), case.target)}
            standing = stand(case, "random", settings, curves, STEPS)
            values.append(getattr(standing.measures, name))
        assert found.mean == pytest.approx(np.mean(values)), name
        assert found.std == pytest.approx(np.std(values, ddof=1)), name


def blurred(case: Case) -> np.ndarray:
    return case.network.model.preprocessing.base("blur", case.clip)


def test_the_masks_of_center_point_as_geometry_says(cases: Cases) -> None:
    """They are the same in all frames: half of theirs and a quarter are in the signature; so is the
    importance, which is uniform, both but for a pixel."""
    (row,) = rows("made", cases, contestants("center"), lambda what: None, steps=STEPS)
    assert row.metrics["temporal_pointing"].mean == pytest.approx((50 + 25) / 2, abs=1)
    assert row.metrics["importance_pointing"].mean == pytest.approx((50 + 25) / 2, abs=1)
    assert row.refused == 0
    assert row.backwards == 0


def test_the_region_counts_in_signature_frames_alone(cases: Cases) -> None:
    """A clip whose frames all are signature has the whole region, and a larger overlap."""
    every = [replace(case, signature=np.ones(4, dtype=bool)) for case in cases]
    few, all_of_them = (
        next(rows("made", chosen, contestants("center"), lambda what: None, steps=STEPS))
        for chosen in (cases, every)
    )
    assert 0 < few.metrics["iou"].mean < all_of_them.metrics["iou"].mean
    without = [replace(case, region=None) for case in cases]
    (row,) = rows("made", without, contestants("center"), lambda what: None, steps=STEPS)
    assert not row.metrics.keys() & {"iou", "spatial_pointing"}


@pytest.mark.parametrize(
    ("weights", "match"),
    [((1, 1, 1, 1), 1.0), ((0, 0, 2, 0), 0.5), ((3, 4, 0, 0), 7 / 10)],
)
def test_importance_is_matched_with_exact_contributions(
    cases: Cases, weights: tuple[float, ...], match: float
) -> None:
    """Center's importance is uniform: the cosine is (1, 1, 1, 1)/2 times the weights over their norm."""
    told: Doubles = np.array(weights, dtype=np.float64)
    known = [replace(case, weights=told) for case in cases]
    (row,) = rows("made", known, contestants("center"), lambda what: None, steps=STEPS)
    assert row.metrics["importance_match"].mean == pytest.approx(match)
    (row,) = rows("made", cases, contestants("center"), lambda what: None, steps=STEPS)
    assert "importance_match" not in row.metrics


def test_who_cannot_serve_is_told(cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clip refused leaves a row of the other; all refused, a row without metrics."""

    class Refusing:
        def __init__(self, refused: int) -> None:
            self.left = refused

        def find(self, scene: Scene) -> object:
            if self.left:
                self.left -= 1
                raise ClipError("no two legs", "take another clip")
            return method("center").find(scene)

    for refused, clips in ((1, 1), (2, 0)):
        refusing = Refusing(refused)
        monkeypatch.setattr(contest, "method", lambda name, found=refusing: found)
        (row,) = rows("made", cases, contestants("center"), lambda what: None, steps=STEPS)
        assert (row.clips, row.refused, row.reason) == (clips, refused, "no two legs")
        assert bool(row.metrics) == bool(clips)


def test_a_preset_is_measured_by_its_mask_of_the_common_area(cases: Cases) -> None:
    """Every contestant keeps a tenth, whatever other areas it fits; a name can be shown otherwise."""
    for name in (*METHODS, "best", "paper"):
        assert 0.1 in (Contestant.of(name).settings.areas or ())
    assert Contestant.of("step", "step, exact", constraint="exact").name == "step, exact"
    scene = scene_of(cases[0], Contestant.of("best").settings)
    assert scene.clean == pytest.approx(float(cases[0].network.outputs(cases[0].clip).max()))
