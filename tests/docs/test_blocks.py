"""Every block of code in the README and the documentation does what it is shown to do."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from inference_server import SCHEMES, InferenceServer, declared

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What those read who have just installed tiem, without torch.
FIRST = {"README.md", "first.md"}

VENDOR = """
import numpy as np

def classify(clip):
    bright = float(clip.mean()) / 255
    return np.array([bright, 1 - bright])
"""
# Stands in for pip: all that may be installed is there already.
PIP = """#!{python}
import re, sys
from importlib.metadata import metadata

for extras in re.findall(r"\\[(.*?)\\]", " ".join(sys.argv)):
    missing = set(extras.split(",")) - set(metadata("tiem").get_all("Provides-Extra"))
    assert not missing, missing
"""


@dataclass(frozen=True)
class Block:
    """note: what the comment above it says, `skip, REASON` or `as FILE`."""

    line: int
    kind: str
    text: str
    note: str


def blocks(page: Path) -> Iterator[Block]:
    """Those between fences, but for directives of the site and pictures drawn in text."""
    text = page.read_text(encoding="utf-8")
    fence = r"^(?:<!-- test: (.*?) -->\n)?```([^\n]*)\n(.*?)^```$"
    for found in re.finditer(fence, text, re.MULTILINE | re.DOTALL):
        if not found[2].startswith("{") and found[2] != "text":
            line = text.count("\n", 0, found.start()) + 1
            yield Block(line, found[2], found[3], found[1] or "")


def executed(page: Path) -> list[Block]:
    return [block for block in blocks(page) if not block.note.startswith("skip")]


@pytest.fixture
def workshop(tmp_path: Path, sample_in: Callable[[Path], Path]) -> Path:
    """The folder in which a reader tries things out."""
    folder = sample_in(tmp_path)
    (folder / "clips/inner").mkdir(parents=True)
    for name in ("a.mp4", "inner/b-cam2.mp4"):
        shutil.copy(folder / "clip.mp4", folder / "clips" / name)
    (folder / "list.txt").write_text("clips/a.mp4\n")
    (folder / "labels.txt").write_text("jump\nwave\nspin\nduck\nflip\n")
    (folder / "vendor_sdk.py").write_text(VENDOR)
    np.savez(folder / "clip-masks.npz", np.ones((96, 288, 384), bool))
    return folder


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that find this tiem, open no browser and have little asked of networks."""
    programs = tmp_path_factory.mktemp("programs")
    (programs / "pip").write_text(PIP.format(python=sys.executable))
    (programs / "pip").chmod(0o755)
    places = (str(programs), str(Path(sys.executable).parent), os.environ["PATH"])
    return os.environ | {
        "PATH": os.pathsep.join(places),
        "BROWSER": "true",
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_ARRAY_TASK_COUNT": "16",
        "TIEM_QUERIES": "100",
        "TIEM_ITERATIONS": "8",
    }


@pytest.fixture
def served(
    tmp_path_factory: pytest.TempPathFactory, build_network: Callable[..., Path]
) -> Iterator[dict[str, str]]:
    """A server of the network `net`; the ports of the documentation, and those that it has."""
    server = InferenceServer(tmp_path_factory.mktemp("server") / "server")
    shape = {"frames": 16, "height": 64, "width": 64}
    server.add(
        "net",
        build_network("served.onnx", **shape),
        inputs=[declared("clip", "FP32", [-1, 3, *shape.values()])],
        outputs=[declared("logits", "FP32", [-1, 5])],
    )
    server.start()
    told = ("localhost:8000", "localhost:8001")
    real = [f"127.0.0.1:{server.ports[scheme]}" for scheme in SCHEMES]
    yield dict(zip(told, real, strict=True))
    server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("page", [*filter(executed, PAGES)], ids=lambda page: page.stem)
def test_a_page_does_what_it_shows(
    page: Path, workshop: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    """Its blocks in order, in one folder; those in Python as one script, at the end."""
    shown = executed(page)
    ports = {}
    if any("localhost:" in block.text for block in shown if block.kind == "sh"):
        ports = request.getfixturevalue("served")
    if page.name in FIRST:
        hidden = workshop / "hidden"
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
        environment["PYTHONPATH"] = str(hidden)
    printed, script = "", ""
    for block in shown:
        place = f"{page.name}:{block.line}"
        if block.note.startswith("as "):
            (workshop / block.note.removeprefix("as ")).write_text(block.text)
        elif block.kind == "sh":
            text = block.text
            for told, real in ports.items():
                text = text.replace(told, real)
            command = ["bash", "-euo", "pipefail", "-c", text]
            printed = run(command, workshop, environment, place)
        elif block.kind == "python":
            script += block.text
        elif block.kind == "":
            assert masked(block.text) in masked(printed), place
        else:
            {"json": json.loads, "toml": tomllib.loads}[block.kind](block.text)
    if script:
        run([sys.executable, "-c", script], workshop, environment, page.name)


def test_what_is_not_executed_says_why() -> None:
    """And is little."""
    notes = [block.note for page in PAGES for block in blocks(page)]
    skipped = [note for note in notes if note.startswith("skip")]
    assert all(re.fullmatch(r"skip, \w.*", note) for note in skipped)
    assert all(re.fullmatch(r"skip, .*|as [\w.]+|", note) for note in notes)
    assert len(skipped) < len(notes) / 4


def run(command: list[str], folder: Path, environment: dict[str, str], place: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{place}\n{done.stdout}{done.stderr}"
    return done.stdout


def masked(text: str) -> str:
    """A page's figures are those of one machine."""
    text = re.sub(r"\S*/samples/", "…/samples/", textwrap.dedent(text))
    return re.sub(r"[▁▂▃▄▅▆▇█]+", "▁", re.sub(r"\d[\d.,]*\b", "0", text))
