"""Weights for somebody's architecture: read from a file, or random ones that work."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from zipfile import is_zipfile

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tiemcli.errors import ModelError, first_line
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import reason_of

Made = TypeVar("Made")

# Where training scripts put the weights among other things.
_WRAPPINGS = ("state_dict", "model_state_dict", "model", "ema_state_dict")
# What DataParallel and torch.compile put in front of every name.
_PREFIXES = ("module.", "_orig_mod.")
_CLIPS = 4  # random ones that batch normalisation takes its statistics from


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a .pt, .pth or .safetensors file; no code in it is run.

    Raises ModelError for a file that cannot be read or that holds anything but tensors.
    """
    return state_in(read_file(path), path)


def read_file(path: Path) -> Any:
    """What stands in a .pt, .pth or .safetensors file; no code in it is run. Raises ModelError."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with silence():
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(
            f"{path}: {error.strerror or first_line(error)}",
            "give --weights a file, DEFAULT or none",
        ) from error
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and is_zipfile(path):
            raise ModelError(
                f"{path}: holds more than weights", "save the network's state_dict() alone"
            ) from error
        raise ModelError(
            f"{path}: no file of weights",
            "give a state dict saved by torch.save, or a .safetensors file",
        ) from error


def state_in(found: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name in what a file holds, which a training script may have wrapped.

    Raises ModelError where there is anything but tensors.
    """
    for key in _WRAPPINGS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    ):
        raise ModelError(
            f"{path}: holds {type(found).__name__}, no state dict",
            "save the network's state_dict()",
        )
    state = dict(found)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put a file's weights into a network; raises ModelError that names the first that differ."""
    own = network.state_dict()
    shapes = [
        f"{name} is {list(state[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    complaints = [
        f"{label} {_some(found)}"
        for label, found in (
            ("lacks", [name for name in own if name not in state]),
            ("has besides", [name for name in state if name not in own]),
            ("differs:", shapes),
        )
        if found
    ]
    if complaints:
        raise ModelError(
            f"{path}: not this network's weights: it {'; it '.join(complaints)}",
            "give the weights of the same architecture, --classes, --frames and --size",
        )
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:  # sparse tensors, or ones without numbers
        raise ModelError(
            f"{path}: its tensors cannot be copied", "save dense ones, on the CPU"
        ) from error


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + rest


def classes_in(state: Mapping[str, Tensor], network: nn.Module, classes: int) -> int:
    """How many classes the weights are for, going by the head of a network of `classes`."""
    sizes = {
        len(state[name])
        for name, tensor in network.state_dict().items()
        if name in state and tensor.ndim and len(tensor) == classes and state[name].ndim
    }
    return sizes.pop() if len(sizes) == 1 else classes


def seeded(make: Callable[[], Made], seed: int) -> Made:
    """What `make` makes when torch's generator starts from `seed`, which is undone afterwards."""
    with torch.random.fork_rng(devices=[]), silence():
        torch.manual_seed(seed)
        return make()


def enliven(network: nn.Module, shape: tuple[int, ...], seed: int) -> None:
    """Make random weights answer differently for different inputs.

    Batch normalisation is given the statistics of a few seeded inputs, so that activations neither
    vanish nor explode; a layer of zeros is drawn anew. shape: of one input, float32. Raises
    ModelError where the network does not run on it.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    with torch.no_grad():
        for layer in network.modules():
            weight: Any = getattr(layer, "weight", None)
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d) and not weight.any():
                weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        if not norms:
            return
        momenta = [layer.momentum for layer in norms]
        network.eval()
        for layer in norms:
            layer.train().momentum = 1.0  # the statistics of this very batch
        try:
            with silence():
                network(_like_pictures((_CLIPS * shape[0], *shape[1:]), generator))
        except Exception as error:
            raise ModelError(
                f"the network does not run on input of shape {list(shape)}: {reason_of(error)}",
                "check --frames and --size",
            ) from error
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.eval().momentum = momentum


def _like_pictures(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise of unit variance, as much of it coarse as fine, but for the axis of colours.

    Networks answer to the coarse, of which pictures have more than noise of single pixels has.
    """
    steps = [2**power for power in range(max(shape[-2:]).bit_length() + 1)]
    total = torch.zeros(shape)
    coarsened = [axis for axis in range(1, len(shape)) if shape[axis] > 3]
    for step in steps:
        cells = [-(-size // step) if axis in coarsened else size for axis, size in enumerate(shape)]
        coarse = torch.randn(cells, generator=generator)
        for axis in coarsened:
            coarse = coarse.index_select(axis, torch.arange(shape[axis]) // step)
        total += coarse
    pictures: Tensor = total / len(steps) ** 0.5
    return pictures
