"""The command line that makes an explanation once more."""

import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from onnx import TensorProto

from tiemcli.facts import Facts
from tiemcli.model import Model, OnnxModel
from tiemcli.pipeline import Explanation
from tiemcli.result import readable
from tiemcli.settings import Settings

_DEFAULTS = Settings()
_FLAGS = {"formats": "--format"}


def command(explanation: Explanation, folder: Path) -> str:
    """The `tiem explain` that writes the same into `folder`, quoted for a POSIX shell.

    What neither the network itself nor its net.toml says of it is spelt out, except for labels, which
    change no number.
    """
    clip, model = explanation.source.timeline.path, explanation.network.model
    words = ["tiem", "explain", readable(clip), "-m", model.name]
    libraries = model.custom_ops if isinstance(model, OnnxModel) else ()
    for library in libraries:
        words += ["--custom-ops", readable(library)]
    words += [*_facts(model), *_settings(explanation.settings), "-o", readable(folder)]
    return shlex.join(words)


def _settings(settings: Settings) -> Iterator[str]:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value != getattr(_DEFAULTS, field.name):
            yield _FLAGS.get(field.name, f"--{field.name.replace('_', '-')}")
            yield _word(value)


def _facts(model: Model) -> Iterator[str]:
    known = model.own.over(_unsaid(model))
    pixels = model.preprocessing
    used: dict[str, Any] = {
        "layout": model.layout,
        "frames": model.sizes["T"],
        "size": (pixels.height, pixels.width),
        "mean": pixels.mean,
        "std": pixels.std,
        "scale": pixels.scale,
        "color": pixels.color,
        "resize": pixels.resize,
        "output": model.output_kind,
        "output_name": model.output,
        "aggregate": model.aggregate,
    }
    for name, value in used.items():
        fact = getattr(known, name)
        if isinstance(fact, tuple) and len(fact) == 1:  # one number stands for every channel
            fact *= len(value)
        if fact != value and value is not None:
            yield f"--{name.replace('_', '-')}"
            yield "x".join(map(str, value)) if name == "size" else _word(value)
    for name, text in model.fed.items():
        if (model.own.input or {}).get(name) != text:
            yield from ("--input", f"{name}={text}")


def _unsaid(model: Model) -> Facts:
    """What a network is taken for where nothing is said."""
    return Facts(
        mean=(0.0,),
        std=(1.0,),
        scale=1.0 if model.element_type == TensorProto.UINT8 else 1 / 255,
        color="gray" if model.sizes["C"] == 1 else "rgb",
        resize="stretch",
        output_name=model.only_output,
    )


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
