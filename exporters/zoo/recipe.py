"""What one network of the zoo is made of, and weights under which it behaves like a trained one."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tiemcli.exporters.original import Original
from tiemcli.exporters.torch_original import TorchOriginal
from tiemcli.facts import Facts

Build = Callable[[int], nn.Module]

_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Recipe:
    """One network: how it is built and fed.

    build: from K to a module of one tensor that answers (N, K). layout, shape: of one input, its
    batch 1. dtype: float32, or uint8 for pixels as they are. facts: what else there is to say.
    """

    build: Build
    layout: str
    shape: tuple[int, ...]
    dtype: type[np.generic] = np.float32
    facts: Facts = field(default_factory=Facts)

    def original(self, classes: int, seed: int, said: Facts) -> Original:
        """The network with seeded weights; `said` wins, save over what its build has fixed."""
        module = self.module(classes, seed)
        return TorchOriginal(module, self.facts_over(said), self.shape, np.dtype(self.dtype))

    def facts_over(self, said: Facts) -> Facts:
        """What the build decides, then what is said, then what else there is."""
        sizes = dict(zip(self.layout, self.shape, strict=True))
        fixed = Facts(layout=self.layout, frames=sizes["T"], size=(sizes["H"], sizes["W"]))
        return fixed.over(said).over(self.facts)

    def module(self, classes: int, seed: int) -> nn.Module:
        """The network alone, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return with_statistics(self.build(classes), self.example())

    def example(self) -> tuple[Tensor, ...]:
        """What the module takes, for two clips."""
        shape = (2, *self.shape[1:])
        if self.dtype is np.uint8:
            return (torch.randint(0, 256, shape, dtype=torch.uint8),)
        return (torch.randn(shape),)


def with_statistics(network: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
    """The network in evaluation mode, its running statistics those of the example.

    Without them the activations of a deep network of random weights vanish or grow layer by layer.
    Scales and shifts are made uneven: a converter that folds them may fold them wrongly.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _NORMALISATIONS)]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
        nn.init.normal_(layer.weight, 1.0, 0.2)
        nn.init.normal_(layer.bias, 0.0, 0.1)
        layer.train()
    with torch.no_grad():
        network(*example)
    return network.eval()
