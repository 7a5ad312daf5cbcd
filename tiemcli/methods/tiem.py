"""TIEM: when by hidden windows, then where by masks whose areas follow (the paper's Section 3)."""

from tiemcli.extremal.backend import make_fitter
from tiemcli.extremal.mask import AreaMask, Fitter
from tiemcli.extremal.search import fit_areas
from tiemcli.kernels.arrays import Doubles
from tiemcli.kernels.windows import enumerate_windows, window_sizes
from tiemcli.methods.evidence import Evidence, nested
from tiemcli.methods.scene import Scene
from tiemcli.temporal import TemporalImportance, measure_importance


def find(scene: Scene) -> Evidence:
    """Stage 1, then stage 2 with the areas that it gives (Eq. 5)."""
    temporal = find_when(scene)
    masks = find_where(scene, temporal.importance)
    gradients = scene.gradients
    return Evidence(
        temporal,
        masks,
        nested(masks),
        "finite-difference" if gradients.clip is None else "autograd",
        gradients.reason,
        gradients.warning,
    )


def find_when(scene: Scene) -> TemporalImportance:
    """Stage 1: the time importance score of each frame."""
    settings, objective = scene.settings, scene.objective
    frames = scene.shape[0]
    sizes = window_sizes(frames, settings.window_choice)
    scored = len(enumerate_windows(frames, sizes)) * (1 + len(scene.other_windows))
    with scene.stage("temporal", "when", scored):
        return measure_importance(
            scene.windows,
            objective.clean,
            sizes,
            alpha=settings.alpha,
            aggregate=settings.tis_aggregate,
            unit=objective.clean if objective.regression else 1.0,
            others=scene.other_windows,
            progress=scene.progress.advance,
        )


def find_where(scene: Scene, importance: Doubles) -> tuple[AreaMask, ...]:
    """Stage 2: a mask an area, the frames' areas following (T,) importance that sums to 1."""
    settings = scene.settings
    fitter = make_fitter(
        scene.gradients.clip,
        scene.scorer,
        scene.target,
        scene.objective,
        constraint=settings.constraint or "exact",
        iterations=settings.iterations,
        queries=settings.queries,
        estimator=settings.estimator,
        random=scene.random(),
        cells=None if scene.gradients.clip is None else finest(scene),
        continuity=settings.continuity,
    )
    return fit_masks(scene, fitter, importance)


def finest(scene: Scene) -> int | None:
    """The cells that are asked for, no more of them than a frame has pixels across."""
    wished = scene.settings.cells
    return None if wished is None else min(wished, *scene.shape[1:])


def fit_masks(scene: Scene, fitter: Fitter, importance: Doubles) -> tuple[AreaMask, ...]:
    """The masks of the scene's areas by any fitter, timed and shown as it goes on."""
    evaluations = sum(fitter.budget(warm=index > 0) for index in range(len(scene.areas)))
    with scene.stage("masks", "where", evaluations):
        return fit_areas(
            fitter,
            scene.scorer,
            importance,
            scene.areas,
            scene.keeps,
            stop_when_too_small=scene.searching,
            progress=scene.progress.advance,
        )
