"""What is put on the package index."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # builds in an environment of its own, as an index's users do


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The sdist, and the wheel that is built of it."""
    folder = tmp_path_factory.mktemp("dist")
    run("build", "--outdir", str(folder), str(root))
    return folder


def test_the_index_takes_the_sdist_and_the_wheel(dist: Path) -> None:
    """Their metadata is whole, and the README is rendered."""
    files = sorted(str(path) for path in dist.iterdir())
    assert [Path(name).suffix for name in files] == [".whl", ".gz"]
    run("twine", "check", "--strict", *files)


def test_the_wheel_explains_the_sample(dist: Path, tmp_path: Path) -> None:
    """It carries all that a run takes: templates of the page, the clip and its network."""
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    there = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = "import tiemcli; from tiemcli.cli import main; print(tiemcli.__file__); main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", "--out", "demo"],
        cwd=tmp_path,
        env=there,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "clip.masked.mp4",
        "clip.tiem.html",
        "clip.tiem.json",
    }


def run(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
