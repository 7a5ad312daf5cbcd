"""The report in a real browser: what a person can see of it and do with it."""

import base64
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tiemcli import Explanation

DESKTOP, PHONE = (1280, 800), (375, 812)
Open = Callable[..., Any]
# The canvas as a person sees it: (height, width, 3) bytes, in a PNG.
CANVAS = "document.getElementById('kept').toDataURL('image/png')"
FRAME = 1 / 24  # seconds, of the sample


def painted(page: Any) -> np.ndarray:
    png = base64.b64decode(page.evaluate(CANVAS).split(",")[1])
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def now(page: Any) -> float:
    return float(page.evaluate("document.getElementById('film').currentTime"))


def settled(opened: Any) -> float:
    """The time that the clip stands at once it has found it."""
    opened.until("!document.getElementById('film').seeking")
    return now(opened.page)


def violations(page: Any) -> list[str]:
    """What axe-core calls serious or critical."""
    source = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    page.evaluate((files(source) / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{item['id']}: {node['html']}"
        for item in found
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]


def test_the_page_needs_nothing_but_itself(open_report: Open, folder: Path) -> None:
    """It loads from its file, asks for nothing else and has nothing to complain of."""
    opened = open_report()
    page = opened.page
    page.keyboard.press("]")
    page.get_by_role("button", name="Dark colours").click()
    page.wait_for_timeout(200)
    assert opened.complaints == []
    outside = [url for url in opened.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [(folder / "clip.tiem.html").as_uri()]


def test_it_opens_at_the_moment_that_matters_most(
    open_report: Open, explained: Explanation
) -> None:
    """The first picture is the frame of the largest importance, and what was kept of it is lit."""
    result = explained.result
    page = open_report().page
    peak = int(np.argmax(result.temporal.importance))
    assert now(page) == pytest.approx(result.clip.timestamps[peak], abs=FRAME)
    light = painted(page).max(axis=2)
    keep = cv2.resize(explained.found.shown.hard[peak], light.shape[::-1]) > 0.5
    inside = cv2.erode(keep.astype(np.uint8), np.ones((25, 25))) > 0
    outside = cv2.dilate(keep.astype(np.uint8), np.ones((25, 25))) == 0
    assert light[outside].max() < 60
    assert light[inside].mean() > 100


def test_the_video_plays_and_pauses(open_report: Open) -> None:
    """The button starts it, its playhead and the masked picture move with it, and it stops."""
    opened = open_report(motion="no-preference")
    page = opened.page
    began, first = now(page), painted(page)
    head = page.locator("#head")
    left = head.bounding_box()["x"]
    page.get_by_role("button", name="Play", exact=True).click()
    opened.until(f"Math.abs(document.getElementById('film').currentTime - {began}) > .3")
    assert head.bounding_box()["x"] > left
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate("document.getElementById('film').paused")
    assert np.abs(painted(page).astype(int) - first).mean() > 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_click_on_the_timeline_seeks(open_report: Open, share: float) -> None:
    """The clip jumps to the time under the pointer, a share of its 4 seconds."""
    opened = open_report()
    page = opened.page
    box = page.get_by_role("slider", name="Time").bounding_box()
    page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    assert settled(opened) == pytest.approx(4 * share, abs=FRAME)
    head = page.locator("#head").bounding_box()
    middle = head["x"] + head["width"] / 2
    assert middle == pytest.approx(box["x"] + share * box["width"], abs=0.012 * box["width"])


def test_the_timeline_can_be_dragged(open_report: Open) -> None:
    """While the pointer is held the clip follows it."""
    opened = open_report()
    page = opened.page
    box = page.get_by_role("slider", name="Time").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40)
    assert settled(opened) == pytest.approx(3.0, abs=FRAME)


def test_the_keyboard_plays_steps_and_chooses(open_report: Open) -> None:
    """Space plays and pauses, arrows step a frame, with shift a sampled one, brackets the area."""
    opened = open_report()
    page = opened.page
    film = "document.getElementById('film')"
    page.keyboard.press(" ")
    opened.until(f"!{film}.paused")
    page.keyboard.press(" ")
    opened.until(f"{film}.paused")
    page.locator(".frame").nth(4).click()
    began = settled(opened)
    page.locator("#timeline").focus()
    page.keyboard.press("ArrowRight")
    assert settled(opened) - began == pytest.approx(FRAME, abs=1e-3)
    page.keyboard.press("ArrowLeft")
    assert settled(opened) == pytest.approx(began, abs=1e-3)
    page.keyboard.press("Shift+ArrowRight")
    assert settled(opened) - began == pytest.approx(6 * FRAME, abs=1e-3)
    areas = page.get_by_role("slider", name="Keep")
    before = int(areas.input_value())
    page.keyboard.press("]")
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert int(areas.input_value()) == max(before + (1 if before < 2 else 0) - 2, 0)


def test_the_slider_changes_the_mask(open_report: Open, explained: Explanation) -> None:
    """A larger area lights more of the picture, and the page tells its score."""
    page = open_report().page
    masks = explained.result.masks
    lit, paths = [], []
    for index, mask in enumerate(masks):
        page.get_by_role("slider", name="Keep").fill(str(index))
        lit.append(int((painted(page).max(axis=2) > 80).sum()))
        paths.append(page.locator(".edge").nth(11).get_attribute("d"))
        assert page.locator("[data-score]").text_content() == f"{mask.score:.3f}"
        pressed = page.locator(".point[aria-pressed=true]")
        assert pressed.get_attribute("data-mask") == str(index)
    assert lit == sorted(lit)
    assert lit[0] < lit[-1]
    assert len(set(paths)) == len(masks)


def test_a_point_of_the_curve_chooses_its_area(open_report: Open) -> None:
    """By a click or by a key."""
    page = open_report().page
    points = page.locator(".point")
    points.nth(0).click()
    assert page.get_by_role("slider", name="Keep").input_value() == "0"
    points.nth(2).focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("slider", name="Keep").input_value() == "2"


def test_the_heat_map_tells_of_every_window(open_report: Open, explained: Explanation) -> None:
    """Under the pointer and under the arrow keys: which frames, when, and what the score lost."""
    page = open_report().page
    record = next(r for r in explained.result.temporal.windows if r.size == 3)
    page.locator("[data-size='3'][data-start='10']").hover()
    tip = page.locator("#heat-tip")
    assert tip.text_content().startswith("Frames 11–13 (2.63–3.13 s) hidden")
    assert tip.text_content().endswith(f"by {abs(record.drop[10]):.3f}")
    assert page.locator(".covered .in").count() == 3
    page.mouse.move(5, 5)
    assert tip.is_hidden()
    page.locator("#timeline").focus()
    page.locator("#heat").focus()
    page.keyboard.press("ArrowUp")
    assert tip.text_content().startswith("Frames 12–13")


def test_the_command_can_be_copied(open_report: Open) -> None:
    """The button puts the command on the clipboard, word for word."""
    page = open_report().page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#command").text_content()
    assert copied.startswith("tiem explain ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_everyone_can_use_the_page(open_report: Open, size: tuple[int, int], scheme: str) -> None:
    """axe-core finds nothing serious: names, roles, contrast."""
    page = open_report(size, scheme).page
    page.locator("summary").click()
    assert violations(page) == []


@pytest.mark.parametrize("width", [320, 375, 768, 1024])
def test_nothing_is_cut_off(open_report: Open, width: int) -> None:
    """No width makes the page scroll sideways."""
    page = open_report((width, 812)).page
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_colours_follow_the_system_and_the_button(open_report: Open) -> None:
    """Dark where the system is, until the button says otherwise, also after a reload."""
    page = open_report(scheme="dark").page
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    button = page.get_by_role("button", name="Dark colours")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    light = page.evaluate(ground)
    assert light != dark
    assert button.get_attribute("aria-pressed") == "false"
    page.reload()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "size"), [("desktop", (1280, 840)), ("phone", PHONE), ("whole", DESKTOP)]
)
def test_screenshots_for_the_documentation(
    open_report: Open, screenshots: Path, name: str, size: tuple[int, int], scheme: str
) -> None:
    """The page as it opens; its ground is bright or dark as asked for."""
    page = open_report(size, scheme).page
    path = screenshots / f"report-{name}-{scheme}.jpg"
    page.screenshot(path=path, full_page=name == "whole", type="jpeg", quality=85)
    corner = cv2.imread(str(path))[:4, :4].mean()
    assert corner > 200 if scheme == "light" else corner < 50
