"""The documentation as a site, in a real browser."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PAGES = sorted(path.stem for path in (Path(__file__).parents[2] / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Built as `make docs` does: a link that leads nowhere or a picture that is not there ends it."""
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    [words] = re.findall(
        r"^\tsphinx-build (.*) docs build/site$", (root / "Makefile").read_text(), re.MULTILINE
    )
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words.split(), str(root / "docs"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    """And can be found from the first; that of commands has what --help prints."""
    first = (site / "index.html").read_text(encoding="utf-8")
    assert PAGES
    for name in PAGES:
        assert (site / f"{name}.html").is_file()
        assert name == "index" or f'href="{name}.html"' in first
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert "Usage: tiem explain [OPTIONS] [CLIP...]..." in commands
    python = (site / "python.html").read_text(encoding="utf-8")
    assert "Find which moments and which pixels" in python


@pytest.mark.parametrize(("size", "scheme"), [((1280, 800), "light"), ((375, 812), "dark")])
def test_everyone_can_read_it(
    visit: Callable[..., Any], site: Path, size: tuple[int, int], scheme: str
) -> None:
    """Offline, on any screen: nothing complains or is asked of the net, no width scrolls sideways,
    and every picture that is shown is there."""
    for name in PAGES:
        opened = visit(site / f"{name}.html", size, scheme)
        page = opened.page
        assert opened.complaints == [], name
        assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data"}, name
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert page.evaluate(broken) == [], name
