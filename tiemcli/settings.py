"""Everything that can be asked of an explanation, checked once."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tiemcli.errors import UsageError

Preset = Literal["paper", "best"]
Method = Literal[
    "tiem",
    "ep-2d",
    "ep-3d",
    "step",
    "rise",
    "occlusion",
    "aosa",
    "gradient",
    "integrated-gradients",
    "grad-cam",
    "grad-cam++",
    "saliency-tubes",
    "class-feature-pyramids",
    "swag-v",
    "ceb-r",
    "random",
    "center",
]
Backend = Literal["auto", "autograd", "finite-difference"]
Base = Literal["blur", "black", "mean", "average"]
Aggregate = Literal["mean", "nnls", "shortest"]
Constraint = Literal["exact", "penalty"]
Estimator = Literal["gp-nes", "spsa", "central"]
Sampling = Literal["uniform", "center"]
Precision = Literal["full", "half"]
Reuse = Literal["auto", "off"]
Style = Literal["mask", "overlay", "heat", "side-by-side"]

# Of the insertion and deletion curves, whose areas are then within .003 of those of 256 steps.
CURVE_STEPS = 64
FORMATS = ("mp4", "json", "html", "npz", "png", "gif", "svg")


@dataclass(frozen=True)
class Settings:
    """How to explain, apart from the clip and the network. Defaults and ranges stand here alone.

    target: index or label, None for the network's first answer. layer: the one to look at, for
    methods that look at one, None for the method's choice. areas: shares of the clip to keep, in
    (0, 1]. target_score: Φ0 of Eq. 6; None is `methods.scene.ENOUGH` of Φ(X). windows: auto, all,
    dyadic or sizes. second_window_base: hides windows once more, and drops are averaged; None for
    once. constraint: None is the method's own. continuity: σ in frames of what ties a mask to those
    of the frames about it, 0 for nothing. cells: across the shorter side, of masks found by gradients;
    None for 16. start, end: seconds. stride: source frames between sampled
    ones. precision: of the network's arithmetic while it is scored; gradients are of full precision.
    reuse: whether clips share work, which lets the search by queries judge frames one by one.
    Raises UsageError for a value out of its range.
    """

    target: str | None = None
    method: Method = "tiem"
    layer: str | None = None
    backend: Backend = "auto"
    areas: tuple[float, ...] | None = None
    target_score: float | None = None
    alpha: float = 0.8
    windows: str = "auto"
    tis_aggregate: Aggregate = "mean"
    base: Base = "blur"
    window_base: Base = "black"
    second_window_base: Base | None = None
    constraint: Constraint | None = None
    continuity: float = 0.0
    cells: int | None = None
    iterations: int | None = None
    queries: int = 2000
    estimator: Estimator = "gp-nes"
    sampling: Sampling = "uniform"
    stride: int | None = None
    start: float | None = None
    end: float | None = None
    style: Style = "mask"
    formats: tuple[str, ...] = ("mp4", "json")
    seed: int = 0
    precision: Precision = "full"
    reuse: Reuse = "auto"

    def __post_init__(self) -> None:
        for area in self.areas or ():
            _require(0 < area <= 1, "area", area, "an area is a share of the clip, in (0, 1]")
        _require(self.areas != (), "areas", "", "give at least one area")
        _require(0 <= self.alpha < 1, "alpha", self.alpha, "alpha is at least 0 and below 1")
        for flag, least in (
            ("iterations", 1),
            ("cells", 1),
            ("queries", 2),
            ("stride", 1),
            ("start", 0),
            ("end", 0),
        ):
            value = getattr(self, flag)
            _require(value is None or value >= least, flag, value, f"give {least} or more")
        _require(0 <= self.continuity < math.inf, "continuity", self.continuity, "give 0 or more")
        target_score = self.target_score
        finite = target_score is None or math.isfinite(target_score)
        _require(finite, "target-score", target_score, "give a number")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "a seed is 0 or more")
        unknown = sorted(set(self.formats) - set(FORMATS))
        _require(not unknown, "format", ",".join(unknown), f"choose from {', '.join(FORMATS)}")
        self.window_choice  # noqa: B018  raises for a bad list

    @property
    def window_choice(self) -> str | tuple[int, ...]:
        """The windows as `kernels.windows.window_sizes` takes them."""
        if self.windows in ("auto", "all", "dyadic"):
            return self.windows
        try:
            return tuple(int(size) for size in self.windows.split(","))
        except ValueError:
            raise UsageError(
                f"--windows {self.windows}", "give all, dyadic or sizes such as 1,2,4"
            ) from None

    def to_record(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        record: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return record


# What --preset stands for. The paper's are the defaults; a flag that is given wins over either.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "best": {
        "tis_aggregate": "shortest",
        "second_window_base": "average",
        "areas": (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7),
        "continuity": 0.7,
        "cells": 24,
    },
}


def with_preset(settings: Settings, preset: Preset, given: Collection[str]) -> Settings:
    """The settings with the preset's in place of those that nobody has given, by name."""
    if "area" in given:
        given = {*given, "areas"}
    chosen = {name: value for name, value in PRESETS[preset].items() if name not in given}
    return replace(settings, **chosen)


def _require(met: bool, flag: str, value: object, hint: str) -> None:
    if not met:
        raise UsageError(f"--{flag} {value}".rstrip(), hint)
