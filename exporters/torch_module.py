"""`torch:package.module:factory` and `torch:file.py:factory`: a network of the user's own code."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from tiemcli.errors import ModelError, TiemError, UsageError
from tiemcli.exporters.original import Wanted, input_shape, refuse_choices
from tiemcli.exporters.torch_original import TorchOriginal, reason_of
from tiemcli.exporters.weights import enliven, load_state, read_state, seeded
from tiemcli.facts import Facts, facts_in_metadata

# A network may carry its facts: `network.tiem = {"layout": "NTCHW", "frames": 16}`.
ATTRIBUTE = "tiem"


def load(name: str, wanted: Wanted) -> TorchOriginal:
    """The network that a factory makes, or that stands there ready made.

    Weights "DEFAULT" are those it comes with, "none" are made to work at random. Raises UsageError
    for a name that leads nowhere and for facts that nobody says, ModelError where the code fails.
    """
    where, _, factory = name.rpartition(":")
    if not where or not factory:
        raise UsageError(
            f"torch:{name} names no factory", "give torch:file.py:FACTORY or torch:MODULE:FACTORY"
        )
    refuse_choices(replace(wanted, weights="DEFAULT"), "the factory")
    network = seeded(lambda: _made(_imported(where), factory, name), wanted.seed)
    facts = wanted.facts.over(_carried(network)).over(Facts(layout="NCTHW"))
    shape = input_shape(facts)
    if wanted.weights == "none":
        enliven(network, shape, wanted.seed)
    elif wanted.weights != "DEFAULT":
        path = Path(wanted.weights)
        load_state(network, read_state(path), path)
    return TorchOriginal(network.float(), facts, shape)


def _imported(where: str) -> ModuleType:
    """A module by its name, seen from the folder one is in, or the code of a file."""
    try:
        if not where.endswith(".py"):
            _look_in(Path())
            return import_module(where)
        path = Path(where)
        if not path.is_file():
            raise ModelError(f"{where}: no such file", "give torch:file.py:FACTORY")
        _look_in(path.parent)
        spec = spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{where}: no Python file", "give torch:file.py:FACTORY")
        module = module_from_spec(spec)
        # Dataclasses and inspect look a class's module up; nothing imported may lose its place.
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        return module
    except TiemError:
        raise
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{where}: {reason_of(error)}", "check the name, or install what it needs"
        ) from error
    except (Exception, SystemExit) as error:  # a script without a guard ends the process
        raise _failed(where, error) from error


def _look_in(folder: Path) -> None:
    """Let the code there import what lies beside it; last, so that it hides no package."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)


def _made(module: ModuleType, factory: str, name: str) -> nn.Module:
    found: Any = getattr(module, factory, None)
    if found is None:
        here = [key for key, value in vars(module).items() if _makes(value, module)]
        raise UsageError(
            f"torch:{name}: there is no {factory!r}",
            f"it has {', '.join(here)}" if here else "check the name",
        )
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise _failed(name, error) from error
    if not isinstance(found, nn.Module):
        raise ModelError(
            f"torch:{name} is {type(found).__name__}, no network",
            "name a torch.nn.Module, or a function without arguments that returns one",
        )
    return found


def _makes(value: Any, module: ModuleType) -> bool:
    """Whether something of a module may be what the user meant."""
    own = getattr(value, "__module__", "") == module.__name__
    return isinstance(value, nn.Module) or (callable(value) and own)


def _failed(name: str, error: BaseException) -> ModelError:
    return ModelError(
        f"{name} failed: {type(error).__name__}: {reason_of(error)}", "run it in Python by itself"
    )


def _carried(network: nn.Module) -> Facts:
    given: Any = getattr(network, ATTRIBUTE, {})
    if not isinstance(given, Mapping):
        raise ModelError(
            f"the network's attribute {ATTRIBUTE} is {type(given).__name__}, no facts",
            'give it a dict such as {"frames": 16}',
        )
    try:
        return facts_in_metadata({f"tiem.{key}": value for key, value in given.items()})
    except ModelError as error:
        raise ModelError(
            error.message.replace("metadata: tiem.", f"attribute {ATTRIBUTE}: "), "mend it there"
        ) from error
