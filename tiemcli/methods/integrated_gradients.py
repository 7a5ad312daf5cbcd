"""Gradients summed on the way from base to clip (Sundararajan, Taly, Yan, ICML 2017)."""

import torch

from tiemcli.methods.class_score import class_score
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.scene import Scene

# "In practice, we find that somewhere between 20 and 300 steps are enough" (Section 5).
STEPS = 50
# How far their sum may be from the score's change, as a share of Φ(X), before it is told: 5 % by the
# same section.
INCOMPLETE = 0.05


def find(scene: Scene) -> Evidence:
    """(x − x') · ∫ ∂Φ/∂x along the straight path, by the midpoint rule, summed over channels.

    Signed, (T, H, W); its sum is Φ(X) − Φ(base) but for the rule's error, of Φ as masks are scored.
    The mean slope of Φ by a mask that is α everywhere is just this integral.
    """
    clip = scene.torch_clip()
    total = torch.zeros(clip.shape, dtype=torch.float64, device=clip.device)
    with scene.gradient_stage(STEPS):
        for step in range(STEPS):
            share = (step + 0.5) / STEPS
            keep = torch.full(clip.shape, share, device=clip.device, requires_grad=True)
            (slope,) = clip.slopes(class_score(scene, clip.answers(keep)), keep)
            total += slope
            scene.progress.advance(1)
        with torch.no_grad():
            hidden = class_score(scene, clip.answers(torch.zeros(clip.shape, device=clip.device)))
    saliency = (total / STEPS).float().cpu().numpy()
    change = abs(scene.clean) - float(hidden)
    doubt = _doubt(float(saliency.sum(dtype="f8")), change, scene.clean)
    return attributed(scene, saliency, "autograd", STEPS, doubt)


def _doubt(total: float, change: float, clean: float) -> str:
    """What to tell of a path whose gradients miss some of the score's change."""
    if abs(total - change) <= INCOMPLETE * abs(clean):
        return ""
    return (
        f"{STEPS} gradients on the way from base to clip sum to {total:.3g} where the score changes by "
        f"{change:.3g}: it changes too suddenly; try another --base"
    )
