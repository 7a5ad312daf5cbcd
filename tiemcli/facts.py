"""What must be known of a network beyond its graph, and the places that may say it.

Flags win over `net.toml` beside `net.onnx`, which wins over the `tiem.*` metadata in the file.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PositiveInt,
    ValidationError,
)

from tiemcli.errors import ModelError, UsageError
from tiemcli.kernels.layout import check_layout

METADATA_PREFIX = "tiem."


def _quotient(text: str) -> float:
    """'0.4' or '1/255' as a number."""
    above, _, below = text.partition("/")
    if below and float(below) == 0:
        raise ValueError(f"{text} divides by 0")
    return float(above) / float(below or 1)


def _number(value: Any) -> Any:
    return _quotient(value) if isinstance(value, str) else value


def _numbers(value: Any) -> Any:
    """'0.4,0.4,0.4', '1/255' or a number, as a list of numbers."""
    if isinstance(value, str):
        return [_quotient(part) for part in value.split(",")]
    return [value] if isinstance(value, (int, float)) else value


def _size(value: Any) -> Any:
    """'224' is square, 'HEIGHTxWIDTH' is not; [height, width] in TOML."""
    if isinstance(value, str):
        value = value.lower().split("x")
    elif isinstance(value, int):
        value = [value]
    return [*value, *value] if len(value) == 1 else value


def _labels(value: Any) -> Any:
    """A JSON array, a file of one label a line (or a JSON array), or labels with commas between."""
    if not isinstance(value, str):
        return value
    path = Path(value)
    if not value.lstrip().startswith("[") and (path.is_file() or "," not in value):
        if not path.is_file():
            raise ValueError("no such file, and no labels with commas between")
        value = path.read_text(encoding="utf-8")
        if not value.lstrip().startswith("["):
            return [line.strip() for line in value.splitlines() if line.strip()]
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [label.strip() for label in value.split(",")]


def _layout(value: str) -> str:
    check_layout(value.upper())
    return value.upper()


Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers)]


class Facts(BaseModel):
    """What a user or a file says of a network; None where nothing is said.

    layout: one letter an axis of its input. frames: T. stride: source frames between two sampled
    ones. size: height and width that it is fed. scale: the factor on pixels of 0..255. mean, std:
    per channel, after scaling. color: the order of channels. resize: how a frame is brought to
    `size`, stretched or scaled to cover it and cropped in the centre. output: what its numbers are.
    output_name: which output, where there are several. labels: of the classes, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    layout: Annotated[str, AfterValidator(_layout)] | None = None
    frames: PositiveInt | None = None
    stride: PositiveInt | None = None
    size: Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_size)] | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    scale: Annotated[float, BeforeValidator(_number)] | None = None
    color: Literal["rgb", "bgr", "gray"] | None = None
    resize: Literal["stretch", "crop"] | None = None
    output: Literal["auto", "logits", "probabilities", "value"] | None = None
    output_name: str | None = None
    labels: Annotated[tuple[str, ...], BeforeValidator(_labels)] | None = None

    def over(self, weaker: "Facts") -> "Facts":
        """These facts, and the weaker source's where these are silent."""
        return Facts(
            **{**weaker.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)}
        )


def facts_from_flags(values: Mapping[str, Any]) -> Facts:
    """Facts given on the command line; raises UsageError that names the flag."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return Facts.model_validate(given)
    except (ValidationError, OSError, ValueError) as error:
        name, reason = _complaint(error)
        flag = name.replace("_", "-")
        hint = "the folder for results is -o" if name == "output" else "see tiem explain --help"
        raise UsageError(f"--{flag} {given.get(name, '')}: {reason}", hint) from error


def facts_beside(model: Path) -> Facts:
    """The facts of `net.toml` beside `net.onnx`, empty where there is no such file."""
    path = model.with_suffix(".toml")
    try:
        return Facts.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Facts()
    except (ValidationError, ValueError, OSError) as error:
        raise ModelError(f"{path}: {': '.join(_complaint(error))}", f"mend {path.name}") from error


def facts_in_metadata(metadata: Mapping[str, str]) -> Facts:
    """The facts that the file's own `tiem.*` metadata carries."""
    own = {
        key.removeprefix(METADATA_PREFIX): value
        for key, value in metadata.items()
        if key.startswith(METADATA_PREFIX)
    }
    try:
        return Facts.model_validate(own)
    except (ValidationError, ValueError, OSError) as error:
        raise ModelError(
            f"the network's metadata: tiem.{': '.join(_complaint(error))}",
            "say it by a flag, or write the file again",
        ) from error


def _complaint(error: Exception) -> tuple[str, str]:
    """Which fact is wrong, and why."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
    return "", str(error)
