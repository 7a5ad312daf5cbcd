"""`script:net.pt`: a network that `torch.jit` saved, without the Python that made it.

What it runs is TorchScript, which can write files.
"""

from dataclasses import replace
from pathlib import Path

import torch

from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters.original import Form, Wanted, file_of, input_shape, refuse_choices
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import TorchOriginal, reason_of
from tiemcli.facts import Facts


class ScriptOriginal(TorchOriginal):
    """A TorchScript network, which the converter of that name alone can read."""

    def write(self, path: Path, form: Form) -> str:
        if form.converter == "dynamo":
            raise UsageError(
                "--converter dynamo cannot read a TorchScript file", "leave out --converter"
            )
        return super().write(path, replace(form, converter="torchscript"))


def load(name: str, wanted: Wanted) -> ScriptOriginal:
    """The network of that file, of which the user says the input's layout, frames and size.

    Raises UsageError where they are not said, ModelError for a file that is no TorchScript.
    """
    refuse_choices(wanted, "a TorchScript file")
    path = file_of(name, "give script:FILE.pt")
    try:
        with silence():
            network = torch.jit.load(path, map_location="cpu")
    except Exception as error:
        raise ModelError(
            f"{name}: no TorchScript network: {reason_of(error)}",
            "a state dict goes to --weights, a torch.export file to program:",
        ) from error
    facts = wanted.facts.over(Facts(layout="NCTHW"))
    return ScriptOriginal(network, facts, input_shape(facts))
