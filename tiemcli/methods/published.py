"""What the published extremal perturbations share: ep-2d, ep-3d and step are a recipe each.

Fong, Patrick and Vedaldi, Understanding deep networks via extremal perturbations and smooth masks,
ICCV 2019. With --constraint exact, which none of them was published with, the area holds at every
step of TIEM's own smooth masks, so that methods can be compared without their penalties.
"""

from dataclasses import replace

import numpy as np

from tiemcli.extremal.backend import CELLS
from tiemcli.extremal.mask import AreaMask, Fitter, MaskSpace
from tiemcli.extremal.recipe import ITERATIONS, Recipe
from tiemcli.kernels.arrays import Doubles
from tiemcli.methods.evidence import Evidence, frame_importance, nested
from tiemcli.methods.scene import Scene
from tiemcli.methods.tiem import find_where, fit_masks
from tiemcli.temporal import TemporalImportance

# How far, as a share of what was asked for, a penalty's soft mask may be before it is mentioned.
MENTIONED = 0.02


def explain_by(scene: Scene, recipe: Recipe) -> Evidence:
    """The evidence of one recipe, under its own penalty or the exact area.

    The masks are hard and of the very area: under the penalty the share of the soft mask that is
    largest. What they score is over the scene's base whatever the fit showed, as for every method.
    Raises UsageError, ModelError or ClipError where gradients are needed and cannot be had.
    """
    published = scene.settings.constraint != "exact"
    importance = np.full(scene.shape[0], 1 / scene.shape[0])
    if published:
        masks = fit_masks(scene, _published(scene, recipe), importance)
    elif recipe.volume:
        masks = fit_masks(scene, _exact_volume(scene, recipe), importance)
    else:
        masks = find_where(scene, importance)
    if recipe.volume:
        masks = tuple(replace(mask, frame_areas=_kept_of_frames(mask)) for mask in masks)
        temporal = frame_importance(masks[-1].hard, scene.settings.alpha)
    else:
        temporal = TemporalImportance(importance, scene.settings.alpha, False, ())
    gradients = scene.gradients
    return Evidence(
        temporal,
        masks,
        nested(masks, recipe.volume),
        "finite-difference" if gradients.clip is None else "autograd",
        gradients.reason,
        "; ".join(filter(None, (gradients.warning, _realised(masks) if published else ""))),
    )


def _published(scene: Scene, recipe: Recipe) -> Fitter:
    without = "" if recipe.volume else "add --constraint exact, which does without gradients"
    clip = scene.torch_clip(without)
    from tiemcli.extremal.published import PublishedFitter
    from tiemcli.extremal.pyramid import BlurPyramid

    return PublishedFitter(
        clip,
        scene.target,
        scene.objective,
        recipe,
        scene.settings.iterations or ITERATIONS,
        BlurPyramid(scene.clip, clip.device) if scene.settings.base == "blur" else None,
        scene.random(),
    )


def _exact_volume(scene: Scene, recipe: Recipe) -> Fitter:
    clip = scene.torch_clip()
    from tiemcli.extremal.autograd import DEFAULT_ITERATIONS, AutogradFitter
    from tiemcli.extremal.smoothness import Smoothness

    return AutogradFitter(
        clip,
        scene.scorer,
        scene.target,
        scene.objective,
        MaskSpace.across(scene.shape, CELLS["autograd"], volume=True),
        "exact",
        scene.settings.iterations or DEFAULT_ITERATIONS["exact"],
        0.0,
        scene.random(),
        Smoothness(scene.shape, recipe.smoothness, clip.device) if recipe.smoothness else None,
    )


def _kept_of_frames(mask: AreaMask) -> Doubles:
    kept: Doubles = mask.hard.mean(axis=(1, 2), dtype=np.float64)
    return kept


def _realised(masks: tuple[AreaMask, ...]) -> str:
    """What the soft masks keep, where a penalty missed the area."""
    missed = [
        f"{soft:.1%} for {mask.area:.1%}"
        for mask in masks
        if abs((soft := float(mask.soft.mean())) - mask.area) > MENTIONED * mask.area
    ]
    if not missed:
        return ""
    return (
        f"the penalty let the soft mask keep {', '.join(missed)}: the hard mask is the part of it "
        "that was asked for"
    )
