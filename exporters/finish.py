"""What is done to an ONNX file after a converter has written it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from tiemcli.errors import ModelError, first_line
from tiemcli.exporters.silence import silence
from tiemcli.kernels.subgraph import every_node

Precision = Literal["fp32", "fp16"]
# The largest difference from the original, in units of its answers' range.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2}
# A file may have 2 GB; beyond so many bytes the weights go into another.
LARGEST_FILE = 1_900_000_000


@dataclass(frozen=True)
class Finish:
    """precision: of the weights and of the arithmetic; what goes in and comes out stays float32.
    simplify: fold constants and drop what does nothing."""

    precision: Precision = "fp32"
    simplify: bool = False


def rework(network: onnx.ModelProto, finish: Finish) -> onnx.ModelProto:
    """The network as it is wished. Raises ModelError where it cannot be made so.

    What a converter noted of every node goes: it holds paths of the machine it ran on. So do the
    shapes it noted, of which some are wrong, and stop the tools that quantise.
    """
    for node in every_node(network.graph):
        del node.metadata_props[:]
    del network.graph.value_info[:]
    if finish.simplify:
        network = _simplified(network)
    if finish.precision == "fp16":
        network = _halved(network)
    return network


def _simplified(network: onnx.ModelProto) -> onnx.ModelProto:
    try:
        import onnxslim
    except ModuleNotFoundError:
        raise ModelError(
            "--simplify needs onnxslim, which is not installed", "pip install 'tiem[export]'"
        ) from None
    try:
        with silence():
            slim: onnx.ModelProto = onnxslim.slim(network)
            return slim
    except Exception as error:
        raise ModelError(
            f"the network cannot be simplified: {first_line(error)}", "leave out --simplify"
        ) from error


def _halved(network: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with silence():
            half: onnx.ModelProto = convert_float_to_float16(network, keep_io_types=True)
            return half
    except Exception as error:
        raise ModelError(
            f"the network cannot be put into fp16: {first_line(error)}", "leave out --precision"
        ) from error


def save(network: onnx.ModelProto, path: Path) -> tuple[Path, ...]:
    """Write the network, and too large weights into one file beside it; the files' paths."""
    if sum(len(weight.raw_data) for weight in network.graph.initializer) <= LARGEST_FILE:
        onnx.save(network, path)
        return (path,)
    beside = path.with_name(f"{path.name}.data")
    beside.unlink(missing_ok=True)  # onnx would append to it
    copy = onnx.ModelProto()
    copy.CopyFrom(network)
    onnx.save(copy, path, save_as_external_data=True, location=beside.name, convert_attribute=False)
    return path, beside


def opset_of(network: onnx.ModelProto) -> int:
    """The version of the ONNX operators that the network is made of."""
    versions = {entry.domain or "ai.onnx": entry.version for entry in network.opset_import}
    return int(versions["ai.onnx"])
