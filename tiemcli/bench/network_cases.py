"""The files of `tiem bench networks`: which network, which converter, what is made of the export."""

from dataclasses import dataclass
from typing import Literal

from tiemcli.bench.derive import DERIVATIONS
from tiemcli.exporters.original import Form

# As each converter writes when nobody says otherwise: TorchScript holds the example's batch of one.
TORCHSCRIPT = Form("torchscript", 17, batch=1)
DYNAMO = Form("dynamo", 18)
DYNAMO_ONE = Form("dynamo", 18, batch=1)
ATTENTION = Form("dynamo", 23)  # the first opset with an operator for attention
# TorchScript notes wrong shapes for MViT's pooling at a fixed batch, which ONNX Runtime then refuses.
FREE = Form("torchscript", 17)
BOTH, NEWEST = (TORCHSCRIPT, DYNAMO), (TORCHSCRIPT, DYNAMO, ATTENTION)

# TorchScript cannot trace the scan and the branch of `scan-cond`, which are dynamo's own.
EXPORTS: dict[str, tuple[Form, ...]] = {
    "cnn-lstm": BOTH,
    "cnn-gru": BOTH,
    "cnn-bilstm": BOTH,
    "cnn-rnn": BOTH,
    "loop-gru": BOTH,
    "scan-cond": (DYNAMO,),
    "uint8": BOTH,
    "detector": BOTH,
    "x3d": BOTH,
    "movinet": BOTH,
    "slowfast": BOTH,
    "slowfast-two": BOTH,
    "tsm": BOTH,
    "tsn": BOTH,
    "r2plus1d-18": BOTH,
    "r3d-18": BOTH,
    "mc3-18": BOTH,
    "s3d": BOTH,
    "mvit-v1": (FREE, DYNAMO, ATTENTION),
    "mvit-v2": (FREE, DYNAMO, ATTENTION),
    "swin3d": NEWEST,
    "videomae": NEWEST,
    "timesformer": NEWEST,
    "vivit": NEWEST,
    "vjepa2": NEWEST,
}


@dataclass(frozen=True)
class Case:
    """One file. derived: what is made of the export, or what is unusual about the export itself."""

    network: str
    form: Form
    derived: str = ""

    @property
    def kind(self) -> Literal["export", "derived"]:
        return "derived" if self.derived else "export"

    @property
    def transformed(self) -> bool:
        """Whether another tool follows the converter."""
        return self.derived in DERIVATIONS

    def __str__(self) -> str:
        made = f", {self.derived}" if self.derived else ""
        return f"{self.network}, {self.form.converter} {self.form.opset}{made}"


def _older(opset: int) -> Form:
    return Form("torchscript", opset, batch=1)


_DERIVED: tuple[tuple[str, tuple[tuple[str, Form], ...]], ...] = (
    (
        "fp16",
        (("r3d-18", TORCHSCRIPT), ("cnn-lstm", DYNAMO), ("videomae", DYNAMO), ("x3d", TORCHSCRIPT)),
    ),
    ("fp16-float-io", (("r3d-18", DYNAMO), ("tsm", TORCHSCRIPT), ("videomae", TORCHSCRIPT))),
    (
        "int8-qdq",
        (("r3d-18", TORCHSCRIPT), ("x3d", DYNAMO), ("tsn", TORCHSCRIPT), ("videomae", DYNAMO)),
    ),
    ("int8-qoperator", (("r3d-18", TORCHSCRIPT), ("tsm", TORCHSCRIPT), ("videomae", TORCHSCRIPT))),
    (
        "int8-dynamic",
        (
            ("cnn-lstm", TORCHSCRIPT),
            ("r3d-18", TORCHSCRIPT),
            ("videomae", DYNAMO),
            ("vivit", TORCHSCRIPT),
        ),
    ),
    (
        "ort-basic",
        (
            ("cnn-lstm", TORCHSCRIPT),
            ("swin3d", DYNAMO),
            ("slowfast", DYNAMO),
            ("loop-gru", TORCHSCRIPT),
        ),
    ),
    (
        "ort-extended",
        (("r3d-18", TORCHSCRIPT), ("tsn", DYNAMO), ("videomae", TORCHSCRIPT), ("mvit-v2", DYNAMO)),
    ),
    ("ort-all", (("r3d-18", TORCHSCRIPT), ("tsn", TORCHSCRIPT))),
    ("external-data", (("r3d-18", DYNAMO), ("timesformer", DYNAMO))),
    ("onnxslim", (("movinet", TORCHSCRIPT), ("mvit-v1", FREE), ("cnn-bilstm", DYNAMO))),
    ("converted-21", (("slowfast-two", TORCHSCRIPT), ("uint8", TORCHSCRIPT))),
    ("opset-9", (("r3d-18", _older(9)), ("cnn-gru", _older(9)))),
    ("opset-11", (("r3d-18", _older(11)), ("tsm", _older(11)))),
    ("opset-13", (("uint8", _older(13)), ("x3d", _older(13)))),
    (
        "keras",
        (
            ("keras-c3d", DYNAMO),
            ("keras-convlstm", DYNAMO_ONE),
            ("keras-cnn-lstm", DYNAMO),
            ("keras-cnn-bigru", DYNAMO),
        ),
    ),
    ("opset-24", (("x3d", Form("dynamo", 24)), ("videomae", Form("dynamo", 24)))),
)

_MADE = (
    *(Case(network, form) for network, forms in EXPORTS.items() for form in forms),
    *(Case(network, form, derived) for derived, made in _DERIVED for network, form in made),
)
# Those of one network together: its module is built once.
_ORDER = tuple(dict.fromkeys(case.network for case in _MADE))
CASES = tuple(sorted(_MADE, key=lambda case: _ORDER.index(case.network)))
