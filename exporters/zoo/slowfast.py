"""After SlowFast (Feichtenhofer et al., 2019): one pathway of few frames, one of all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from tiemcli.exporters.original import Form, Original
from tiemcli.exporters.torch_original import OUTPUT, TorchOriginal, options, write_by_first
from tiemcli.exporters.zoo.recipe import Recipe
from tiemcli.facts import Facts
from tiemcli.kernels.wire import pathway_frames

FRAMES, SPARSE = 16, 4  # a pathway
LAYOUT, SHAPE = "NCTHW", (1, 3, FRAMES, 48, 48)


def _stem(inputs: int, outputs: int, frames: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, (frames, 5, 5), (1, 2, 2), (frames // 2, 2, 2), bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    )


class Residual(nn.Module):
    """Two convolutions around which the input passes; `frames` is how many each sees."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        kernel, padding = (frames, 3, 3), (frames // 2, 1, 1)
        self.path = nn.Sequential(
            nn.Conv3d(channels, channels, kernel, padding=padding, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
            nn.Conv3d(channels, channels, kernel, padding=padding, bias=False),
            nn.BatchNorm3d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = (x + self.path(x)).relu()
        return added


class TwoPathways(nn.Module):
    """slow: (N, 3, SPARSE, H, W), fast: (N, 3, FRAMES, H, W); the fast one tells the slow one."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.slow_stem, self.fast_stem = _stem(3, 16, 1), _stem(3, 4, 5)
        self.lateral = nn.Conv3d(4, 8, (5, 1, 1), (FRAMES // SPARSE, 1, 1), (2, 0, 0))
        self.slow, self.fast = Residual(24, 1), Residual(4, 3)
        self.answer = nn.Linear(28, classes)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        quick = self.fast_stem(fast)
        steady = self.slow(torch.cat([self.slow_stem(slow), self.lateral(quick)], 1))
        quick = self.fast(quick)
        answer: Tensor = self.answer(torch.cat([steady.mean((2, 3, 4)), quick.mean((2, 3, 4))], 1))
        return answer


class SlowFast(nn.Module):
    """Both pathways from one clip: the slow one takes frames evenly from it."""

    sparse: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.pathways = TwoPathways(classes)
        self.register_buffer("sparse", torch.from_numpy(pathway_frames(FRAMES, SPARSE)))

    def forward(self, clips: Tensor) -> Tensor:
        answer: Tensor = self.pathways(clips.index_select(2, self.sparse), clips)
        return answer


@dataclass(frozen=True)
class TwoInputs(TorchOriginal):
    """A `SlowFast` that answers for one clip, and is written with an input for each pathway."""

    module: SlowFast

    def write(self, path: Path, form: Form) -> str:
        """Write the ONNX file; returns the converter that did. Raises ModelError."""
        clips = torch.zeros(form.batch or 2, *self.shape[1:])
        inputs = clips.index_select(2, self.module.sparse), clips
        free = form.batch is None
        batch = torch.export.Dim("batch") if free else None
        named = options(form) | {"input_names": ["slow", "fast"]}

        def dynamo() -> None:
            shapes = ({0: batch}, {0: batch}) if free else None
            torch.onnx.export(
                self.module.pathways,
                inputs,
                path,
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=False,
                **named,
            )

        def torchscript() -> None:
            axes = {name: {0: "batch"} for name in ("slow", "fast", OUTPUT)} if free else None
            torch.onnx.export(
                self.module.pathways, inputs, path, dynamo=False, dynamic_axes=axes, **named
            )

        writers: dict[str, Callable[[], object]] = {"dynamo": dynamo, "torchscript": torchscript}
        if form.converter != "auto":
            writers = {form.converter: writers[form.converter]}
        return write_by_first(writers, form)


class TwoInputRecipe(Recipe):
    """A recipe whose file has two inputs."""

    def original(self, classes: int, seed: int, said: Facts) -> Original:
        module = cast(SlowFast, self.module(classes, seed))
        return TwoInputs(module, self.facts_over(said), self.shape)


NETWORKS = {
    "slowfast": Recipe(SlowFast, LAYOUT, SHAPE),
    "slowfast-two": TwoInputRecipe(SlowFast, LAYOUT, SHAPE),
}
