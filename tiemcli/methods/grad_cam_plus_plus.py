"""Grad-CAM with slopes weighted cell by cell (Chattopadhyay, Sarkar, Howlader, Balasubramanian,
WACV 2018)."""

from torch import Tensor

from tiemcli.methods.class_score import layer_slopes
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.layer import to_clip
from tiemcli.methods.layers import chosen
from tiemcli.methods.scene import Scene


def find(scene: Scene) -> Evidence:
    """ReLU(Σ_k w_k A_k) of the layer A, brought to the clip's size: (T, H, W), at least 0.

    The class's score Y is exp(S), S before the softmax, as the paper takes it to have higher
    derivatives from the first. Raises ModelError where no layer has a map.
    """
    clip = scene.torch_clip()
    with scene.gradient_stage(1):
        layer = chosen(clip, scene.settings.layer)
        volume, slopes = layer_slopes(scene, clip, layer)
        found = (weighted_slopes(volume, slopes, layer.by_frame) * volume).sum(0).relu()
        scene.progress.advance(1)
    return attributed(scene, to_clip(found, clip.shape), "autograd", 1)


def weighted_slopes(volume: Tensor, slopes: Tensor, by_frame: bool) -> Tensor:
    """w_k = Σ α_k ReLU(g_k) with α = g²/(2g² + ΣA_k g³), g = ∂S/∂A (Eqs. 11, 19): (C, 1, 1, 1).

    Sums are over the volume (C, t, h, w), or by frame, which gives (C, t, 1, 1). The factor exp(S) of
    ∂Y/∂A, which all have in common, is left out; it cancels in α.
    """
    cells = (2, 3) if by_frame else (1, 2, 3)
    below = 2 * slopes**2 + volume.sum(dim=cells, keepdim=True) * slopes**3
    alphas = slopes**2 / below.where(below != 0, 1.0)
    return (alphas * slopes.relu()).sum(dim=cells, keepdim=True)
