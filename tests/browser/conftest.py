"""A browser, and the sample's report in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tiemcli import Explanation, explain

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
SIGNATURE = (2.25, 3.5)  # of samples/truth.json
DESKTOP, PHONE = (1280, 800), (375, 812)


@dataclass
class Opened:
    """A page, and what it said and asked for since it was opened."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def until(self, condition: str) -> None:
        """Wait for a JavaScript condition; the page's own policy forbids playwright's way to."""
        self.page.evaluate(
            "() => new Promise((done, fail) => {"
            " const end = Date.now() + 5000;"
            f" const look = () => ({condition}) ? done()"
            " : Date.now() > end ? fail(new Error('waited too long')) : setTimeout(look, 10);"
            " look(); })"
        )


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, sample_in: Callable[[Path], Path]) -> Path:
    """The folder of somebody who has the sample's clip and network in it."""
    return sample_in(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def explained(sample: Path) -> Explanation:
    """The sample, explained as `tiem demo` does without torch, from within its folder."""
    with chdir(sample):
        areas = (0.02, 0.05, 0.1)
        return explain("clip.mp4", "net.onnx", areas=areas, backend="finite-difference")


@pytest.fixture(scope="session")
def folder(sample: Path, explained: Explanation) -> Path:
    """What is written of it: its result, its masked video and its report."""
    with chdir(sample):
        explained.save("out", formats=("mp4", "json", "html"), signature=SIGNATURE)
    return sample / "out"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, without its sandbox, which a container does not allow."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Opened]]:
    """A function that opens a file in a fresh window."""
    windows = []

    def visit(
        path: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light", motion: str = "reduce"
    ) -> Opened:
        window = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion=motion,
        )
        windows.append(window)
        opened = Opened(window.new_page())
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri())
        return opened

    yield visit
    for window in windows:
        window.close()


@pytest.fixture
def open_report(visit: Callable[..., Opened], folder: Path) -> Callable[..., Opened]:
    """A function that opens the sample's report and waits for its first picture."""

    def open_report(*args: Any, **options: Any) -> Opened:
        opened = visit(folder / "clip.tiem.html", *args, **options)
        film = "document.getElementById('film')"
        opened.until(f"{film}.readyState >= 2 && !{film}.seeking && {film}.currentTime > 0")
        return opened

    return open_report


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where screenshots go: $TIEM_SCREENSHOTS for the documentation, else nowhere that stays."""
    folder = Path(os.environ.get("TIEM_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
