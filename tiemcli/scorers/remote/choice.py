"""Which input of a server's network takes the clips, and which output is explained."""

from onnx import TensorProto

from tiemcli.connection import Address
from tiemcli.errors import ModelError
from tiemcli.inputs import FEWEST_AXES
from tiemcli.scorers.remote.transport import Card, Tensor

TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP16": TensorProto.FLOAT16,
    "UINT8": TensorProto.UINT8,
}
_WITH_BATCH = 5  # axes from which on the first is of clips, not of frames


def clip_input(card: Card, address: Address) -> Tensor:
    """The input that takes the clips. Raises ModelError where there are others, or none fits."""
    if len(card.inputs) != 1:
        names = ", ".join(tensor.name for tensor in card.inputs)
        what = f"{len(card.inputs)} inputs ({names})" if names else "no input"
        raise ModelError(
            f"{address.model!r} of {address.server} declares {what}, where a clip needs one",
            "" if names else "declare its inputs and outputs in the server's configuration",
        )
    (source,) = card.inputs
    if source.datatype not in TYPES or len(source.shape) < FEWEST_AXES:
        raise ModelError(
            f"the input {source.name!r} of {address.model!r} is {source.datatype} of shape "
            f"{list(source.shape)}; a video is {', '.join(TYPES)} of four axes or more",
            "is this a video classifier?",
        )
    return source


def output_of(card: Card, address: Address, wanted: str | None) -> str:
    """The name of the output to explain: the one that is wanted, or the only one.

    A server that declares none is believed to have the one that is wanted. Raises ModelError.
    """
    names = [tensor.name for tensor in card.outputs]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None or (names and wanted not in names):
        what = f"has no output {wanted!r}" if wanted else f"declares {len(names)} outputs"
        raise ModelError(
            f"{address.model!r} of {address.server} {what}: {', '.join(names)}".rstrip(": "),
            "give --output-name",
        )
    return wanted


def fixed_batch(source: Tensor) -> int | None:
    """The number of clips that an input is fixed at, None where it is free."""
    fixed = len(source.shape) >= _WITH_BATCH and source.shape[0] > 0
    return source.shape[0] if fixed else None
