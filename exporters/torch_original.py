"""A torch network as an exporter hands it on: it answers, and it is written as ONNX."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tiemcli.errors import ModelError, TiemError
from tiemcli.exporters.finish import LARGEST_FILE
from tiemcli.exporters.original import Form
from tiemcli.exporters.silence import silence
from tiemcli.facts import Facts

FLOAT: np.dtype[np.generic] = np.dtype(np.float32)
INPUT, OUTPUT = "clip", "answer"
DYNAMO_OPSET = 18  # the lowest that dynamo's converter writes
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class TorchOriginal:
    """A module that takes one tensor of `shape`, its batch 1, and answers one tensor.

    It is put on the CPU and in evaluation mode, and its weights are frozen. pinned: it takes no
    other batch than 1.
    """

    module: nn.Module
    facts: Facts
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic] = FLOAT
    pinned: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.module.cpu().eval()
        for weight in self.module.parameters():
            weight.requires_grad_(False)

    def answer(self, inputs: np.ndarray) -> np.ndarray:
        """What the module answers: (N, K) float32 for inputs of `shape` times N.

        Raises ModelError where it fails on them or answers no tensor.
        """
        try:
            with torch.no_grad(), silence():
                answer = self.module(torch.from_numpy(np.ascontiguousarray(inputs)))
        except TiemError:
            raise
        except (Exception, SystemExit) as error:  # code of others may end the process
            raise ModelError(
                f"the network does not run on input of shape {list(inputs.shape)}: "
                f"{reason_of(error)}",
                "check --layout, --frames and --size",
            ) from error
        if not isinstance(answer, torch.Tensor):
            raise ModelError(
                f"the network answers {type(answer).__name__}, not one tensor",
                "wrap it in a module that returns its logits",
            )
        array: np.ndarray = answer.float().numpy()
        return array

    def write(self, path: Path, form: Form) -> str:
        """Write the ONNX file; returns the converter that did, "dynamo" or "torchscript".

        The automatic choice is dynamo's, and TorchScript's where that fails or writes no opset so
        low. Raises ModelError with each converter's reason where none can trace the module.
        """
        form = replace(form, batch=1) if self.pinned and form.batch is None else form
        writers: dict[str, Callable[[], object]] = {
            "dynamo": lambda: self._dynamo(path, form),
            "torchscript": lambda: self._torchscript(path, form),
        }
        if form.converter != "auto":
            writers = {form.converter: writers[form.converter]}
        elif form.opset is not None and form.opset < DYNAMO_OPSET:
            del writers["dynamo"]
        return write_by_first(writers, form)

    def _example(self, form: Form) -> torch.Tensor:
        """Black clips; two where the batch is free, for one would be taken for a constant."""
        batch = 2 if form.batch is None else form.batch
        return torch.from_numpy(np.zeros((self.shape[0] * batch, *self.shape[1:]), self.dtype))

    def _dynamo(self, path: Path, form: Form) -> None:
        dynamic = None
        if form.batch is None:
            clips = torch.export.Dim("batch", min=1, max=4096)
            dynamic = ({0: self.shape[0] * clips if self.shape[0] > 1 else clips},)
        program = torch.onnx.export(
            self.module,
            (self._example(form),),
            path,
            dynamo=True,
            dynamic_shapes=dynamic,
            external_data=weight_bytes(self.module) > LARGEST_FILE,
            **options(form),
        )
        shape = program.model.graph.inputs[0].shape if program else None
        # Where it cannot hold the batch open it fixes it at the example's, and says nothing.
        if form.batch is None and shape is not None and isinstance(shape[0], int):
            raise ValueError("its batch comes out fixed")

    def _torchscript(self, path: Path, form: Form) -> None:
        free = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no operator for it
        try:
            torch.onnx.export(
                self.module,
                (self._example(form),),
                path,
                dynamo=False,
                dynamic_axes=free if form.batch is None else None,
                **options(form),
            )
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def options(form: Form) -> dict[str, Any]:
    """What both converters are told."""
    return {
        "input_names": [INPUT],
        "output_names": [OUTPUT],
        "opset_version": form.opset,
        "verbose": False,
    }


def write_by_first(writers: dict[str, Callable[[], object]], form: Form) -> str:
    """The name of the first writer that succeeds.

    Raises ModelError with every one's reason, OSError where the disk is full.
    """
    reasons = []
    for name, write in writers.items():
        try:
            with silence(), torch.no_grad():
                write()
            return name
        except Exception as error:  # noqa: BLE001  a converter may fail in any way
            root = root_of(error)
            if isinstance(root, OSError) and root.errno in _FULL:
                raise root from None
            reasons.append(f"{name}: {reason_of(error)}")
    raise ModelError(
        f"the network cannot be traced ({'; '.join(reasons)})",
        "--batch 1 may be easier to trace" if form.batch is None else "rewrite what is named",
    )


def reason_of(error: BaseException) -> str:
    """The first line of what went wrong at first; converters report it in pages."""
    root = root_of(error)
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    return (lines[0] if lines else type(root).__name__)[:200]


def root_of(error: BaseException) -> BaseException:
    """What went wrong at first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def weight_bytes(module: nn.Module) -> int:
    """The size of all that is learned or kept, in bytes."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
