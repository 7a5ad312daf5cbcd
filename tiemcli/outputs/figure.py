"""The time importance above the windows it was found by, as one figure to print."""

import math
from xml.etree.ElementTree import Element, SubElement, indent

import numpy as np

from tiemcli.kernels.arrays import Doubles
from tiemcli.pipeline import Explanation
from tiemcli.temporal import WindowSize
from tiemcli.wording import score_text

_WIDTH, _LEFT, _RIGHT = 760, 56, 20
_CHART_TOP, _CHART_HEIGHT = 88, 150
_HEAT_TOP = _CHART_TOP + _CHART_HEIGHT + 84
_HEAT_HEIGHT, _TALLEST_ROW = 352, 24
_LABEL_ROOM = 44  # for a time
_LONGEST = 54  # letters of a label
_INK, _FAINT, _RULE, _ACCENT = "#1b1f24", "#59636e", "#d5d9de", "#e08600"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# ColorBrewer's YlOrBr and Blues: darker is more, also without colour.
_DROP = ("#ffffff", "#fff0c4", "#fed98e", "#fe9929", "#cc4c02", "#7a2e04")
_RISE = ("#ffffff", "#deebf7", "#9ecae1", "#4292c6", "#08519c", "#08306b")


def figure(explanation: Explanation) -> Element:
    """An SVG of the importance chart and, on the same frames, the heat map of windows if any were hidden.

    A column is a sampled frame, named by its time in seconds from the clip's first frame. Chart:
    its share of the temporal importance, a broken line at the share all would have if no moment
    mattered. Heat map: a row a window size, a cell a window in the column of its first frame, its
    colour the drop of the score when it is hidden (blue for a rise), relative to the largest
    change. The sizes that the importance is made of have a dot.
    """
    temporal = explanation.temporal
    times = explanation.source.timeline.timestamps[list(explanation.source.sampled)]
    row = min(_TALLEST_ROW, _HEAT_HEIGHT / max(1, len(temporal.windows)))
    foot = _CHART_TOP + _CHART_HEIGHT
    bottom = _HEAT_TOP + row * len(temporal.windows) if temporal.windows else foot
    height = round(bottom + 50)
    svg = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "role": "img",
            "aria-labelledby": "title description",
            "font-family": _FONT,
            "font-size": "12",
        },
    )
    name = explanation.label or f"output {explanation.target}"
    _add(svg, "title", f"When the network saw {name}", id="title")
    _add(svg, "desc", _in_words(temporal.windows, temporal.importance, times), id="description")
    _add(svg, "rect", width=_WIDTH, height=height, fill="#ffffff")
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1].rstrip()}…"
    heading = _text(svg, _LEFT, 30, short, size=17, weight="600")
    _add(heading, "tspan", f"\u2002{score_text(explanation.clean)}", fill=_FAINT, font_weight="400")
    _chart(svg, temporal.importance, times)
    _times(svg, times, foot + 17)
    if temporal.windows:
        _heat_map(svg, temporal.windows, times, row)
        _times(svg, times, bottom + 17)
        dot = _text(svg, _WIDTH - _RIGHT, bottom + 38, "●", anchor="end", fill=_ACCENT)
        _add(dot, "tspan", " sizes that make the importance", fill=_FAINT)
    axis = "first frame of the window, in seconds" if temporal.windows else "seconds"
    _text(svg, _LEFT, bottom + 38, axis, fill=_FAINT)
    indent(svg, " ")
    return svg


def ticks(top: float) -> list[float]:
    """Three to six round numbers from 0 that do not exceed `top`."""
    unit = 10.0 ** math.floor(math.log10(top))
    step = next(s * unit for s in (0.2, 0.5, 1, 2) if top / (s * unit) < 5.5)
    return [step * index for index in range(int(top / step * (1 + 1e-9)) + 1)]


def colour(strength: float) -> str:
    """The colour of a drop, relative to the largest change: -1 (rise) to 1, white at 0."""
    scale = _DROP if strength >= 0 else _RISE
    place = min(abs(strength), 1.0) * (len(scale) - 1)
    index = min(int(place), len(scale) - 2)
    share = place - index
    pairs = zip(_channels(scale[index]), _channels(scale[index + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _chart(svg: Element, importance: Doubles, times: Doubles) -> None:
    step = _step(times)
    foot, top = _CHART_TOP + _CHART_HEIGHT, float(importance.max())
    _text(svg, _LEFT, _CHART_TOP - 20, "Temporal importance", weight="600")
    legend = "share of each frame; broken line: if none mattered more"
    _text(svg, _WIDTH - _RIGHT, _CHART_TOP - 20, legend, anchor="end", fill=_FAINT)
    marks = _add(svg, "g", stroke=_RULE)
    for tick in ticks(top):
        level = foot - tick / top * _CHART_HEIGHT
        _add(marks, "path", d=f"M{_LEFT} {level:.2f}H{_WIDTH - _RIGHT}")
        name = f"{100 * tick:.3g}%"
        _text(svg, _LEFT - 8, level + 4, name, anchor="end", fill=_FAINT)
    bars = _add(svg, "g", fill=_ACCENT)
    for index, (share, time) in enumerate(zip(importance, times, strict=True)):
        _add(
            bars,
            "rect",
            title=f"{time:.2f} s: {share:.1%}",
            x=_LEFT + (index + 0.1) * step,
            y=foot - share / top * _CHART_HEIGHT,
            width=0.8 * step,
            height=share / top * _CHART_HEIGHT,
        )
    uniform = foot - _CHART_HEIGHT / len(times) / top
    path = f"M{_LEFT} {uniform:.2f}H{_WIDTH - _RIGHT}"
    _add(svg, "path", d=path, stroke=_INK, stroke_dasharray="4 3", title="if no moment mattered")


def _heat_map(svg: Element, windows: tuple[WindowSize, ...], times: Doubles, height: float) -> None:
    step = _step(times)
    _text(svg, _LEFT, _HEAT_TOP - 20, "Drop of the score when a window is hidden", weight="600")
    largest = max(float(np.abs(size.drop).max()) for size in windows)
    lowest = min(float(size.drop.min()) for size in windows)
    highest = max(float(size.drop.max()) for size in windows)
    _colour_bar(svg, min(lowest, 0.0), max(highest, 0.0), largest)
    named = math.ceil(13 / height)
    gap = min(1.0, height / 6, step / 6)
    _text(
        svg, 0, 0, "frames in the window", anchor="middle", fill=_FAINT,
        transform=f"translate(14 {_HEAT_TOP + len(windows) * height / 2:.2f}) rotate(-90)",
    )  # fmt: skip
    for index, size in enumerate(windows):
        top = _HEAT_TOP + index * height
        middle = top + height / 2
        if index % named == 0:
            _text(svg, _LEFT - 14, middle + 4, str(size.size), anchor="end", fill=_FAINT)
        if size.valid:
            counts = f"size {size.size} counts: θ = {size.variation:.2f}"
            _add(svg, "circle", cx=_LEFT - 6, cy=middle, r=2.5, fill=_ACCENT, title=counts)
        row = _add(svg, "g")
        for start, drop in enumerate(size.drop.tolist()):
            end = times[start + size.size - 1]
            _add(
                row,
                "rect",
                title=f"{times[start]:.2f}–{end:.2f} s, {size.size} frames: {drop:+.3g}",
                x=_LEFT + start * step,
                y=top,
                width=step - gap,
                height=height - gap,
                fill=colour(drop / largest if largest else 0),
                stroke=_RULE,
                stroke_width=0.4,
            )


def _colour_bar(svg: Element, low: float, high: float, largest: float) -> None:
    """What the colours say, from the largest rise to the largest drop."""
    width, height, top = 150, 10, _HEAT_TOP - 30
    name = f"{high:.2g}"
    right = _WIDTH - _RIGHT - 6 - 7 * len(name)
    stops = _add(_add(svg, "defs"), "linearGradient", id="scale")
    for share in np.linspace(0, 1, 21).tolist():
        value = low + share * (high - low)
        _add(stops, "stop", offset=share, stop_color=colour(value / largest if largest else 0))
    left = right - width
    _add(svg, "rect", x=left, y=top, width=width, height=height, fill="url(#scale)", stroke=_RULE)
    _text(svg, left - 6, top + 9, f"{low:.2g}", anchor="end", fill=_FAINT)
    _text(svg, _WIDTH - _RIGHT, top + 9, name, anchor="end", fill=_FAINT)


def _times(svg: Element, times: Doubles, line: float) -> None:
    """As many of the frames' times under their columns as fit."""
    step = _step(times)
    every = math.ceil(_LABEL_ROOM / step)
    for index in range(0, len(times), every):
        middle = _LEFT + (index + 0.5) * step
        _text(svg, middle, line, f"{times[index]:.2f}", anchor="middle", fill=_FAINT)


def _in_words(windows: tuple[WindowSize, ...], importance: Doubles, times: Doubles) -> str:
    peak = int(importance.argmax())
    words = (
        f"Temporal importance of {len(times)} frames; the largest share, {importance[peak]:.0%}, "
        f"is at {times[peak]:.2f} seconds."
    )
    if not windows:
        return words
    size = max(windows, key=lambda size: float(size.drop.max()))
    start = int(size.drop.argmax())
    return f"{words} The score falls most, by {size.drop[start]:.3g}, when {size.size} frames from {times[start]:.2f} seconds on are hidden."


def _step(times: Doubles) -> float:
    return (_WIDTH - _LEFT - _RIGHT) / len(times)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _text(
    parent: Element, x: float, y: float, text: str, *, size: int = 12, weight: str = "400",
    anchor: str = "start", fill: str = _INK, **attributes: str,
) -> Element:  # fmt: skip
    return _add(
        parent, "text", text, x=x, y=y, font_size=size, font_weight=weight, text_anchor=anchor,
        fill=fill, **attributes,
    )  # fmt: skip


def _add(
    parent: Element, tag: str, text: str = "", title: str = "", **attributes: str | float
) -> Element:
    """A new element. Numbers are rounded to hundredths; title: what a reader or a pointer is told."""
    element = SubElement(
        parent,
        tag,
        {
            name.replace("_", "-"): value if isinstance(value, str) else f"{round(value, 2):g}"
            for name, value in attributes.items()
        },
    )
    element.text = text
    if title:
        SubElement(element, "title").text = title
    return element
