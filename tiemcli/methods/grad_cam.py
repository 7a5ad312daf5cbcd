"""A layer's channels weighted by their mean slopes (Selvaraju et al., ICCV 2017)."""

from torch import Tensor

from tiemcli.methods.class_score import layer_slopes
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.layer import to_clip
from tiemcli.methods.layers import chosen
from tiemcli.methods.scene import Scene


def find(scene: Scene) -> Evidence:
    """ReLU(Σ_k w_k A_k) of the layer A, brought to the clip's size: (T, H, W), at least 0.

    Slopes are of the class's score before the softmax. Raises ModelError where no layer has a map.
    """
    clip = scene.torch_clip()
    with scene.gradient_stage(1):
        layer = chosen(clip, scene.settings.layer)
        volume, slopes = layer_slopes(scene, clip, layer)
        found = (mean_slopes(slopes, layer.by_frame) * volume).sum(0).relu()
        scene.progress.advance(1)
    return attributed(scene, to_clip(found, clip.shape), "autograd", 1)


def mean_slopes(slopes: Tensor, by_frame: bool) -> Tensor:
    """w_k = mean of ∂S/∂A_k, of slopes (C, t, h, w): (C, 1, 1, 1), or (C, t, 1, 1) by frame.

    The paper's mean is over one image. A layer that looks at each frame alone makes as many images of
    a clip, whose slopes differ by what a recurrent layer behind makes of each; one that convolves
    over time makes a single one of it.
    """
    return slopes.mean(dim=(2, 3) if by_frame else (1, 2, 3), keepdim=True)
