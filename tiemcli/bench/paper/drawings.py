"""Figures 5 to 10 of the paper, drawn of the clips of the tables."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tiemcli.bench.paper.case import KINDS, Case, signature_cases
from tiemcli.bench.paper.contest import AREA, Contestant, scene_of
from tiemcli.bench.paper.figures import (
    Regressor,
    areas_figure,
    curve_figure,
    importance_figure,
    masks_figure,
    whitebox_figure,
)
from tiemcli.bench.paper.table2 import evidence_of
from tiemcli.bench.whitebox import REGRESSORS, region, regressor_network
from tiemcli.errors import OutputError
from tiemcli.kernels.arrays import Bytes, Doubles, Floats
from tiemcli.methods import method
from tiemcli.methods.evidence import Evidence
from tiemcli.metrics.insertion import insertion
from tiemcli.settings import CURVE_STEPS, Method, Settings

# The number of clips that an insertion curve is the mean of.
CURVES = 5
MASKED = ("ep-3d", "step", "paper", "best")
CURVED = ("best", "paper", "integrated-gradients", "rise", "grad-cam", "random")
WHITEBOX: tuple[Method, ...] = ("ep-3d", "step", "tiem")


def draw(folder: Path, progress: Callable[[str], None]) -> list[Path]:
    """Draw every figure into a folder, and return where they are. Raises UsageError, OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {error.strerror}", "choose another folder"
        ) from error
    drawn = [folder / "whitebox.png"]
    progress("drawing the white-box regressors")
    whitebox_figure(drawn[0], [_regressor(name) for name in REGRESSORS])
    for kind in KINDS:
        cases = list(signature_cases(kind, CURVES, 0, progress))
        progress(f"drawing the {kind}")
        stem = kind.lower().replace(" ", "-")
        first = cases[0]
        found = {name: _evidence(first, name) for name in MASKED}
        kept = {name: _kept(evidence) for name, evidence in found.items()}
        names = [
            folder / f"{stem}-{what}.png" for what in ("masks", "importance", "areas", "insertion")
        ]
        masks_figure(names[0], _pixels(first), kept, first.signature)
        importance_figure(names[1], found["paper"].temporal, first.signature)
        best = found["best"].masks
        areas_figure(
            names[2],
            np.array([mask.area for mask in best]),
            np.array([mask.score for mask in best]),
            scene_of(first, Settings()).enough,
        )
        curve_figure(names[3], {name: _curve(cases, name) for name in CURVED})
        drawn += names
    return drawn


def _regressor(name: str) -> Regressor:
    truth = region(name)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        network = regressor_network(truth, Path(folder))
    kept: dict[str, Floats] = {
        known: _kept(evidence_of(network, known, "penalty", 0)) for known in WHITEBOX
    }
    return Regressor(name, truth > 0, kept)


def _evidence(case: Case, name: str) -> Evidence:
    settings = Contestant.of(name).settings
    return method(settings.method).find(scene_of(case, settings))


def _kept(evidence: Evidence) -> Floats:
    return next(mask.hard for mask in evidence.masks if mask.area == AREA)


def _pixels(case: Case) -> Bytes:
    """(T, H, W, 3) uint8: the clip as a person sees it."""
    return np.rint(case.clip.transpose(1, 2, 3, 0) * 255).astype(np.uint8)


def _curve(cases: list[Case], name: str) -> tuple[Doubles, Doubles, Doubles]:
    """Shares, and the mean and deviation of insertion's scores over the cases."""
    curves = []
    for case in cases:
        base = case.network.model.preprocessing.base("blur", case.clip)
        scorer = case.network.scorer(case.clip, base, case.target)
        saliency = _evidence(case, name).saliency
        curves.append(insertion(scorer, saliency, np.random.default_rng(0), CURVE_STEPS))
    scores = np.stack([curve.scores for curve in curves])
    return curves[0].shares, scores.mean(axis=0), scores.std(axis=0, ddof=1)
