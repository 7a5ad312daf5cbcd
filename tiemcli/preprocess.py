"""From decoded frames to what the network is fed, and the bases that hide parts of it."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from tiemcli.kernels.arrays import Bytes, Floats
from tiemcli.kernels.blend import BLUR_SIGMA, gaussian_blur
from tiemcli.settings import Base

Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "crop"]


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the network's input: x = (pixel · scale − mean) / std, per channel.

    height, width: of the network's frames. mean, std: one number a channel.
    """

    height: int
    width: int
    color: Color
    resize: Resize
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def view(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The part of a source frame that the network sees: x, y, width and height in pixels."""
        if self.resize == "stretch":
            return 0, 0, width, height
        scale = min(width / self.width, height / self.height)
        seen = min(width, round(self.width * scale)), min(height, round(self.height * scale))
        return (width - seen[0]) // 2, (height - seen[1]) // 2, *seen

    def fit(self, frame: Bytes) -> Bytes:
        """A source frame (H, W, 3) uint8 RGB at the network's height and width."""
        x, y, width, height = self.view(frame.shape[1], frame.shape[0])
        shrinking = width >= self.width and height >= self.height
        return np.asarray(
            cv2.resize(
                frame[y : y + height, x : x + width],
                (self.width, self.height),
                interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR,
            )
        )

    def clip(self, frames: Bytes) -> Floats:
        """(T, H, W, 3) uint8 RGB frames as the network's clip (C, T, H, W) float32."""
        if self.color == "gray":
            pixels = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames])[..., None]
        else:
            pixels = frames[..., ::-1] if self.color == "bgr" else frames
        return self._normalised(pixels.transpose(3, 0, 1, 2).astype(np.float32))

    def base(self, kind: Base, clip: Floats) -> Floats:
        """What stands where a clip (C, T, H, W) is hidden, in the same units and shape.

        `black` is pixel value 0 before normalisation; `blur` the clip under a Gaussian; `mean` the
        clip's mean colour; `average` the mean of its frames, in all of them.
        """
        if kind == "blur":
            return gaussian_blur(clip, BLUR_SIGMA * min(self.height, self.width))
        if kind == "mean":
            mean = clip.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
            return np.broadcast_to(mean, clip.shape).astype(np.float32)
        if kind == "average":
            frame = clip.mean(axis=1, keepdims=True, dtype=np.float64)
            return np.broadcast_to(frame, clip.shape).astype(np.float32)
        return self._normalised(np.zeros_like(clip))

    def _normalised(self, pixels: Floats) -> Floats:
        normalised = np.empty_like(pixels)
        # A channel at a time, for what stands between is in double precision.
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            centred = pixels[channel] * self.scale - np.float64(mean)
            normalised[channel] = centred / np.float64(std)
        return normalised
