"""The JSON result, schema `tiem/1`: what others script against."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tiemcli.settings import Aggregate, Base

# What the file of a result is called, after its clip.
ENDING = ".tiem.json"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


def readable(path: Path) -> str:
    """A path as text that any terminal and any JSON takes, whatever bytes name the file."""
    return os.fsencode(path).decode("utf-8", "replace")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClipRecord(_Document):
    """The source. frames: counted by decoding. timestamps: of the sampled frames, in seconds."""

    path: str
    sha256: str
    frames: Count
    fps: Annotated[str, Field(pattern=r"^\d+/\d+$")]
    width: Count
    height: Count
    sampled_frames: list[Count]
    timestamps: list[float]


class ModelRecord(_Document):
    """The network. reading: how it was fed and its answer read, mostly by the names of the flags
    that say so. batch: the one its file fixes. looped: clips went one by one, for it could not be freed.
    assumed: what neither the file nor the user said, a line each."""

    path: str
    sha256: str
    input: str
    layout: str
    output: str
    output_kind: Literal["logits", "probabilities", "value"]
    batch: int | None
    looped: bool
    reuse: str | None
    reading: dict[str, Any]
    providers: list[str]
    assumed: list[str]


class TargetRecord(_Document):
    """What is explained: the output's index, its label if known, and Φ of the whole clip."""

    index: Count
    label: str | None
    score: float


class BaseRecord(_Document):
    """What stands where the clip is hidden, and Φ of it alone."""

    kind: Base
    score: float


class WindowRecord(_Document):
    """The windows of one size, in order of their first frame. variation: θ (Eq. 3)."""

    size: Annotated[int, Field(ge=1)]
    valid: bool
    degenerate: bool
    drop: list[float]
    importance: list[Share]
    variation: float


class TemporalRecord(_Document):
    """The time importance score of each sampled frame (Eq. 4), summing to 1.

    second_base: what hid the windows once more; drops are then the means over both. agreement: how
    much of the importance the two would have in common, each on its own."""

    importance: list[Share]
    alpha: float
    aggregate: Aggregate
    base: BaseRecord
    second_base: Base | None
    agreement: Share | None
    degenerate: bool
    windows: list[WindowRecord]


class MaskRecord(_Document):
    """One mask. area: asked for, of the clip; effective_area: kept of it, in whole pixels.
    frame_areas: asked for of each sampled frame (Eq. 5). score: Φ
    under the hard mask. smallest: the smallest area whose score is enough (Eq. 6). evaluations:
    gradients, or queries in clips run through the whole network, that it took to find."""

    area: Share
    effective_area: Share
    frame_areas: list[Share]
    score: float
    smallest: bool
    evaluations: Count


class AskedRecord(_Document):
    """Requests to a network that is elsewhere. seconds: from their being sent to the answer. inside:
    of these in the server, by what it tells itself, null where it does not."""

    requests: Count
    clips: Count
    seconds: float
    inside: float | None
    retries: Count


class CostRecord(_Document):
    """What it took. forwards: clips scored. computed: what they cost, in clips run through the whole
    network; less where they share work. backwards: gradients. asked: null for a file's network.
    seconds: by stage."""

    forwards: Count
    computed: Annotated[float, Field(ge=0)]
    backwards: Count
    asked: AskedRecord | None = None
    seconds: dict[str, float]


class FilesRecord(_Document):
    """What was written beside this document, by name."""

    masked: str | None = None
    overlay: str | None = None
    report: str | None = None
    arrays: str | None = None
    png: str | None = None
    gif: str | None = None
    svg: str | None = None


class Result(_Document):
    """Which moments and which pixels made a network answer as it does, for one clip."""

    schema_: Literal["tiem/1"] = Field(default="tiem/1", alias="schema")
    fingerprint: str
    created: str
    versions: dict[str, str]
    warnings: list[str]
    clip: ClipRecord
    model: ModelRecord
    target: TargetRecord
    base: BaseRecord
    method: str
    backend: Literal["autograd", "finite-difference", "queries", "none"]
    backend_reason: str
    seed: int
    settings: dict[str, Any]
    temporal: TemporalRecord
    masks: list[MaskRecord]
    cost: CostRecord
    files: FilesRecord

    def to_json(self, indent: int | None = 2) -> str:
        return self.model_dump_json(by_alias=True, indent=indent)
