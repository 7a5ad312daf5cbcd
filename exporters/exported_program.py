"""`program:net.pt2`: a network that `torch.export` saved, without the code that made it.

torch unpickles parts of such a file and runs the guards in it, so that it can hold code.
"""

import numpy as np
import torch
from torch import Tensor, nn

from tiemcli.axes import infer_layout, settle_sizes
from tiemcli.errors import ModelError
from tiemcli.exporters.original import Wanted, file_of, input_shape, refuse_choices
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import TorchOriginal, reason_of
from tiemcli.facts import Facts


def load(name: str, wanted: Wanted) -> TorchOriginal:
    """The program of that file; its input's shape is the program's.

    Raises ModelError for a file that is no program of one tensor, and where its axes cannot be told.
    """
    refuse_choices(wanted, "an exported program")
    path = file_of(name, "give program:FILE.pt2")
    try:
        with silence():
            program = torch.export.load(path)
    except Exception as error:
        raise ModelError(
            f"{name}: no exported program: {reason_of(error)}",
            "save it by torch.export.save, by this or an older version of torch",
        ) from error
    example = _input(program, name)
    dims = [size if isinstance(size, int) else None for size in example.shape]
    layout = wanted.facts.layout or infer_layout(dims, wanted.facts, "the program's")
    if len(layout) != len(dims):
        raise ModelError(
            f"layout {layout} has {len(layout)} axes, the program's input {len(dims)}",
            "give another --layout",
        )
    sizes = settle_sizes(layout, dims, wanted.facts)
    told = Facts(layout=layout, frames=sizes["T"], size=(sizes["H"], sizes["W"]))
    facts = wanted.facts.over(told)
    shape = input_shape(facts)
    if dims[0] not in (None, shape[0]):
        raise ModelError(f"{name} takes {dims[0]} clips at once", "export it for one, or for any")
    try:
        dtype: np.dtype[np.generic] = torch.zeros(0, dtype=example.dtype).numpy().dtype
    except TypeError as error:
        raise ModelError(
            f"{name} takes {example.dtype}", "export it for torch.float32 or torch.float16"
        ) from error
    return TorchOriginal(
        _Program(program.module()), facts, shape, dtype, pinned=dims[0] is not None
    )


def _input(program: torch.export.ExportedProgram, name: str) -> Tensor:
    """The placeholder of the only input."""
    inputs = program.graph_signature.user_inputs
    if len(inputs) != 1 or not isinstance(inputs[0], str):
        raise ModelError(f"{name} has {len(inputs)} inputs", "export it with one, the clip")
    placeholder = next(node for node in program.graph.nodes if node.name == inputs[0])
    example: Tensor = placeholder.meta["val"]
    return example


class _Program(nn.Module):
    """A program as a module like others: it has one mode, and refuses to be told of another."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> "_Program":
        return self

    def forward(self, clips: Tensor) -> Tensor:
        answer: Tensor = self.program(clips)
        return answer
