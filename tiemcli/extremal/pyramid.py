"""A perturbation that blurs the more, the less it keeps (Fong, Patrick and Vedaldi, ICCV 2019)."""

import numpy as np
import torch
from torch import Tensor

from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.blend import BLUR_SIGMA, gaussian_blur

LEVELS = 8


class BlurPyramid:
    """A clip at eight blurs, σ from 20 of 112 pixels down to 0 in equal steps.

    A pixel of keep m shows level 7m, between two levels the line between them. At 0 and 1 this is
    what a blurred base and the clip show; between, a blend with the base would show both at once.
    """

    def __init__(self, clip: Floats, device: torch.device) -> None:
        """clip: (C, T, H, W) float32."""
        widest = BLUR_SIGMA * min(clip.shape[2:])
        sigmas = np.linspace(widest, 0, LEVELS)
        levels = [*(gaussian_blur(clip, float(sigma)) for sigma in sigmas[:-1]), clip]
        self._levels = torch.from_numpy(np.stack(levels)).to(device)

    def __call__(self, keep: Tensor) -> Tensor:
        """The pixels (C, T, H, W) under a keep-mask (T, H, W), to be differentiated."""
        height = keep * (LEVELS - 1)
        below = height.detach().floor().clamp(0, LEVELS - 2)
        index = below.long().expand(1, *self._levels.shape[1:])
        (under,), (over,) = self._levels.gather(0, index), self._levels.gather(0, index + 1)
        shown: Tensor = under + (height - below) * (over - under)
        return shown
