"""The picture of a clip's evidence: one page that plays, and needs nothing beside it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiemcli.outputs import marks
from tiemcli.outputs.atomic import replacing
from tiemcli.outputs.embedded import film, outline, scaled, thumbnails
from tiemcli.outputs.page import render
from tiemcli.outputs.painting import View
from tiemcli.outputs.repeat import command
from tiemcli.pipeline import Explanation
from tiemcli.result import Result
from tiemcli.video import Timeline

# The part of the importance that the page's first sentence looks for the shortest time of.
_MOST = 0.8
# The part of the sampled time from which on such a time is no moment any more.
_LONG = 0.6


@dataclass(frozen=True)
class Moment:
    """A stretch of time, in seconds, and its share of the importance."""

    start: float
    end: float
    share: float


def write(
    path: Path,
    explanation: Explanation,
    result: Result,
    *,
    signature: tuple[float, float] | None = None,
) -> None:
    """Write the `page` of an explanation as a file, beside which the command to repeat it writes.

    Raises OutputError if it cannot be written, ClipError if the clip cannot be read any more.
    """
    text = page(explanation, result, path.parent, signature=signature)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def page(
    explanation: Explanation,
    result: Result,
    folder: Path,
    *,
    signature: tuple[float, float] | None = None,
) -> str:
    """The page of an explanation, one HTML document that works without a network.

    It carries a copy of the clip, at most 640 pixels on its longer side, and draws the masks over
    it, each as it is asked for. result: the same explanation as `document.describe` tells it.
    folder: where the command to repeat it writes. signature: the seconds (start, end) that are known
    to decide, to be marked. Raises ClipError if the clip cannot be read any more.
    """
    timeline, sampled = explanation.source.timeline, explanation.source.sampled
    small = scaled(timeline)
    importance, times = result.temporal.importance, result.clip.timestamps
    seconds = float(timeline.timestamps[-1] + 1 / timeline.fps)
    evidence = _evidence(explanation, result, small, seconds)
    return render(
        "report.html.j2",
        result=result,
        film=film(small),
        thumbnails=thumbnails(timeline, sampled),
        width=small.width,
        height=small.height,
        seconds=seconds,
        enough=explanation.enough,
        shown=evidence["shown"],
        moment=_moment(importance, times, seconds),
        signature=None if signature is None else _within(signature, importance, times),
        bars=marks.bars(importance, times, seconds),
        heat=marks.heat(result.temporal),
        curve=marks.curve(
            result.masks, explanation.clean, explanation.base_score, explanation.enough
        ),
        command=command(explanation, folder),
        name=os.path.basename(result.clip.path),
        network=os.path.basename(result.model.path),
        evidence=evidence,
    )


def _evidence(
    explanation: Explanation, result: Result, small: Timeline, seconds: float
) -> dict[str, Any]:
    """What the page's script reads."""
    view = _view(explanation, small)
    importance = result.temporal.importance
    return {
        "seconds": seconds,
        "rate": float(small.fps),
        "times": result.clip.timestamps,
        "peak": importance.index(max(importance)),
        "shown": explanation.masks.index(explanation.shown),
        "masks": [
            {
                "area": record.area,
                "score": record.score,
                "enough": record.score / explanation.clean
                >= explanation.enough / explanation.clean,
                "outlines": [outline(keep, view) for keep in mask.hard],
            }
            for record, mask in zip(result.masks, explanation.masks, strict=True)
        ],
        "windows": {str(record.size): record.drop for record in result.temporal.windows},
    }


def _view(explanation: Explanation, small: Timeline) -> View:
    """The part of the smaller film that the network saw."""
    timeline = explanation.source.timeline
    seen = explanation.network.model.preprocessing.view(timeline.width, timeline.height)
    across, down = small.width / timeline.width, small.height / timeline.height
    left, top, width, height = seen
    return round(left * across), round(top * down), round(width * across), round(height * down)


def _moment(importance: Sequence[float], times: Sequence[float], seconds: float) -> Moment | None:
    """The shortest run of sampled frames that holds most of the importance; None if it is long."""
    ends = marks.edges(times, seconds)
    runs = (
        Moment(float(ends[first]), float(ends[last]), sum(importance[first:last]))
        for first in range(len(importance))
        for last in range(first + 1, len(importance) + 1)
    )
    shortest = min(
        (run for run in runs if run.share >= _MOST),
        key=lambda run: (run.end - run.start, -run.share),
    )
    long = shortest.end - shortest.start > _LONG * (ends[-1] - ends[0])
    return None if long else shortest


def _within(
    signature: tuple[float, float], importance: Sequence[float], times: Sequence[float]
) -> Moment:
    start, end = signature
    inside = [share for share, time in zip(importance, times, strict=True) if start <= time < end]
    return Moment(start, end, sum(inside))
