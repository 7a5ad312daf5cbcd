"""The last layer of a classifier, the one that answers."""

from typing import Any

from torch import nn

from tiemcli.errors import ModelError

Head = nn.Linear | nn.Conv2d | nn.Conv3d


def find(network: nn.Module, classes: int) -> tuple[str, Head]:
    """The name and the layer: the last that has as many outputs as there are classes.

    Raises ModelError where no layer has.
    """
    for name, layer in reversed(list(network.named_modules())):
        if isinstance(layer, Head) and len(layer.weight) == classes:
            return name, layer
    raise ModelError(
        f"no layer of the network has its {classes} outputs", "leave out --classes and --per-frame"
    )


def replace(network: nn.Module, old: int, new: int) -> None:
    """Give a network of `old` classes an untrained head of `new` ones."""
    name, layer = find(network, old)
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        network.set_submodule(name, nn.Linear(layer.in_features, new, bias))
    else:
        kind: Any = type(layer)
        network.set_submodule(name, kind(layer.in_channels, new, layer.kernel_size, bias=bias))


def remove(network: nn.Module, classes: int) -> int:
    """Make a network answer what its linear head was fed; how many numbers those are.

    Raises ModelError where its head is no linear layer.
    """
    name, layer = find(network, classes)
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            "the network's head is a convolution, which leaves no row of features",
            "use --per-frame mean or max",
        )
    network.set_submodule(name, nn.Identity())
    return layer.in_features
