"""The paper's pictures, Figures 5 to 10, drawn from numbers that were found elsewhere."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiemcli.errors import UsageError
from tiemcli.kernels.arrays import Bools, Bytes, Doubles, Floats
from tiemcli.outputs.atomic import replacing
from tiemcli.outputs.comparison_sheet import SIGNATURE
from tiemcli.outputs.sheet import ACCENT, FAINT, INK, TRACK
from tiemcli.temporal import TemporalImportance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches of the page's text, and of a block of frames at most.
WIDTH = 7.0
_BLOCK = 2.2
_ACROSS = 4  # blocks side by side
_DOTS_PER_INCH = 300
_FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
# Okabe and Ito's colours (2008), which the colour-blind tell apart, the project's first; in other
# strokes once they are used up.
_COLOURS = (ACCENT, "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7a4b00")
_STROKES: Any = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_GREEN = (0, 158, 115)
_OUT, _IN = (44, 49, 56), (255, 255, 255)  # of a regressor's region
_RULE = 150  # the gray between frames that may be white
_DIM = 0.12  # of the light is left where nothing is kept
_SPAN = 0.1  # how strong the ground of signature frames is
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "font.size": 8,
    "grid.color": TRACK,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "svg.hashsalt": "tiem",  # the same picture is the same file
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelsize": 7.5,
    "xtick.major.size": 0,
    "ytick.color": FAINT,
    "ytick.labelsize": 7.5,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, eq=False)
class Regressor:
    """One white-box regressor. truth: (T, H, W) bool, where it looks. kept: by method, (T, H, W) in
    [0, 1], what the method's mask keeps."""

    name: str
    truth: Bools
    kept: Mapping[str, Floats]


def whitebox_figure(path: Path, regressors: Sequence[Regressor]) -> None:
    """Figure 5: a row a regressor, its region in white, and what each method keeps in green.

    All regressors have the same methods. Here as in all of these functions the suffix of `path`,
    .png or .svg, says what is written. Raises UsageError without matplotlib, OutputError.
    """
    count = 1 + len(regressors[0].kept)
    side = min((WIDTH - 0.3) / count, _BLOCK)
    with _drawing(path, side * count + 0.3, (side + 0.05) * len(regressors) + 0.25) as figure:
        axes = figure.subplots(len(regressors), count, squeeze=False)
        for row, regressor in zip(axes, regressors, strict=True):
            region = np.where(regressor.truth[..., None], _IN, _OUT).astype(np.uint8)
            row[0].set_ylabel(regressor.name, color=INK, size=9)
            _show_block(row[0], _block(region, _RULE))
            for axis, kept in zip(row[1:], regressor.kept.values(), strict=True):
                _show_block(axis, _block(_mixed(region, np.asarray(_GREEN), kept), _RULE))
        for axis, name in zip(axes[0], ("region", *regressors[0].kept), strict=True):
            axis.set_title(name, loc="center")


def masks_figure(
    path: Path, frames: Bytes, kept: Mapping[str, Floats], signature: Bools | None = None
) -> None:
    """Figures 6 and 9: a block of the clip's frames, and one for what each method keeps of them.

    frames: (T, H, W, 3) uint8 RGB. kept: by method, (T, H, W) in [0, 1]. signature: (T,) the frames
    to mark in red. Frames go from left to right, then down. Raises as `whitebox_figure`.
    """
    dark = frames * _DIM
    blocks = {"clip": frames} | {name: _mixed(dark, frames, mask) for name, mask in kept.items()}
    across = min(len(blocks), _ACROSS)
    down = math.ceil(len(blocks) / across)
    width = min(WIDTH / across, _BLOCK)
    height = width * frames.shape[1] / frames.shape[2] + 0.25
    with _drawing(path, width * across, height * down) as figure:
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for axis, (name, block) in zip(axes, blocks.items(), strict=False):
            _show_block(axis, _block(block))
            axis.set_title(name, loc="center")
            _frame(axis, frames.shape, signature)
        for axis in axes[len(blocks) :]:
            axis.set_axis_off()


def importance_figure(
    path: Path, temporal: TemporalImportance, signature: Bools | None = None
) -> None:
    """Figures 7, 8 and 10: the importance of each frame, and that of the windows it is made from.

    A window's importance (Eq. 2) is shown relative to the mean of its size, without which a size of
    few windows outshines all others. Valid sizes (C) have a dot. temporal: with windows.
    signature: (T,) the frames to mark in red. Raises as `whitebox_figure`.
    """
    count = len(temporal.importance)
    with _drawing(path, WIDTH, 2.7) as figure:
        bars, heat = figure.subplots(1, 2, width_ratios=(1, 1.12))
        bars.set_title("a  Time importance score")
        bars.grid(visible=True, axis="y")
        bars.bar(np.arange(count), temporal.importance, 0.76, color=ACCENT)
        bars.axhline(1 / count, color=INK, linewidth=0.7, dashes=(4, 3))
        bars.set(xlabel="frame", ylabel="share of the clip", xlim=(-0.6, count - 0.4))
        bars.spines["left"].set_visible(False)
        marked = np.flatnonzero(_none(signature, count)).tolist()
        for index in marked:
            place = (index - 0.5, index + 0.5)
            bars.axvspan(*place, color=SIGNATURE, alpha=_SPAN, linewidth=0, zorder=0)
        if marked:
            bars.set_title(
                "signature frames", loc="right", color=SIGNATURE, size=8, weight="normal"
            )
        _show_windows(figure, heat, temporal)
        for axis in (bars, heat):
            axis.set_xticks(range(0, count, math.ceil(count / 16)))


def curve_figure(path: Path, curves: Mapping[str, tuple[Doubles, Doubles, Doubles]]) -> None:
    """The score as the pixels a method ranks highest are shown; chance, `random`, is broken.

    curves: by method (n,) shares of the pixels in [0, 1], (n,) mean scores and (n,) their standard
    deviations, which are the breadth of a line's ground. Raises as `whitebox_figure`.
    """
    with _drawing(path, WIDTH, 3.2) as figure:
        axis = figure.subplots()
        axis.grid(visible=True, axis="y")
        found = [name for name in curves if name != "random"]
        for name, (shares, mean, std) in curves.items():
            turn, place = divmod(found.index(name), len(_COLOURS)) if name in found else (1, 0)
            colour = _COLOURS[place] if name in found else FAINT
            stroke = _STROKES[turn % len(_STROKES)]
            across = 100 * shares
            axis.fill_between(across, mean - std, mean + std, color=colour, alpha=0.1, linewidth=0)
            axis.plot(across, mean, color=colour, linestyle=stroke, linewidth=1.6, label=name)
        axis.set(xlabel="pixels shown, % of the clip", ylabel="score", xlim=(0, 100))
        axis.spines["left"].set_visible(False)
        figure.legend(loc="outside right center", handlelength=2.2, labelcolor=INK)


def areas_figure(path: Path, areas: Doubles, scores: Doubles, enough: float) -> None:
    """Eq. 6: the score over the area kept, and a*, the smallest whose score is `enough`.

    areas: (n,) ascending in (0, 1]; scores: (n,). Areas stand at their square roots, for it is the
    small ones that matter. Raises as `whitebox_figure`.
    """
    with _drawing(path, WIDTH / 2, 2.6) as figure:
        axis = figure.subplots()
        axis.grid(visible=True, axis="y")
        axis.axhline(enough, color=INK, linewidth=0.8, dashes=(4, 3))
        axis.annotate("$Φ_0$", (1, enough), (3, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", annotation_clip=False)  # fmt: skip
        axis.plot(np.sqrt(areas), scores, color=ACCENT, linewidth=1.6, marker="o", markersize=4)
        met = np.flatnonzero(scores >= enough)
        if met.size:
            smallest = float(areas[met[0]])
            place = math.sqrt(smallest)
            axis.axvline(place, color=SIGNATURE, linewidth=1)
            axis.plot(place, scores[met[0]], color=SIGNATURE, marker="o", markersize=6)
            axis.annotate(f"a* = {100 * smallest:g} %", (place, 0), (4, 4), color=SIGNATURE,
                          xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
        ticks = [share for share in (0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 1) if share <= max(areas)]
        axis.set_xticks(np.sqrt(ticks), [f"{100 * share:g}" for share in ticks])
        axis.set(xlabel="area kept, % of the clip", ylabel="score", xlim=(0, None))
        axis.spines["left"].set_visible(False)


@contextmanager
def _drawing(path: Path, width: float, height: float) -> "Iterator[Figure]":
    """An empty figure of so many inches, written to `path` when it has been drawn."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager
    except ImportError as error:
        raise UsageError(
            f"{path.name} needs matplotlib, which is not installed", "pip install 'tiem[figures]'"
        ) from error
    installed = set(fontManager.get_font_names())
    family = [name for name in _FONTS if name in installed]
    style: Any = _STYLE | {"font.family": family}  # which keys there are changes with its version
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        # Without its date a picture changes only with what it shows.
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        with replacing(path) as part:
            figure.savefig(part, dpi=_DOTS_PER_INCH, metadata=metadata)


def _none(signature: Bools | None, count: int) -> Bools:
    return np.zeros(count, dtype=np.bool_) if signature is None else signature


def _mixed(under: np.ndarray, over: np.ndarray, share: Floats) -> Bytes:
    """`over` on `under`, both (T, H, W, 3) or broadcast to it, as far as `share` (T, H, W) says."""
    weight = share[..., None]
    return np.rint(under * (1 - weight) + over * weight).astype(np.uint8)


def _gap(width: int) -> int:
    """Pixels between frames that are `width` wide."""
    return max(round(width / 24), 1)


def _block(frames: Bytes, gray: int = 255) -> Bytes:
    """Frames (T, H, W, 3) as a square of frames, from left to right, then down, ruled in a gray."""
    count, height, width, _ = frames.shape
    gap, columns = _gap(width), math.ceil(math.sqrt(count))
    across, down = width + gap, height + gap
    shape = (math.ceil(count / columns) * down + gap, columns * across + gap, 3)
    block = np.full(shape, gray, np.uint8)
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        block[gap + row * down :, gap + column * across :][:height, :width] = frame
    return block


def _show_block(axis: "Axes", block: Bytes) -> None:
    axis.imshow(block, interpolation="antialiased")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _frame(axis: "Axes", shape: tuple[int, ...], signature: Bools | None) -> None:
    """Red frames around the signature frames of a block."""
    count, height, width, _ = shape
    gap, columns = _gap(width), math.ceil(math.sqrt(count))
    for index in np.flatnonzero(_none(signature, count)).tolist():
        row, column = divmod(index, columns)
        left, top = gap + column * (width + gap) - 0.5, gap + row * (height + gap) - 0.5
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height), (0, 0)])
        across, down = (corners + np.array([left, top])).T
        axis.plot(across, down, color=SIGNATURE, linewidth=1.4, clip_on=False,
                  solid_joinstyle="miter", scalex=False, scaley=False)  # fmt: skip


def _show_windows(figure: "Figure", axis: "Axes", temporal: TemporalImportance) -> None:
    """The heat map of windows: first frame across, size up."""
    count, sizes = len(temporal.importance), temporal.windows
    cells = np.full((len(sizes), count), np.nan)
    for row, size in zip(cells, sizes, strict=True):
        row[: len(size.importance)] = size.importance * len(size.importance)
    image = axis.pcolormesh(
        np.arange(count + 1) - 0.5, np.arange(len(sizes) + 1), cells,
        cmap="YlOrBr", vmin=0, vmax=max(float(np.nanmax(cells)), 1.0),
        edgecolor="white", linewidth=0.5,
    )  # fmt: skip
    step = math.ceil(len(sizes) / 16)
    axis.set_yticks(
        np.arange(0, len(sizes), step) + 0.5, [str(size.size) for size in sizes[::step]]
    )
    for place, size in enumerate(sizes):
        if size.valid:
            axis.plot(
                -0.02, place + 0.5, color=INK, marker="o", markersize=2.6, clip_on=False,
                transform=axis.get_yaxis_transform(),
            )  # fmt: skip
    axis.set_title("b  Importance of windows (dots: sizes that count)")
    axis.set(xlabel="first frame", ylabel="frames in the window", xlim=(-0.5, count - 0.5))
    axis.tick_params("y", pad=10)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axis, fraction=0.05, pad=0.02, aspect=28)
    bar.set_label("times its size's mean", color=FAINT)
    bar.outline.set_visible(False)
