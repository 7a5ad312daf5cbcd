"""Where networks come from: `SCHEME:NAME`, each scheme read by one module of this package."""

from importlib import import_module

from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters.original import Original, Wanted

# Each module's `load(name: str, wanted: Wanted) -> Original` reads a scheme.
MODULES = {
    "torchvision": "torchvision_models",
    "hf": "hugging_face",
    "torch": "torch_module",
    "program": "exported_program",
    "script": "torch_script",
    "keras": "keras_model",
    "paper": "paper",
    "zoo": "zoo",
}

# Which extra of ours brings a package.
EXTRAS = dict.fromkeys("safetensors torch torchvision transformers".split(), "export")
EXTRAS["keras"] = "keras"


def load(source: str, wanted: Wanted) -> Original:
    """The network that `SCHEME:NAME` names.

    Raises UsageError for a scheme that is none, ModelError where a package that the network needs
    is not installed, and what the scheme itself raises.
    """
    scheme, separator, name = source.partition(":")
    if scheme not in MODULES or not separator or not name:
        raise UsageError(
            f"{source}: no source of networks",
            f"give SCHEME:NAME, such as torchvision:r3d_18, of {', '.join(MODULES)}",
        )
    try:
        module = import_module(f"tiemcli.exporters.{MODULES[scheme]}")
        original: Original = module.load(name, wanted)
    except ModuleNotFoundError as error:
        if (error.name or "tiemcli").startswith("tiemcli"):
            raise
        what = f"'tiem[{EXTRAS[error.name]}]'" if error.name in EXTRAS else error.name
        raise ModelError(
            f"{source}: the package {error.name} is not installed", f"pip install {what}"
        ) from error
    return original
