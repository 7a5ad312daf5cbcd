"""`keras:net.keras`, or `net.h5`: a model that Keras 3 saved, read by the backend installed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from tiemcli.axes import infer_layout
from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters.original import Form, Wanted, file_of, input_shape, refuse_choices
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import INPUT, TorchOriginal, reason_of
from tiemcli.facts import Facts

_OUTPUTS: dict[str, Literal["probabilities", "logits"]] = {
    "softmax": "probabilities",
    "linear": "logits",
}
# A factor below this, such as 1/255, is for pixels of 0..255.
_PIXEL_FACTOR = 0.1


class _OnCPU(nn.Module):
    """A Keras model on torch, whose layers would move what they are fed to a GPU."""

    def __init__(self, keras: Any, model: Any) -> None:
        super().__init__()
        self.keras, self.model = keras, model

    def forward(self, clips: Tensor) -> Tensor:
        with self.keras.device("cpu"):
            answer: Tensor = self.model(clips, training=False)
        return answer


@dataclass(frozen=True)
class KerasOriginal:
    """A Keras model on a backend other than torch, which Keras itself writes as ONNX."""

    keras: Any
    model: Any
    facts: Facts
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    notes: tuple[str, ...] = ()

    def answer(self, inputs: np.ndarray) -> np.ndarray:
        """What the model answers: (N, K) float32 for inputs of `shape` times N."""
        with silence():
            answer = self.keras.ops.convert_to_numpy(self.model(inputs, training=False))
        return np.asarray(answer, dtype=np.float32)

    def write(self, path: Path, form: Form) -> None:
        """Write the ONNX file; raises ModelError where Keras cannot."""
        backend = self.keras.backend.backend()
        if form.converter != "auto":
            raise UsageError(
                f"--converter {form.converter}: Keras converts by {backend}",
                "leave out --converter, or set KERAS_BACKEND=torch",
            )
        batch = self.model.inputs[0].shape[0] or form.batch
        signature = self.keras.InputSpec(
            shape=(batch, *self.shape[1:]), dtype=self.dtype.name, name=INPUT
        )
        try:
            with silence():
                self.model.export(
                    str(path),
                    format="onnx",
                    verbose=False,
                    input_signature=[signature],
                    opset_version=form.opset,
                )
        except Exception as error:  # a converter fails in any way
            raise ModelError(
                f"Keras cannot write it by {backend}: {reason_of(error)}",
                "install tf2onnx, or set KERAS_BACKEND=torch",
            ) from error


def load(name: str, wanted: Wanted) -> TorchOriginal | KerasOriginal:
    """The network of a .keras or .h5 file; custom code in the file is never run.

    Raises ModelError for a file that is no model of one video, UsageError where its frames or size
    are open and not said.
    """
    refuse_choices(wanted, "a Keras file")
    if not name.endswith((".keras", ".h5")):
        raise ModelError(f"{name}: no .keras or .h5 file", "save it by model.save('net.keras')")
    path = file_of(name, "check the path")
    keras = _keras()
    model = _read(keras, path)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"{name}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs",
            "save a model of one video and one answer",
        )
    dims = tuple(model.inputs[0].shape)
    facts = _facts(keras, model, dims, wanted.facts)
    shape = input_shape(facts)
    _check(dims, shape, facts.layout or "")
    dtype = np.dtype(model.inputs[0].dtype)
    if keras.backend.backend() == "torch":
        return TorchOriginal(_OnCPU(keras, model), facts, shape, dtype, pinned=dims[0] == 1)
    return KerasOriginal(keras, model, facts, shape, dtype)


def _keras() -> Any:
    """Keras; on torch where TensorFlow, its own first choice, is missing and nobody chose.

    Raises ModelError for a backend that it does not have.
    """
    if "KERAS_BACKEND" not in os.environ and find_spec("tensorflow") is None:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        with silence():
            return import_module("keras")
    except (ImportError, ValueError) as error:
        if find_spec("keras") is None:
            raise
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise ModelError(
            f"Keras does not run on {backend}: {reason_of(error)}", "set KERAS_BACKEND=torch"
        ) from error


def _read(keras: Any, path: Path) -> Any:
    try:
        with silence(), keras.device("cpu"):
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a stranger's file fails in any way
        raise ModelError(
            f"{path}: Keras cannot read it: {reason_of(error)}",
            "save a model of Keras's own layers by model.save('net.keras')",
        ) from error


def _facts(keras: Any, model: Any, dims: tuple[int | None, ...], said: Facts) -> Facts:
    """The user's facts over what the model's input, its layers and its last activation tell."""
    layout = said.layout or infer_layout(dims, said, INPUT)
    if len(layout) != len(dims):
        raise UsageError(
            f"--layout {layout} has {len(layout)} axes, the model's input {len(dims)}",
            "give another --layout",
        )
    sizes = dict(zip(layout, dims, strict=True))
    height, width = sizes["H"], sizes["W"]
    factors = [layer.scale for layer in _layers(model) if isinstance(layer, keras.layers.Rescaling)]
    last = model.layers[-1]
    activation = "softmax" if isinstance(last, keras.layers.Softmax) else _activation(last)
    several = (model.outputs[0].shape[-1] or 0) > 1
    return said.over(
        Facts(
            layout=layout,
            frames=sizes["T"],
            size=(height, width) if height and width else None,
            scale=1.0 if factors and np.max(np.abs(factors[0])) < _PIXEL_FACTOR else None,
            color="gray" if sizes.get("C", 1) == 1 else None,
            output=_OUTPUTS.get(activation) if several else None,
        )
    )


def _layers(model: Any) -> Iterator[Any]:
    """Every layer, also of the models and wrappers inside, in their order."""
    for layer in model.layers:
        yield layer
        inner = getattr(layer, "layer", layer)
        if inner is not layer:
            yield inner
        if hasattr(inner, "layers"):
            yield from _layers(inner)


def _activation(layer: Any) -> str:
    return getattr(getattr(layer, "activation", None), "__name__", "")


def _check(dims: tuple[int | None, ...], shape: tuple[int, ...], layout: str) -> None:
    """Raise where the model fixes what the user says otherwise, or a batch of several."""
    for letter, fixed, size in zip(layout, dims, shape, strict=True):
        if letter == "N" and (fixed or 1) != 1:
            raise ModelError(f"the model fixes its batch at {fixed}", "save it with a free batch")
        if letter != "N" and fixed not in (None, size):
            flag = {"T": "--frames", "C": "--color"}.get(letter, "--size")
            raise UsageError(f"the model fixes {letter} at {fixed}, not {size}", f"change {flag}")
