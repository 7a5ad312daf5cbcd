"""Where the result of each clip of a run goes."""

import os
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiemcli.errors import UsageError
from tiemcli.result import ENDING, readable
from tiemcli.runs.engine import Item

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """A clip, and the folder of its result, relative to the output folder."""

    path: Path
    place: Parts


def place(clips: Iterable[Clip], folder: Path) -> tuple[Item, ...]:
    """Give each clip, as it was first given, a result of its own below `folder`.

    It is named by the clip's stem, or where another clip has that, by its whole name. Raises
    UsageError where not even that tells two apart.
    """
    once = tuple(_once(clips))
    return tuple(
        Item(clip.path, folder.joinpath(*clip.place, f"{name}{ENDING}"))
        for clip, name in zip(once, _names(once), strict=True)
    )


def _once(clips: Iterable[Clip]) -> Iterator[Clip]:
    """Each clip once, by whatever way its folder was reached."""
    real: dict[Path, str] = {}
    seen = set()
    for clip in clips:
        parent = clip.path.parent
        if parent not in real:
            real[parent] = os.path.realpath(parent)
        entry = (real[parent], _same(clip.path.name))
        if entry not in seen:
            seen.add(entry)
            yield clip


def _names(clips: Sequence[Clip]) -> list[str]:
    whole: set[int] = set()
    while True:
        names = [
            clip.path.name if index in whole else clip.path.stem for index, clip in enumerate(clips)
        ]
        sharing: defaultdict[Parts, set[int]] = defaultdict(set)
        for index, clip in enumerate(clips):
            sharing[tuple(map(_same, (*clip.place, names[index])))].add(index)
        clashes = [group for group in sharing.values() if len(group) > 1]
        if not clashes:
            return names
        for group in clashes:
            if group <= whole:
                one, other = (readable(clips[index].path) for index in sorted(group)[:2])
                raise UsageError(
                    f"{one} and {other} would both write {readable(Path(names[min(group)]))}{ENDING}",
                    "give the folder that holds both, or explain them into different folders with -o",
                )
        # A whole name may in turn be another's stem: a.mp4 and a.avi, beside a.mp4.mkv.
        whole.update(*clashes)


def _same(name: str) -> str:
    """What two names have in common that are one to the file system."""
    if sys.platform in ("win32", "darwin"):
        return unicodedata.normalize("NFC", name).casefold()
    return name
