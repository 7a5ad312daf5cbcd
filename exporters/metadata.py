"""The facts about a network that its ONNX graph cannot hold, written into the file's metadata."""

import json
from collections.abc import Iterable, Mapping

import onnx

from tiemcli.facts import METADATA_PREFIX, Facts

KEYS = tuple(Facts.model_fields)


def write(model: onnx.ModelProto, facts: Mapping[str, object]) -> None:
    """Write the facts into `metadata_props` as `tiem.KEY`, replacing those already there.

    Each fact is text as the reader wants it, or a value that is put into that form:
    layout: one letter an axis, "NCTHW"; color: "rgb", "bgr" or "gray"; resize: "stretch" or
    "crop"; output: "logits", "probabilities" or "value";
    output_name: which output it is. aggregate: "mean", "max" or the index of one of its rows.
    input: what feeds each input beside the clip's, a mapping, written as a JSON object.
    frames, stride: whole numbers. scale: the factor on pixel values of 0..255.
    size: (height, width) in pixels, written "HEIGHTxWIDTH".
    mean, std: one number or one a channel, after scaling, written "0.43,0.39,0.38".
    labels: the classes' names in the order of the output, written as a JSON array.
    The facts not given are left as they are. Raises ValueError for a key that is not in `KEYS`.
    """
    unknown = sorted(set(facts) - set(KEYS))
    if unknown:
        raise ValueError(f"no such fact: {', '.join(unknown)} (known: {', '.join(KEYS)})")
    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries |= {METADATA_PREFIX + key: _text(key, value) for key, value in facts.items()}
    onnx.helper.set_model_props(model, entries)


def _text(key: str, value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    if isinstance(value, Mapping):
        return json.dumps(dict(value), ensure_ascii=False)
    if key == "labels":
        return json.dumps(list(value), ensure_ascii=False)
    separator = "x" if key == "size" else ","
    return separator.join(str(part) for part in value)
