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

from tiemcli.errors import ModelError, UsageError, first_line, shown
from tiemcli.kernels.layout import check_layout

# Of the keys of a network's metadata that are ours.
METADATA_PREFIX = "tiem."


def _quotient(text: str) -> float:
    """'0.4' or '1/255' as a number."""
    above, _, below = text.partition("/")
    if below and float(below) == 0:
        raise ValueError(f"{text} divides by 0")
    return float(above) / float(below or 1)


def _number(value: Any) -> Any:
    return _quotient(value) if isinstance(value, str) else value


def _not_zero(value: float) -> float:
    if value == 0:
        raise ValueError("nothing is left of the pixels")
    return value


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
    return [*value, *value] if isinstance(value, list) and len(value) == 1 else value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def _labels(value: Any) -> Any:
    """A JSON array, or labels with commas between."""
    if not isinstance(value, str):
        return value
    if any("\ud800" <= letter <= "\udfff" for letter in value):  # bytes that a shell let through
        raise ValueError("no UTF-8 text")
    if value.lstrip().startswith("["):
        return _json(value)
    return [label.strip() for label in value.split(",")]


def _readable(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(shown, labels))


def _labels_in(folder: Path, value: Any) -> Any:
    """Labels, read from a file in `folder` if the text names one: a line each, or a JSON array."""
    if not isinstance(value, str) or "," in value or value.lstrip().startswith("["):
        return value
    text = (folder / value).read_text(encoding="utf-8")
    return (
        text
        if text.lstrip().startswith("[")
        else [t for t in map(str.strip, text.splitlines()) if t]
    )


def _inputs(value: Any) -> Any:
    """Of each input beside the clip, the text that says what it is: from a JSON object, a table of
    TOML, or words NAME=VALUE."""
    if isinstance(value, str):
        value = _json(value)
    if isinstance(value, (list, tuple)):
        pairs = [str(word).partition("=") for word in value]
        if not all(name and equals for name, equals, _ in pairs):
            raise ValueError("no NAME=VALUE")
        return {name: text for name, _, text in pairs}
    if not isinstance(value, dict):
        return value
    return {
        name: ",".join(map(_text, given)) if isinstance(given, list) else _text(given)
        for name, given in value.items()
    }


def _text(given: Any) -> str:
    """A number or a text of TOML or JSON, as the command line would say it; true is 1."""
    return str(int(given)) if isinstance(given, bool) else str(given)


def _aggregate(value: Any) -> Any:
    if value in ("mean", "max") or str(value).removeprefix("-").isdecimal():
        return value
    raise ValueError("neither mean, max nor the index of a row")


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
    output_name: which output, where there are several. aggregate: of the rows that it has for a
    clip, one a frame or a window, the mean, the largest of each class, or the row of an index.
    labels: of the classes, in order. input: what feeds each input beside the clip's: numbers, a
    .npy file, `clip:8` for a pathway of 8 frames, or `clip`, which also tells which one is the clip.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    layout: Annotated[str, AfterValidator(_layout)] | None = None
    frames: PositiveInt | None = None
    stride: PositiveInt | None = None
    size: Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_size)] | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    scale: Annotated[float, BeforeValidator(_number), AfterValidator(_not_zero)] | None = None
    color: Literal["rgb", "bgr", "gray"] | None = None
    resize: Literal["stretch", "crop"] | None = None
    output: Literal["auto", "logits", "probabilities", "value"] | None = None
    output_name: str | None = None
    aggregate: Annotated[Literal["mean", "max"] | int, BeforeValidator(_aggregate)] | None = None
    input: Annotated[dict[str, str], BeforeValidator(_inputs)] | None = None
    labels: (
        Annotated[tuple[str, ...], BeforeValidator(_labels), AfterValidator(_readable)] | None
    ) = None

    def over(self, weaker: "Facts") -> "Facts":
        """These facts, and the weaker source's where these are silent."""
        mine, theirs = (facts.model_dump(exclude_none=True) for facts in (self, weaker))
        both = theirs | mine
        if "input" in both:
            both["input"] = theirs.get("input", {}) | mine.get("input", {})
        return Facts(**both)


def facts_from_flags(values: Mapping[str, Any]) -> Facts:
    """Facts given on the command line; raises UsageError that names the flag."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return _said_by_the_user(given, Path())
    except (ValidationError, OSError, ValueError) as error:
        name, reason = _complaint(error)
        flag = name.replace("_", "-")
        hint = "the folder for results is -o" if name == "output" else "see --help"
        said = given.get(name, "")
        text = said if isinstance(said, (str, int, float)) else " ".join(said)
        raise UsageError(f"--{flag} {text}: {reason}", hint) from error


def facts_beside(model: Path) -> Facts:
    """The facts of `net.toml` beside `net.onnx`, empty where there is no such file."""
    path = model.with_suffix(".toml")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Facts()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: {first_line(error)}", f"mend {path.name}") from error
    try:
        return _said_by_the_user(tomllib.loads(text), path.parent)
    except (ValidationError, ValueError, OSError) as error:
        raise ModelError(f"{path}: {': '.join(_complaint(error))}", f"mend {path.name}") from error


def _said_by_the_user(given: dict[str, Any], folder: Path) -> Facts:
    """Facts of which some may stand in files: only a user may name one, never a file's metadata."""
    facts = Facts.model_validate(given | {"labels": _labels_in(folder, given.get("labels"))})
    fed = {
        name: str(folder / text) if text.endswith(".npy") else text
        for name, text in (facts.input or {}).items()
    }
    return facts.model_copy(update={"input": fed or None})


def facts_in_metadata(metadata: Mapping[str, str]) -> Facts:
    """The facts that the file's own `tiem.*` metadata carries."""
    own = {
        key.removeprefix(METADATA_PREFIX): value
        for key, value in metadata.items()
        if key.startswith(METADATA_PREFIX)
    }
    try:
        facts = Facts.model_validate(own)
    except (ValidationError, ValueError, OSError) as error:
        raise ModelError(
            f"the network's metadata: tiem.{': '.join(_complaint(error))}",
            "say it by a flag, or write the file again",
        ) from error
    for name, text in (facts.input or {}).items():
        if text.endswith(".npy"):
            raise ModelError(
                f"the network's metadata names a file for its input {name!r}",
                f"if you trust it, say --input {name}={text}",
            )
    return facts


def _complaint(error: Exception) -> tuple[str, str]:
    """Which fact is wrong, and why."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            return str(first["loc"][0]), f"no such fact; there are {', '.join(Facts.model_fields)}"
        return str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
    if isinstance(error, OSError):
        return "labels", f"{error.strerror}, and no labels with commas between"
    return "file", first_line(error)
