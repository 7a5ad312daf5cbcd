"""What becomes of networks after their export: quantised, halved, optimised, split, converted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from tiemcli.errors import ModelError, first_line
from tiemcli.exporters.silence import silence

# Each reads the file `source`, and the samples it may calibrate on, and writes the file `target`.
Samples = dict[str, list[np.ndarray]]
Derivation = Callable[[Path, Path, Samples], None]


def derive(name: str, source: Path, target: Path, samples: Samples) -> None:
    """Write to `target` what `name` of `DERIVATIONS` makes of the network in `source`.

    samples: by input, batches of one clip as the network is fed. Raises ModelError where a package
    is not installed or the tool fails.
    """
    try:
        with silence():
            DERIVATIONS[name](source, target, samples)
    except ImportError as error:
        raise ModelError(f"{name}: the package {error.name} is not installed") from error
    except Exception as error:
        raise ModelError(f"{name}: {type(error).__name__}: {first_line(error)}") from error


class _Calibration:
    """The samples, one by one, as ONNX Runtime's calibration reads them."""

    def __init__(self, samples: Samples) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = (
            dict(zip(samples, values, strict=True))
            for values in zip(*samples.values(), strict=True)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _prepared(source: Path, target: Path) -> Path:
    """The network with the shapes and the folded normalisation that quantisation asks for."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    bare, prepared = (target.with_suffix(f".{what}.onnx") for what in ("bare", "prepared"))
    model = onnx.load(source)
    del model.graph.value_info[:]  # dynamo's shapes of weights contradict those that it infers
    onnx.save(model, bare)
    quant_pre_process(bare, prepared, skip_symbolic_shape=True)
    return prepared


def _static(form: str, **options: object) -> Derivation:
    """Weights and activations in int8, their ranges seen on the samples; `form` of the graph."""

    def quantise(source: Path, target: Path, samples: Samples) -> None:
        from onnxruntime.quantization import QuantFormat, quantize_static

        calibration = _Calibration(samples)
        quantize_static(
            _prepared(source, target),
            target,
            calibration,
            quant_format=QuantFormat[form],
            **options,
        )

    return quantise


def _dynamic(source: Path, target: Path, samples: Samples) -> None:
    """Weights in int8, the ranges of activations seen as they come."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(_prepared(source, target), target)


def _half(*, float_inputs: bool) -> Derivation:
    """Weights and activations in half precision."""

    def halve(source: Path, target: Path, samples: Samples) -> None:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(onnx.load(source), keep_io_types=float_inputs)
        onnx.save(model, target)

    return halve


def _optimised(level: str) -> Derivation:
    """As ONNX Runtime saves the graph that it would run."""

    def optimise(source: Path, target: Path, samples: Samples) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(target)
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    return optimise


def _external(source: Path, target: Path, samples: Samples) -> None:
    """Weights in a file beside the graph."""
    onnx.save(
        onnx.load(source),
        target,
        save_as_external_data=True,
        location=f"{target.name}.data",
        size_threshold=0,
    )


def _slimmed(source: Path, target: Path, samples: Samples) -> None:
    """Simplified by onnxslim."""
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), target)


def _converted(opset: int) -> Derivation:
    """Rewritten in another opset by onnx.version_converter."""

    def convert(source: Path, target: Path, samples: Samples) -> None:
        from onnx.version_converter import convert_version

        onnx.save(convert_version(onnx.load(source), opset), target)

    return convert


DERIVATIONS: dict[str, Derivation] = {
    "fp16": _half(float_inputs=False),
    "fp16-float-io": _half(float_inputs=True),
    "int8-qdq": _static("QDQ", per_channel=True),
    "int8-qoperator": _static("QOperator"),
    "int8-dynamic": _dynamic,
    "ort-basic": _optimised("ORT_ENABLE_BASIC"),
    "ort-extended": _optimised("ORT_ENABLE_EXTENDED"),
    "ort-all": _optimised("ORT_ENABLE_ALL"),
    "external-data": _external,
    "onnxslim": _slimmed,
    "converted-21": _converted(21),
}
