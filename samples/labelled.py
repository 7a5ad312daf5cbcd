"""A folder of labelled clips, FOLDER/LABEL/*.avi: what is in it, its split, and its pixels."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiemcli.errors import ClipError, UsageError
from tiemcli.kernels.arrays import Bytes, Ints
from tiemcli.preprocess import Preprocessing
from tiemcli.progress import Progress
from tiemcli.sampling import choose
from tiemcli.video import read, scan

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
TRAINING, TEST = 0.70, 0.09
"""The paper's shares; validation gets the rest."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Clips of which each shows one thing.

    labels: (K,) the names of the classes in alphabetical order; paths: (N,); classes: (N,) int64
    indices into `labels`.
    """

    labels: tuple[str, ...]
    paths: tuple[Path, ...]
    classes: Ints


@dataclass(frozen=True, eq=False)
class Split:
    """Which clips do what: int64 indices, no two parts sharing one. test may be empty."""

    training: Ints
    validation: Ints
    test: Ints


def find(folder: Path) -> Labelled:
    """The clips of a folder; its subfolders are the labels.

    Raises UsageError if there are not two labels at least.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", "give one that holds FOLDER/LABEL/CLIP.avi")
    found = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in SUFFIXES)
    labels = sorted({path.parent.name for path in found})
    if len(labels) < 2:
        raise UsageError(
            f"{folder}: too few labels among its clips: {len(labels)}",
            "sort clips of two labels or more into a subfolder each",
        )
    classes = [labels.index(path.parent.name) for path in found]
    return Labelled(tuple(labels), tuple(found), np.array(classes, np.int64))


def decode(
    clips: Labelled,
    frames: int,
    preprocessing: Preprocessing,
    progress: Progress,
    note: Callable[[str], None],
) -> tuple[Labelled, Bytes]:
    """(clips, pixels): the clips that can be read, and (N, T, H, W, 3) uint8 RGB of them.

    They are sampled and fitted as `tiem explain` does it, once for all epochs, and held in memory:
    .8 MB a clip of 16 frames of 128×128. `note` is told of every clip that cannot be read.
    """
    shape = len(clips.paths), frames, preprocessing.height, preprocessing.width, 3
    pixels: Bytes = np.empty(shape, np.uint8)
    whole: list[int] = []
    progress.stage("reading clips", len(clips.paths))
    for index, path in enumerate(clips.paths):
        try:
            timeline = scan(path)
            chosen, _ = choose(timeline.timestamps, frames)
            pixels[len(whole)] = np.stack(read(timeline, chosen, preprocessing.fit))
            whole.append(index)
        except ClipError as error:
            note(f"left out: {error}")
        progress.advance(1)
    readable = Labelled(
        clips.labels, tuple(clips.paths[index] for index in whole), clips.classes[whole]
    )
    return readable, pixels[: len(whole)]


def split(clips: Labelled, rng: np.random.Generator, listed: frozenset[str] | None) -> Split:
    """Split every class at random into 70 % training, 21 % validation and 9 % test.

    Clips cut from one video, which UCF101 names v_LABEL_gGROUP_cCLIP, stay together: else the
    network is asked about scenes that it has seen. listed: "LABEL/CLIP.avi" of those that are
    training and validation, in the ratio of 70 to 21, all others being the test.
    Raises UsageError if a class has not one video for each of training and validation.
    """
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for index, label in enumerate(clips.labels):
        members = np.flatnonzero(clips.classes == index).tolist()
        videos: dict[str, list[int]] = {}
        for member in members:
            path = clips.paths[member]
            if listed is not None and f"{label}/{path.name}" not in listed:
                parts[2].append(member)
            else:
                videos.setdefault(re.sub(r"_c\d+$", "", path.stem), []).append(member)
        groups = [videos[name] for name in sorted(videos)]
        if len(groups) < 2:
            raise UsageError(
                f"label {label}: too few videos to learn from: {len(groups)}",
                "add one to make two, or remove its folder",
            )
        rng.shuffle(groups)
        test = 0 if listed is not None else round(TEST * len(groups))
        learned = len(groups) - test
        training = min(max(round(TRAINING / (1 - TEST) * learned), 1), learned - 1)
        for part, chosen in enumerate(
            (groups[:training], groups[training:learned], groups[learned:])
        ):
            parts[part].extend(member for group in chosen for member in group)
    return Split(*(np.array(sorted(part), np.int64) for part in parts))


def read_list(path: Path) -> frozenset[str]:
    """The clips "LABEL/CLIP.avi" that a list such as UCF101's trainlist01.txt names, one a line.

    What follows a name, the number of its class, is not read. Raises UsageError.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--train-list {path}: {error}", "give a file such as trainlist01.txt"
        ) from error
    return frozenset(line.split()[0] for line in lines if line.strip())
