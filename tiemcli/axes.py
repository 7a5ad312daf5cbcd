"""Which axis of a network's input is which, and how long it is."""

import math
from collections.abc import Sequence

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.memory import available_memory

# A clip and what masks put in its place, and both once more as the network is fed them.
_HELD = 4
_FLOAT = 4  # bytes
Dims = Sequence[int | None]


def _shown(dims: Dims) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in dims) + "]"


def settle_layout(dims: Dims, facts: Facts, name: str) -> str:
    """The layout that is said, or else the one that the dimensions tell. Raises ModelError."""
    layout = facts.layout or infer_layout(dims, facts, name)
    if len(layout) != len(dims):
        raise ModelError(
            f"layout {layout} has {len(layout)} axes, the network's input {name!r} {len(dims)}",
            "give another --layout",
        )
    return layout


def infer_layout(dims: Dims, facts: Facts, name: str) -> str:
    """The layout that the dimensions tell, or ModelError naming --layout.

    The channel axis is the one of 3 or 1. Of the other three the time axis is the first, or the
    last where it alone is open, where --frames says so, or where the first two are a square or at
    least twice as long.
    """
    wanted = f"give --layout, for instance NCTHW, for input {name!r} of shape {_shown(dims)}"
    if len(dims) == 4 and (facts.frames or 0) > 1 and dims[1] in (1, 3):
        return "TCHW"
    if len(dims) != 5:
        raise ModelError(
            f"the network's input {name!r} has shape {_shown(dims)}; a video has five axes",
            "an image network that takes the frames as its batch needs --frames; otherwise "
            "give --layout",
        )
    channels = [axis for axis in (1, 2, 4) if dims[axis] in (1, 3)]
    if len(channels) != 1:
        raise ModelError("the network's channel axis cannot be told", wanted)
    (channel,) = channels
    rest = [axis for axis in range(1, 5) if axis != channel]
    time = _time_axis([dims[axis] for axis in rest], facts.frames)
    if time is None:
        raise ModelError("the network's time axis cannot be told", wanted)
    height, width = (axis for axis in rest if axis != rest[time])
    letters = {0: "N", channel: "C", rest[time]: "T", height: "H", width: "W"}
    return "".join(letters[axis] for axis in range(5))


def _time_axis(sizes: Dims, frames: int | None) -> int | None:
    """Which of three sizes is time, 0 or 2, for no network has it between height and width."""
    first, middle, last = sizes
    if middle is not None and (first is None) != (last is None):
        return 0 if first is None else 2
    if frames is not None and (first == frames) != (last == frames):
        return 0 if first == frames else 2
    if first is None or middle is None or last is None:
        return 0
    if middle == last or 2 * first <= min(middle, last):
        return 0
    return 2 if first == middle or 2 * last <= min(first, middle) else None


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
    _check_memory(sizes, 1)
    return sizes


def settle_batch(layout: str, dims: Dims, sizes: dict[str, int]) -> int | None:
    """How many clips the network takes at once, None where that is free. Raises ModelError."""
    batch = dims[layout.index("N")] if "N" in layout else _folded_batch(dims[0], sizes["T"])
    _check_memory(sizes, batch or 1)
    return batch


def _check_memory(sizes: dict[str, int], clips: int) -> None:
    """Raises ModelError where memory does not hold the inputs that every explanation needs."""
    wanted, free = _FLOAT * _HELD * clips * math.prod(sizes.values()), available_memory()
    if wanted > free:
        shape = " × ".join(f"{letter} {size}" for letter, size in sizes.items())
        raise ModelError(
            f"{clips} clip(s) of {shape} take {wanted / 1e9:,.0f} GB, {free / 1e9:,.1f} GB are free",
            "check --layout, --frames and --size, or export it for a smaller input",
        )


def _folded_batch(first: int | None, frames: int) -> int | None:
    """How many clips a fixed leading axis of N·T frames holds."""
    if first is None:
        return None
    if first % frames:
        raise ModelError(
            f"{first} stacked frames are no multiple of {frames}", "give another --frames"
        )
    return first // frames
