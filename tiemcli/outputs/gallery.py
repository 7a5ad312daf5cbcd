"""A folder of results as one page, to find the clips that are worth a look."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
from pydantic import ValidationError

from tiemcli.errors import UsageError, first_line
from tiemcli.kernels.arrays import Bytes
from tiemcli.outputs import marks
from tiemcli.outputs.atomic import replacing
from tiemcli.outputs.embedded import jpeg
from tiemcli.outputs.page import render
from tiemcli.result import ENDING, MaskRecord, Result, readable
from tiemcli.runs.summary import read as read_summaries

_WIDTH = 320  # pixels, of a clip's picture


@dataclass(frozen=True)
class Entry:
    """One clip. href: what it opens, a relative URL. picture: a data URI of the moment that matters
    most, None where no video lies beside the result. concentration: 0 where every frame matters as
    much as the others, 1 where a single one does."""

    name: str
    href: str
    label: str
    result: Result
    mask: MaskRecord
    concentration: float
    bars: tuple[marks.Bar, ...]
    picture: str | None


@dataclass(frozen=True)
class Missing:
    """A clip without a result that can be shown, and why."""

    name: str
    reason: str


def write(folder: Path) -> Path:
    """Write `folder`/index.html over the results CLIP.tiem.json in it and below; the page's path.

    A clip opens its report where there is one, else its masked video, else the result itself. What a
    summary says has failed, and a result that cannot be read, is shown without a picture.
    Raises UsageError where the folder holds no result, OutputError if the page cannot be written.
    """
    paths = sorted(path for path in folder.rglob(f"*{ENDING}") if not path.name.startswith("."))
    failed = [
        Missing(entry.clip, str(entry.error).removeprefix(f"{entry.clip}: "))
        for entry in read_summaries(folder)
        if entry.status == "failed"
    ]
    if not paths and not failed:
        raise UsageError(
            f"{folder}: holds no result (CLIP{ENDING})", f"explain clips into it with -o {folder}"
        )
    read = [_read(path, folder) for path in paths]
    entries = [item for item in read if isinstance(item, Entry)]
    page = render(
        "gallery.html.j2",
        folder=folder.resolve().name,
        entries=entries,
        missing=[*(item for item in read if isinstance(item, Missing)), *failed],
        labels=sorted({entry.label for entry in entries}),
    )
    target = folder / "index.html"
    with replacing(target) as part:
        part.write_text(page, encoding="utf-8")
    return target


def concentration(importance: list[float]) -> float:
    """How far an importance that sums to 1 is from a uniform one: 1 − entropy / log T."""
    shares = np.array([share for share in importance if share > 0])
    if len(importance) == 1:
        return 0.0
    return float(1 + (shares * np.log(shares)).sum() / np.log(len(importance)))


def _read(path: Path, folder: Path) -> Entry | Missing:
    place = path.relative_to(folder)
    name = readable(place).removesuffix(ENDING)
    try:
        result = Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))  # one that another version wrote lacks some
        reason = ": ".join(filter(None, (field, first["msg"])))
        return Missing(name, f"{path.name} cannot be read: {reason}")
    except OSError as error:
        return Missing(name, f"{path.name} cannot be read: {first_line(error)}")
    importance, times = result.temporal.importance, result.clip.timestamps
    numerator, denominator = map(int, result.clip.fps.split("/"))
    seconds = max(result.clip.frames * denominator / numerator, times[-1])
    files = result.files
    video = files.masked or files.overlay
    return Entry(
        name=name,
        href="./" + quote(place.with_name(files.report or video or path.name).as_posix()),
        label=result.target.label or f"output {result.target.index}",
        result=result,
        mask=next((mask for mask in result.masks if mask.smallest), result.masks[-1]),
        concentration=concentration(importance),
        bars=marks.bars(importance, times, seconds),
        picture=_picture(path.with_name(video), times[int(np.argmax(importance))])
        if video
        else None,
    )


def _picture(path: Path, time: float) -> str | None:
    """The frame of a video at a time in seconds; None where it cannot be decoded."""
    try:
        with av.open(f"file:{path}") as container:
            stream = container.streams.video[0]
            container.seek(int(time * av.time_base))
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= time - 1e-6:
                    height = max(round(frame.height * _WIDTH / frame.width), 1)
                    image: Bytes = frame.to_ndarray(format="rgb24", width=_WIDTH, height=height)  # type: ignore[assignment]
                    return jpeg(image)
    except (av.FFmpegError, OSError, IndexError):
        return None
    return None
