"""What a method is given: a clip before a network, and what may be asked of the two."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tiemcli.errors import ClipError, ModelError, UsageError
from tiemcli.extremal.backend import Differentiation, differentiate
from tiemcli.extremal.objective import Objective
from tiemcli.kernels.arrays import Floats
from tiemcli.progress import Progress
from tiemcli.scorers import Scorer
from tiemcli.scorers.network import Network
from tiemcli.settings import Backend, Base, Settings

if TYPE_CHECKING:
    from tiemcli.extremal.torch_clip import TorchClip

DEFAULT_AREA = 0.1
# Tried from the largest down when a score is asked for and no areas are given.
AREA_LADDER = (0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
# What a user is told where gradients cannot be had.
NO_GRADIENTS = "choose --method tiem, rise, occlusion or aosa, which do without"
# Φ0 of Eq. 6 where none is given, as a share of Φ(X).
ENOUGH = 0.9


class Scene:
    """One clip before one network, and a target whose score is to be explained.

    clip: (C, T, H, W) float32, as the network is fed. target: the index of the output that is Φ.
    clean: Φ(X), not 0. Counts what is asked of the network, and times the stages in `seconds`.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        clip: Floats,
        target: int,
        clean: float,
        progress: Progress,
    ) -> None:
        self.network, self.settings, self.clip = network, settings, clip
        self.target, self.clean, self.progress = target, clean, progress
        self.objective = Objective(clean, network.port.output_kind == "value")
        self.seconds: dict[str, float] = {}
        self._scorers: list[Scorer] = []

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, H and W of the clip."""
        _, frames, height, width = self.clip.shape
        return frames, height, width

    @cached_property
    def base(self) -> Floats:
        """(C, T, H, W) float32: what stands where a mask hides the clip."""
        return self._base(self.settings.base)

    @cached_property
    def scorer(self) -> Scorer:
        """Φ of the clip over its base."""
        return self.over(self.base)

    @cached_property
    def windows(self) -> Scorer:
        """Φ of the clip over what hides windows of frames."""
        return self.over(self._base(self.settings.window_base))

    @cached_property
    def other_windows(self) -> tuple[Scorer, ...]:
        """Φ of the clip over what hides windows once more, if anything is to."""
        kind = self.settings.second_window_base
        return () if kind is None else (self.over(self._base(kind)),)

    def over(self, base: Floats) -> Scorer:
        """Φ of the clip over any base (C, T, H, W) float32."""
        scorer = self.network.scorer(self.clip, base, self.target)
        self._scorers.append(scorer)
        return scorer

    def _base(self, kind: Base) -> Floats:
        return self.network.model.preprocessing.base(kind, self.clip)

    @cached_property
    def gradients(self) -> Differentiation:
        """Whether the network can be differentiated here, as --backend wants it.

        Raises ModelError or ClipError where autograd was asked for by name and cannot be had.
        """
        return self._differentiate(self.settings.backend)

    def torch_clip(self, without: str = "") -> "TorchClip":
        """The differentiable clip over its base, for a method that cannot do without.

        without: how a user has the method itself do without, if it can. Raises UsageError, ModelError
        or ClipError.
        """
        name = self.settings.method
        if self.settings.backend == "finite-difference":
            raise UsageError(
                f"--method {name} --backend finite-difference",
                without or f"{name} needs gradients: leave out --backend",
            )
        try:
            self.gradients = self._differentiate("autograd")
        except (ModelError, ClipError) as error:
            raise type(error)(
                f"--method {name}: {error.message}", without or NO_GRADIENTS
            ) from error
        clip = self.gradients.clip
        if clip is None:
            raise RuntimeError("autograd was asked for by name")
        return clip

    def _differentiate(self, backend: Backend) -> Differentiation:
        return differentiate(
            self.network, self.clip, self.base, self.target, self.objective, backend
        )

    @property
    def areas(self) -> tuple[float, ...]:
        """The shares of the clip to keep."""
        return AREA_LADDER if self.searching else self.settings.areas or (DEFAULT_AREA,)

    @property
    def searching(self) -> bool:
        """Whether the smallest area is wanted that reaches a score, whichever it is (Eq. 6)."""
        return self.settings.areas is None and self.settings.target_score is not None

    @property
    def enough(self) -> float:
        """Φ0, what a mask must score to keep the prediction."""
        wished = self.settings.target_score
        return ENOUGH * self.clean if wished is None else wished

    def keeps(self, score: float) -> bool:
        """Whether a score is enough; a regression may be negative."""
        return score / self.clean >= self.enough / self.clean

    def random(self) -> np.random.Generator:
        """A generator that is the same whenever it is asked for."""
        return np.random.default_rng(self.settings.seed)

    @contextmanager
    def stage(self, name: str, shown: str, evaluations: int) -> Iterator[None]:
        """Time a stage by its name, and show its progress over so many evaluations."""
        self.progress.stage(shown, evaluations)
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    @contextmanager
    def gradient_stage(self, evaluations: int) -> Iterator[None]:
        """The stage of a method that takes so many gradients itself.

        Raises DeviceError where the device's memory does not hold one.
        """
        from tiemcli.extremal.torch_clip import memory_for_gradients

        with memory_for_gradients(NO_GRADIENTS), self.stage("masks", "where", evaluations):
            yield

    @property
    def cost(self) -> tuple[int, float, int]:
        """So far: clips scored, what they took in forwards of the whole network, gradients."""
        forwards, backwards = self.__dict__.get("gradients", Differentiation(None)).cost
        scored = sum(scorer.forwards for scorer in self._scorers)
        computed = sum(scorer.computed for scorer in self._scorers)
        return scored + forwards, computed + forwards, backwards
