"""One whole explanation, as `tiem explain` gives it, against the paper's recipe in eager torch."""

import json
import subprocess
import sys
from pathlib import Path

from tiemcli.bench.speed.clock import Turn, interleave
from tiemcli.bench.speed.networks import Subject
from tiemcli.bench.speed.rivals import (
    RECIPE_FORWARDS,
    RECIPE_ITERATIONS,
    PaperRecipe,
    RawRuntime,
)
from tiemcli.bench.speed.row import Row
from tiemcli.errors import ClipError
from tiemcli.scorers.session import make_session

FORWARD, ITERATION, RAW, OURS = "a forward", "an iteration", "session.run", "tiem explain"
BEFORE, AFTER = 3, 2  # samples of the recipe around the explanation
# In evaluations by ONNX Runtime, of the network that the target is for.
MOST, PROMISED = 400, "r2plus1d-18"


def row(subject: Subject) -> Row:
    """Explain one clip with all defaults, gradients being there, and time samples of the recipe.

    Ours is all that the command takes: Python's start, imports, the file read and verified, decoding,
    both stages, the video written. The recipe's five forwards and five iterations are scaled to 137
    and 800, and nothing else of it counts.
    """
    model, clip = subject.model, subject.clip
    raw = RawRuntime(
        make_session(model.proto, model.path.parent, "cpu"), model, (model.tensor(clip[None]),)
    )
    target = int(raw.probabilities().argmax())
    base = model.preprocessing.base("blur", clip)
    recipe = PaperRecipe(subject.module, model, clip, base, target)
    samples = [
        Turn(FORWARD, 1, recipe.forward),
        Turn(ITERATION, 1, recipe.iterate),
        Turn(RAW, 1, raw.probabilities),
    ]
    for sample in samples:
        sample.run()  # the first run pays for caches and allocations
    out = model.path.parent / "explained"
    peaks: list[int] = []
    ours = Turn(OURS, 1, lambda: peaks.append(explain_in_a_child(subject, out)))
    seconds = interleave([*samples * BEFORE, ours, *samples * AFTER])
    theirs = RECIPE_FORWARDS * seconds[FORWARD] + RECIPE_ITERATIONS * seconds[ITERATION]
    equivalents = seconds[OURS] / seconds[RAW]
    promised = subject.case.network == PROMISED
    result = json.loads((out / "clip.tiem.json").read_text(encoding="utf-8"))
    return Row(
        what="one whole explanation",
        network=subject.case.network,
        frames=subject.case.frames,
        ratio=theirs / seconds[OURS],
        baseline=f"the paper's recipe, scaled from {BEFORE + AFTER} iterations",
        cpu_seconds=seconds[OURS],
        forwards=result["cost"]["computed"],
        equivalents=equivalents,
        peak_bytes=peaks[0],
        target=f"≤ {MOST} forwards" if promised else "",
        met=equivalents <= MOST if promised else None,
    )


def explain_in_a_child(subject: Subject, out: Path) -> int:
    """`tiem explain` of the clip; returns the most bytes that its process held.

    Raises ClipError with what the command said where it fails.
    """
    options = ["-m", subject.path, "-o", out, "--backend", "autograd", "--device", "cpu", "--quiet"]
    command = [
        sys.executable,
        "-m",
        "tiemcli.bench.speed.child",
        "explain",
        subject.video,
        *options,
    ]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=subject.path.parent,  # where no tiem.toml is
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.split("\n")
    if done.returncode != 0:
        said = [line for line in said if line.strip() and not line.isdecimal()]
        raise ClipError(f"tiem explain ended with {done.returncode}: {' '.join(said[-1:])}")
    return int(next(line for line in reversed(said) if line.isdecimal()))
