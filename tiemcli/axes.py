"""Which axis of a network's input is which, and how long it is."""

from collections.abc import Sequence

import onnx

from tiemcli.errors import ModelError
from tiemcli.facts import Facts

Dims = tuple[int | None, ...]


def dims_of(value: onnx.ValueInfoProto) -> Dims:
    """The declared dimensions, None where one is open."""
    return tuple(d.dim_value or None for d in value.type.tensor_type.shape.dim)


def _shown(dims: Dims) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in dims) + "]"


def infer_layout(dims: Dims, facts: Facts, name: str, assumed: list[str]) -> str:
    """The layout that the dimensions tell, or ModelError naming --layout.

    The channel axis is the one of 3, or else of 1; of the other three the time axis is the one of
    --frames, or the odd one out of a square frame, or the shortest, or else the first.
    """
    wanted = f"give --layout, for instance NCTHW, for input {name!r} of shape {_shown(dims)}"
    if len(dims) == 4 and (facts.frames or 0) > 1 and dims[1] in (1, 3):
        assumed.append("layout TCHW (the batch holds N·T frames)")
        return "TCHW"
    if len(dims) != 5:
        raise ModelError(
            f"the network's input {name!r} has shape {_shown(dims)}; a video has five axes",
            "an image network that takes the frames as its batch needs --frames; otherwise "
            "give --layout",
        )
    channels = [axis for axis in (1, 2, 4) if dims[axis] == 3]
    channels = channels or [axis for axis in (1, 2, 4) if dims[axis] == 1]
    if len(channels) != 1:
        raise ModelError("the network's channel axis cannot be told", wanted)
    (channel,) = channels
    rest = [axis for axis in range(1, 5) if axis != channel]
    time = _time_axis(dims, rest, facts)
    letters = {0: "N", channel: "C", time: "T"}
    height, width = (axis for axis in rest if axis != time)
    letters |= {height: "H", width: "W"}
    layout = "".join(letters[axis] for axis in range(5))
    assumed.append(f"layout {layout}")
    return layout


def _time_axis(dims: Dims, axes: Sequence[int], facts: Facts) -> int:
    matching = [axis for axis in axes if dims[axis] == facts.frames]
    if facts.frames is not None and len(matching) == 1:
        return matching[0]
    known = [dims[axis] for axis in axes]
    if None in known:
        return axes[0]
    odd = [axis for axis in axes if known.count(dims[axis]) == 1]
    if len(odd) == 1:
        return odd[0]
    return min(axes, key=lambda axis: dims[axis] or 0)


def settle_sizes(layout: str, dims: Dims, facts: Facts) -> dict[str, int]:
    """C, T, H and W, from the file where it fixes them and from the facts where it does not."""
    fixed: dict[str, int | None] = {"C": 1, **dict(zip(layout, dims, strict=True))}
    height, width = facts.size or (None, None)
    told = {"C": {"gray": 1, "rgb": 3, "bgr": 3}.get(facts.color or ""), "T": facts.frames}
    told |= {"H": height, "W": width}
    if "N" not in layout:
        fixed["T"] = facts.frames or fixed["T"]
    flags = {"C": "--color", "T": "--frames", "H": "--size", "W": "--size"}
    sizes = {}
    for letter, flag in flags.items():
        size, wish = fixed[letter], told[letter]
        if size is None and wish is None:
            raise ModelError(f"the network leaves {letter} of {layout} open", f"give {flag}")
        if size is not None and wish is not None and size != wish:
            raise ModelError(
                f"the network fixes {letter} at {size}, not {wish}", f"leave out {flag}"
            )
        sizes[letter] = size or wish or 0
    if sizes["C"] not in (1, 3):
        raise ModelError(
            f"the network takes {sizes['C']} channels; a video has 1 or 3", "check --layout"
        )
    return sizes


def folded_batch(first: int | None, frames: int) -> int | None:
    """How many clips a fixed leading axis of N·T frames holds."""
    if first is None:
        return None
    if first % frames:
        raise ModelError(
            f"{first} stacked frames are no multiple of {frames}", "give another --frames"
        )
    return first // frames
