"""The gallery in a real browser: finding clips, and opening their reports."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tiemcli import Explanation
from tiemcli.outputs import gallery
from tiemcli.samples.clip import write_clip
from tiemcli.samples.scene import random_scene

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def page_path(folder: Path, explained: Explanation) -> Path:
    """The gallery of three results, of which one is not enough, and one broken file."""
    record = json.loads(explained.result.to_json())
    even = [1 / 16] * 16
    for name, label, score, importance in (
        ("b-wave", "wave", 0.5, even),
        ("a-spin", "spin", 0.7, [0.1] * 8 + [0.025] * 8),
    ):
        record["target"] |= {"label": label, "score": score}
        record["temporal"]["importance"] = importance
        for mask in record["masks"]:
            mask["smallest"] = label == "spin"
        (folder / f"{name}.tiem.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "torn.tiem.json").write_text('{"schema": "tie', encoding="utf-8")
    return gallery.write(folder)


def names(page: Any) -> list[str]:
    """The clips that are shown, in order."""
    return page.evaluate(
        "[...document.querySelectorAll('.card')].filter(c => !c.hidden).map(c => c.dataset.name)"
    )


def test_clips_are_sorted(visit: Open, page_path: Path) -> None:
    """By name as it opens; by answer; by score and concentration from the highest; failures."""
    page = visit(page_path).page
    assert names(page) == ["a-spin", "b-wave", "clip", "torn"]
    for key, order in {
        "label": ["torn", "clip", "a-spin", "b-wave"],
        "score": ["clip", "a-spin", "b-wave", "torn"],
        "concentration": ["clip", "a-spin", "b-wave", "torn"],
        "failure": ["torn", "b-wave", "a-spin", "clip"],
    }.items():
        page.get_by_label("Sort by").select_option(key)
        assert names(page) == order, key


def test_clips_are_filtered(visit: Open, page_path: Path) -> None:
    """By answer, by state, by the least score and the least concentration."""
    page = visit(page_path).page
    page.locator("[name=label]").select_option("wave")
    assert names(page) == ["b-wave"]
    assert page.locator("#count").text_content() == "1 of 4 shown"
    page.locator("[name=label]").select_option("")
    for state, shown in {
        "enough": ["a-spin", "clip"],
        "short": ["b-wave"],
        "failed": ["torn"],
    }.items():
        page.get_by_label("State").select_option(state)
        assert names(page) == shown, state
    page.get_by_label("State").select_option("")
    page.get_by_label("Score at least").fill("0.6")
    assert names(page) == ["a-spin", "clip"]
    page.get_by_label("Concentration at least").fill("0.4")
    assert names(page) == ["clip"]


def test_a_clip_opens_its_report(visit: Open, page_path: Path) -> None:
    """The picture leads to the page beside it."""
    page = visit(page_path).page
    page.get_by_role("link", name="clip", exact=False).last.click()
    page.wait_for_url("**/clip.tiem.html")
    assert "jump" in page.get_by_role("heading", level=1).text_content()


@pytest.fixture(scope="module")
def robots(tmp_path_factory: pytest.TempPathFactory, sample_in: Callable[[Path], Path]) -> Path:
    """The gallery of six films that `tiem explain` explained, and one that it could not."""
    folder = sample_in(tmp_path_factory.mktemp("robots"))
    clips = folder / "clips"
    clips.mkdir()
    shutil.move(folder / "clip.mp4", clips / "robot-0.mp4")
    for seed, act in enumerate(("wave", "spin", "duck", "flip", "jump"), 1):
        scene = random_scene(np.random.default_rng(seed), act)
        write_clip(clips / f"robot-{seed}.mp4", scene)
    (clips / "torn.mp4").write_bytes((clips / "robot-0.mp4").read_bytes()[:3000])
    asked = "explain clips -m net.onnx -o out --format json,mp4,html --areas .02,.05,.1"
    by_queries = "--backend finite-difference --queries 300"
    for words, code in ((f"{asked} {by_queries}", 1), ("report out", 0)):
        command = [sys.executable, "-m", "tiemcli", *words.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    return folder / "out" / "index.html"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "size"), [("desktop", (1280, 1000)), ("phone", (375, 812))])
def test_screenshots_for_the_documentation(
    visit: Open, robots: Path, screenshots: Path, name: str, size: tuple[int, int], scheme: str
) -> None:
    """Each film is under its own act, and the torn one under its reason."""
    page = visit(robots, size, scheme).page
    assert page.locator("h1").text_content() == "6 clips explained, 1 failed"
    shown = page.locator(".card").all_inner_texts()
    for number, act in enumerate(("jump", "wave", "spin", "duck", "flip", "jump")):
        [card] = [text for text in shown if f"robot-{number}" in text]
        assert card.strip().startswith(act)
    [torn] = [text for text in shown if "torn" in text]
    assert "no frame can be decoded" in torn
    path = screenshots / f"gallery-{name}-{scheme}.jpg"
    page.screenshot(path=path, type="jpeg", quality=85)
    corner = cv2.imread(str(path))[:4, :4].mean()
    assert corner > 200 if scheme == "light" else corner < 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (375, 812)])
def test_everyone_can_use_the_gallery(
    visit: Open, page_path: Path, size: tuple[int, int], scheme: str
) -> None:
    """Nothing complains, axe-core finds nothing serious, and no width scrolls sideways."""
    source = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    opened = visit(page_path, size, scheme)
    page = opened.page
    assert opened.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page.evaluate((files(source) / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    assert [item["id"] for item in found if item["impact"] in ("serious", "critical")] == []
