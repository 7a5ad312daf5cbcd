"""The rows of `tiem bench networks` as the page docs/networks.md."""

import platform
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import onnxruntime as ort

from tiemcli.bench.networks import Row

COMMAND = "tiem bench networks --markdown > docs/networks.md"
_PACKAGES = "torch torchvision transformers keras onnx onnxscript onnxslim".split()
_INTRODUCTION = """\
# Networks

Which ONNX files tiem can explain with gradients, measured on small networks of random weights: each
of the zoo (`exporters/zoo/`) is built as its architecture is, written by each of PyTorch's
converters, and some of the files are then quantised, halved, optimised or converted, as people do
before they deploy them. tiem reads each file as it reads anybody's. `r2plus1d-18`, `r3d-18`,
`mc3-18`, `s3d` and `swin3d` are torchvision's, whole; `mvit-*` are small ones of its code, `videomae`,
`timesformer`, `vivit` and `vjepa2` of transformers', `keras-*` of Keras's layers; the others are
look-alikes of a few layers. All are fed small clips, since operators are what is asked about.

- **difference**: of the file's answer from the original module's, at most, in units of the range of
  the module's answers. tiem did not cause it: it is what the converter or the tool changed.
- **batch**: `free` if the graph takes any batch, whatever the file declares; `rewritten` if it was
  fixed and tiem freed it; `looped` if clips go one by one.
- **reuse**: what the windows of a clip share and tiem computes once: `frames` that the network encodes
  one by one, or `stretches` of frames that it convolves in time.
- **apart**: between the windows' scores with that and without, at most, as probabilities or values.
- **gradient**: `yes` if the network is differentiated, its answer in torch being ONNX Runtime's and
  its gradient there and finite. Otherwise tiem says why, and asks by queries alone.
- **gap**: between the answers in torch and in ONNX Runtime, at most, in units of their range.
- **note**: the reason why not; or, where there is a gradient, the doubt that `tiem explain` would
  tell as well.

`tests/exporters/test_zoo.py` compares the gradients with the modules' own."""


def markdown(table: Sequence[Row], day: date) -> str:
    """The whole page: what was measured, on what, the sums and a line a file."""
    exports = [row for row in table if row.kind == "export"]
    derived = [row for row in table if row.kind == "derived"]
    seconds = sum(row.seconds for row in table)
    versions = [f"Python {platform.python_version()}", f"onnxruntime {ort.__version__}"]
    versions += [f"{name} {_version(name)}" for name in _PACKAGES]
    return "\n".join(
        [
            _INTRODUCTION,
            "",
            f"Made on {day} in {seconds / 60:.0f} minutes on a CPU, by",
            "",
            f"    {COMMAND}",
            "",
            f"with {', '.join(versions)}.",
            "",
            "| files | written | with gradients |",
            "|---|---|---|",
            f"| exports in float32 | {_sums(exports)} |",
            f"| derived files | {_sums(derived)} |",
            "",
            "## Exports",
            "",
            *_lines(exports),
            "",
            "## Derived files",
            "",
            *_lines(derived),
            "",
        ]
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _sums(part: Sequence[Row]) -> str:
    return " | ".join(
        f"{sum(had)} of {len(part)}"
        for had in ([row.exported for row in part], [row.autograd for row in part])
    )


def _lines(part: Sequence[Row]) -> Iterator[str]:
    yield "| network | converter | opset | derived | difference | batch | reuse | apart | gradient | gap | note |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for row in part:
        cells = (
            row.network,
            row.converter,
            str(row.opset),
            row.derived,
            _small(row.difference),
            row.batch or "",
            row.reuse or "",
            _small(row.apart),
            "yes" if row.autograd else "no",
            _small(row.gap),
            row.reason.replace("|", "\\|"),
        )
        yield f"| {' | '.join(cells)} |"


def _small(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}" if value else "0"
