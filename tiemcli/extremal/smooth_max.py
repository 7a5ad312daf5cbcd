"""The smooth masks of extremal perturbations: every cell spreads, and the largest prevails.

Fong, Patrick and Vedaldi, ICCV 2019. A pixel u is the smooth maximum, Σ s·e^(βs) / Σ e^(βs), of
s_c = k(|u − c|/σ)·p_c over the cells c about it, with k(z) = exp(−2·max(z − ½, 0)²).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tiemcli.kernels.arrays import Floats

# In pixels of a frame whose shorter side is 112; other frames keep the proportion.
STEP, SIGMA, SIDE = 7, 11, 112
COLDNESS = 20.0
# A cell whose kernel is below this counts as one of 0: it would add e^.4 where the largest adds e^20.
SMALLEST_KERNEL = 0.02
# e^x as a power of two, which torch computes in a fourth of the time.
_LOG2E = math.log2(math.e)


class _Tap(NamedTuple):
    """The cells that lie alike about all blocks of pixels. row, column: of the first block's.

    weights: (S,), β·log2(e)·k for each of the S pixels of a block.
    """

    row: int
    column: int
    weights: Tensor


class SmoothMax:
    """From (T, h, w) cells in [0, 1] to masks (T, H + 2m, W + 2m), on a canvas wider than the frame.

    The canvas reaches a margin m = σ past the frame, over which the cells at its edge spread.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        short = min(height, width)
        self.step, self.sigma = max(1, round(STEP * short / SIDE)), SIGMA * short / SIDE
        self.margin = round(self.sigma)
        self.frame_size = height, width
        self.canvas_size = height + 2 * self.margin, width + 2 * self.margin
        self.grid = math.ceil(height / self.step), math.ceil(width / self.step)
        self.blocks = tuple(math.ceil(size / self.step) for size in self.canvas_size)
        near = 1 + math.ceil((self.margin + 2 * self.sigma) / self.step)
        taps = [
            (row, column, kernel)
            for row in range(-near, near + 1)
            for column in range(-near, near + 1)
            if (kernel := self._kernel(row, column)).max() >= SMALLEST_KERNEL
        ]
        first = min(row for row, _, _ in taps)
        last = max(row for row, _, _ in taps)
        # Zeros about the cells: columns before and after, rows before and after.
        self.around = tuple(
            edge
            for blocks, cells in zip(self.blocks[::-1], self.grid[::-1], strict=True)
            for edge in (-first, blocks + last - cells)
        )
        self.taps = [
            _Tap(
                row - first,
                column - first,
                torch.from_numpy(COLDNESS * _LOG2E * kernel).to(device),
            )
            for row, column, kernel in taps
        ]
        # Of the published neighbourhood those cells that are never near enough: e^0 each.
        radius = 1 + math.ceil(self.sigma / self.step)
        self.far = max(0, (2 * radius + 1) ** 2 - len(taps))

    def __call__(self, cells: Tensor) -> Tensor:
        """The canvas of cells, to be differentiated."""
        rows, columns = self.blocks
        flat: Tensor = _Pooling.apply(cells, self)
        blocks = flat.reshape(self.step, self.step, len(cells), rows, columns)
        canvas = blocks.permute(2, 3, 0, 4, 1).reshape(len(cells), rows * self.step, -1)
        height, width = self.canvas_size
        return canvas[:, :height, :width]

    def frame(self, canvas: Tensor) -> Tensor:
        """The part of a canvas that lies over the frame: (T, H, W)."""
        height, width = self.frame_size
        return canvas[:, self.margin : self.margin + height, self.margin : self.margin + width]

    def _kernel(self, row: int, column: int) -> Floats:
        """k of the cell that is so many cells past a block's own number, for the block's pixels."""
        pixels = np.arange(self.step) + 0.5 - self.margin
        away = np.hypot(
            pixels[:, None] - (row + 0.5) * self.step, pixels - (column + 0.5) * self.step
        )
        kernel: Floats = np.exp(-2 * np.maximum(away / self.sigma - 0.5, 0) ** 2).ravel()
        return kernel.astype(np.float32)


class _Pooling(torch.autograd.Function):
    """(T, h, w) cells to (S, T·blocks) pixels; ∂out/∂s = e^(βs)·(1 + β(s − out)) / Σ e^(βs).

    A tap at a time, so that what is at work stays in the processor's cache.
    """

    @staticmethod
    def forward(ctx: Any, cells: Tensor, masks: SmoothMax) -> Tensor:
        padded = pad(cells, masks.around)
        size = len(cells) * masks.blocks[0] * masks.blocks[1]
        total = padded.new_full((masks.step**2, size), masks.far)
        pooled, scaled, powers = torch.zeros_like(total), total.clone(), total.clone()
        for tap in masks.taps:
            torch.outer(tap.weights, _near(padded, tap, masks).reshape(-1), out=scaled)
            torch.exp2(scaled, out=powers)
            total += powers
            pooled.addcmul_(scaled, powers)
        pooled /= total * (COLDNESS * _LOG2E)
        ctx.save_for_backward(padded, pooled, total)
        ctx.masks, ctx.shape = masks, cells.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        padded, pooled, total = ctx.saved_tensors
        masks: SmoothMax = ctx.masks
        slope = gradient / total
        constant = slope * (1 - COLDNESS * pooled)
        slope /= _LOG2E
        result = torch.zeros_like(padded)
        scaled, powers = torch.empty_like(total), torch.empty_like(total)
        for tap in masks.taps:
            torch.outer(tap.weights, _near(padded, tap, masks).reshape(-1), out=scaled)
            torch.exp2(scaled, out=powers)
            torch.addcmul(constant, slope, scaled, out=scaled).mul_(powers)
            near = _near(result, tap, masks)
            near += (tap.weights @ scaled).reshape(near.shape)
        left, _, above, _ = masks.around
        _, height, width = ctx.shape
        cells = result[:, above : above + height, left : left + width]
        return cells / (COLDNESS * _LOG2E), None


def _near(padded: Tensor, tap: _Tap, masks: SmoothMax) -> Tensor:
    """The tap's cell of every block, (T, rows, columns), a view."""
    rows, columns = masks.blocks
    return padded[:, tap.row : tap.row + rows, tap.column : tap.column + columns]
