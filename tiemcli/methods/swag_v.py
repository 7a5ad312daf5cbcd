"""SWAG-V: supervoxels weighted by their average gradients (Hartley et al., WACV 2022)."""

import cv2
import numpy as np

from tiemcli.kernels.arrays import Floats
from tiemcli.methods.class_score import pixel_slopes
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.scene import Scene
from tiemcli.methods.supervoxels import means, supervoxels

# Our choices: about 300 regions of a square frame, as SWAG has of an image, each four frames long.
ACROSS = 17
FRAMES = 4
# Our choice too: SLIC's usual 10, where colours are 100 apart at most.
COMPACTNESS = 0.1
# And for the cut alone, gradients are shares of the largest but for these few, which are often far
# out, blurred by a part of a region's width: as they are they would tear regions into specks.
OUTLIERS = 0.01
BLUR = 0.25


def find(scene: Scene) -> Evidence:
    """Each voxel takes the mean |∂S/∂x| of its supervoxel: (T, H, W), at least 0.

    S is the class's score before the softmax. Supervoxels are alike in the colours that the network is
    fed and in the gradient (the paper's of image and gradient). The plain gradient, our choice: guided
    backpropagation is of networks of ReLUs alone.
    """
    clip = scene.torch_clip()
    with scene.gradient_stage(1):
        gradient = pixel_slopes(scene, clip).abs().mean(0).cpu().numpy()
        alike = np.concatenate([_colours(scene.clip), _shares(gradient)[None]])
        labels = supervoxels(alike, cells_of(scene.shape), COMPACTNESS)
        weights = means(gradient.ravel(), labels.ravel(), int(labels.max()) + 1)
        scene.progress.advance(1)
    return attributed(scene, weights[labels], "autograd", 1)


def cells_of(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """How many supervoxels to start from along T, H and W, square in a frame."""
    frames, height, width = shape
    side = _side(shape)
    return max(1, round(frames / FRAMES)), round(height / side), round(width / side)


def _side(shape: tuple[int, ...]) -> float:
    """The width of a supervoxel in pixels."""
    return max(1.0, min(shape[-2:]) / ACROSS)


def _colours(clip: Floats) -> Floats:
    """The clip (C, T, H, W) from 0 to 1; together no further apart than one channel may be."""
    low, high = clip.min(), clip.max()
    wide = max(float(high - low), 1e-12) * np.sqrt(len(clip))
    return np.asarray((clip - low) / wide, dtype=np.float32)


def _shares(gradient: Floats) -> Floats:
    """The gradient (T, H, W) from 0 to 1, every frame blurred."""
    sigma = BLUR * _side(gradient.shape)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in gradient])
    most = float(np.quantile(blurred, 1 - OUTLIERS)) or float(blurred.max()) or 1.0
    return np.asarray(np.minimum(blurred / most, 1), dtype=np.float32)
