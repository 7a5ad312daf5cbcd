"""Explain damaged clips as a worker does, and tell as lines of JSON how each ended.

`python tests/fuzz/clips.py FIRST BEHIND_LAST FOLDER`: which clips, by number. FOLDER keeps those
that found a fault.
"""

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from xml.etree import ElementTree

import av
import good_clips
import numpy as np
from forked import forked
from mutation import Mutation, mutated

import tiemcli.outputs.pictures  # what the children would each import
import tiemcli.outputs.report
import tiemcli.samples
from tiemcli.batch import prepare, run
from tiemcli.errors import Bug
from tiemcli.facts import Facts
from tiemcli.progress import Silent
from tiemcli.request import Request
from tiemcli.result import Result
from tiemcli.runs.engine import Finished, Item, Outcome
from tiemcli.settings import FORMATS, Settings

_NETWORK = Path(tiemcli.samples.__file__).with_name("net.onnx")
_RARE = tuple(format for format in FORMATS if format not in ("mp4", "json"))
_BOXES = re.compile(
    rb"ftyp|moov|mvhd|trak|tkhd|edts|elst|mdia|mdhd|hdlr|minf|stbl|stsd|avc1|avcC|hev1|hvcC|mp4v|esds"
    rb"|pasp|stts|ctts|stss|stsc|stsz|stco|co64|mdat|moof|mfhd|traf|tfhd|tfdt|trun|mvex|trex|sidx"
    rb"|RIFF|LIST|avih|strh|strf|idx1|JUNK|movi|00dc|MJPG|FMP4|GIF89a"
    rb"|\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|\x2a\xd7\xb1"
)


def resize_box(file: bytearray, chance: random.Random) -> bytearray:
    """A box says that it is of another size: the four bytes before its name, or behind it."""
    box = _box(file, chance)
    where = max(chance.choice((box - 4, box + 4)), 0)
    size = chance.choice((0, 1, 4, 8, chance.randrange(2 * len(file)), 2**31 - 1, 2**32 - 1))
    file[where : where + 4] = size.to_bytes(4, chance.choice(("big", "little")))
    return file


def rename_box(file: bytearray, chance: random.Random) -> bytearray:
    """A box, or a codec, goes by the name of another."""
    ours, other = _box(file, chance), _box(file, chance)
    file[ours : ours + 4] = file[other : other + 4]
    return file


def absurd_field(file: bytearray, chance: random.Random) -> bytearray:
    """A size, duration, time base, rate, matrix or count near the head of a box is absurd."""
    where = _box(file, chance) + 4 + 4 * chance.randrange(24)
    number = chance.choice((0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, chance.randrange(2**32)))
    file[where : where + 4] = number.to_bytes(4, chance.choice(("big", "little")))
    return file


OWN: tuple[Mutation, ...] = (resize_box, rename_box, absurd_field, absurd_field)


def _box(file: bytearray, chance: random.Random) -> int:
    """Where a box's name stands; anywhere if no name is left."""
    names = [found.start() for found in _BOXES.finditer(file)]
    return chance.choice(names) if names else chance.randrange(len(file))


def damaged(number: int, good: dict[str, bytes]) -> tuple[str, bytes]:
    """(name, bytes) of a damaged clip, the same for the same number."""
    chance = random.Random(number)
    names = list(good)
    name = names[0] if chance.random() < 0.5 else chance.choice(names)
    file = mutated(good[name], list(good.values()), OWN, chance)
    return f"{number}-{name}", file


class _Told(Silent):
    """Prints why a clip failed."""

    def __init__(self) -> None:
        self.failed = 0

    def scored(self) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome, Finished):
            return
        self.failed = 1
        print(outcome.error.trace if isinstance(outcome.error, Bug) else outcome.error)


def explain(clip: Path, folder: Path, formats: tuple[str, ...]) -> int:
    """What a worker does with one clip; the exit code of a run over it."""
    settings = Settings(queries=4, backend="finite-difference", formats=formats)
    request = Request(_NETWORK, Facts(), settings, "cpu", None, force=False)
    items: Iterator[Item | None] = iter([Item(clip, folder / f"{clip.stem}.tiem.json"), None])
    told = _Told()
    run(request, prepare(request), lambda: next(items), told)
    return told.failed


def check(folder: Path) -> int:
    """0 if every file is whole. Raises AssertionError or what its reader raises."""
    for path in folder.iterdir():
        assert not path.name.startswith("."), f"{path.name} is left"
        match path.suffix:
            case ".json":
                result = Result.model_validate_json(path.read_text(encoding="utf-8"))
                shown = path.with_name(str(result.files.masked or result.files.overlay))
                count = _frames(shown)
                assert count == result.clip.frames, f"{count} of {result.clip.frames} are shown"
            case ".mp4" | ".gif" | ".png":
                assert _frames(path)
            case ".npz":
                with np.load(path) as arrays:
                    assert all(array.size for array in arrays.values())
            case ".svg":
                ElementTree.parse(path)
            case ".html":
                assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
            case _:
                raise AssertionError(f"{path.name} is no output")
    return 0


def _frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def main(first: int, stop: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    good = good_clips.make(folder)
    for number in range(first, stop):
        name, file = damaged(number, good)
        clip, out = folder / name, folder / f"out-{number}"
        clip.write_bytes(file)
        out.mkdir()
        more = _RARE[number // 10 % len(_RARE)] if number % 10 == 0 else "json"
        formats = ("mp4", more)
        ended = forked(lambda: explain(clip, out, formats))  # noqa: B023  it runs now
        fault = ended.fault
        if ended.code == 1 and not fault and len(ended.text.strip().splitlines()) != 1:
            fault = "not one line"
        if ended.code == 0 and not any(out.iterdir()):
            fault = "no result"
        checked = forked(lambda: check(out)) if ended.code >= 0 else None  # noqa: B023
        if not fault and checked is not None and checked.code:
            fault = f"partial: {checked.text}"
        told = {"number": number, "name": name, "code": ended.code, "fault": fault}
        took = {"seconds": round(ended.seconds, 3), "megabytes": ended.peak >> 20}
        print(json.dumps(told | took | {"text": ended.text[-3000:]}), flush=True)
        if not fault:
            clip.unlink()
            rmtree(out)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
