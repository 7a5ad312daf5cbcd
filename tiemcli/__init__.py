"""Explain what a video classifier looked at, and when, from its ONNX file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiemcli.api import Explanation, explain, load
    from tiemcli.errors import TiemError

__version__ = "0.1.0"
__all__ = ["Explanation", "TiemError", "explain", "load"]

_PLACES = {"TiemError": "tiemcli.errors"}


def __getattr__(name: str) -> Any:
    """What programs use is imported at its first use: the command line does without."""
    if name not in __all__:
        raise AttributeError(f"module 'tiemcli' has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "tiemcli.api")), name)
