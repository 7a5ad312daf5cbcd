"""Everything that can be asked of an explanation, checked once."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tiemcli.errors import UsageError

Method = Literal["tiem"]
Backend = Literal["auto", "autograd", "finite-difference"]
Base = Literal["blur", "black", "mean"]
Aggregate = Literal["mean", "nnls"]
Constraint = Literal["exact", "penalty"]
Estimator = Literal["gp-nes", "spsa", "central"]
Sampling = Literal["uniform", "center"]
Precision = Literal["full", "half"]
Reuse = Literal["auto", "off"]
Style = Literal["mask", "overlay", "heat", "side-by-side"]

FORMATS = ("mp4", "json", "html", "npz", "png", "gif", "svg")


@dataclass(frozen=True)
class Settings:
    """How to explain, apart from the clip and the network. Defaults and ranges stand here alone.

    target: index or label, None for the network's first answer. areas: shares of the clip to keep,
    in (0, 1]. target_score: Φ0 of Eq. 6; None is `ENOUGH` of Φ(X). windows: auto, all, dyadic or
    sizes. start, end: seconds. stride: source frames between sampled ones. precision:
    of the network's arithmetic while it is scored; gradients are of full precision. reuse: whether
    clips share work, which lets the search by queries judge frames one by one.
    Raises UsageError for a value out of its range.
    """

    target: str | None = None
    method: Method = "tiem"
    backend: Backend = "auto"
    areas: tuple[float, ...] | None = None
    target_score: float | None = None
    alpha: float = 0.8
    windows: str = "auto"
    tis_aggregate: Aggregate = "mean"
    base: Base = "blur"
    window_base: Base = "black"
    constraint: Constraint = "exact"
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
            ("queries", 2),
            ("stride", 1),
            ("start", 0),
            ("end", 0),
        ):
            value = getattr(self, flag)
            _require(value is None or value >= least, flag, value, f"give {least} or more")
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


def _require(met: bool, flag: str, value: object, hint: str) -> None:
    if not met:
        raise UsageError(f"--{flag} {value}".rstrip(), hint)
