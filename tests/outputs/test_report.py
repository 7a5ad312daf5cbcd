"""The report and the gallery as files: what they carry, and that nothing in them is trusted."""

import json
import re
import shlex
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tiemcli import command_explain
from tiemcli.cli import app
from tiemcli.errors import ClipError, OutputError, UsageError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.outputs import document, gallery, marks, report
from tiemcli.outputs.embedded import outline, scaled
from tiemcli.outputs.repeat import command
from tiemcli.pipeline import Explanation, explain, read_clip
from tiemcli.result import Result
from tiemcli.runs.engine import Failure, Item
from tiemcli.runs.summary import Summary
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings
from tiemcli.video import iterate, scan

VOID = set("area base br col embed hr img input link meta source track wbr".split())
Explained = tuple[Explanation, Result]


@pytest.fixture(scope="module")
def explained() -> Explained:
    """The sample, explained quickly, and its result."""
    with as_file(files("tiemcli.samples")) as samples:
        network = load_network(load_model(samples / "net.onnx", Facts()), "cpu", 8)
        settings = Settings(areas=(0.05, 0.2), backend="finite-difference", queries=60)
        explanation = explain(
            read_clip(samples / "clip.mp4", network.model, settings), network, settings
        )
    return explanation, document.describe(explanation, "f" * 64, "c" * 64, {})


class Page(HTMLParser):
    """The elements of a page, and its text by element. Fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", text))

    @property
    def evidence(self) -> dict[str, Any]:
        """What the page's script reads."""
        return json.loads(next(text for tag, text in self.texts if tag == "script"))


def written(path: Path, explained: Explained, **options: Any) -> Page:
    report.write(path, *explained, **options)
    return Page(path.read_text(encoding="utf-8"))


def test_a_report_is_one_small_file(tmp_path: Path, explained: Explained) -> None:
    """It refers to nothing outside itself, its tags nest, its ids are unique, and the sample's is
    below 2 MB."""
    path = tmp_path / "clip.tiem.html"
    page = written(path, explained, signature=(2.25, 3.5))
    links = [attrs[name] for _, attrs in page.elements for name in ("src", "href") if name in attrs]
    assert all((link or "").startswith("data:") for link in links)
    ids = Counter(attrs["id"] for _, attrs in page.elements if "id" in attrs)
    assert set(ids.values()) == {1}
    assert path.stat().st_size < 2e6
    assert [p.name for p in tmp_path.iterdir()] == ["clip.tiem.html"]


def test_a_report_carries_the_clip(tmp_path: Path, explained: Explained) -> None:
    """Every frame at its time, and every sampled frame as a picture."""
    page = written(tmp_path / "a.html", explained)
    timeline = explained[0].source.timeline
    film = next(attrs["src"] for tag, attrs in page.elements if tag == "video")
    assert film is not None
    (tmp_path / "film.mp4").write_bytes(b64decode(film.split(",")[1]))
    copy = scan(tmp_path / "film.mp4")
    np.testing.assert_allclose(copy.timestamps, timeline.timestamps, atol=1e-6)
    for before, after in zip(iterate(timeline), iterate(copy), strict=True):
        assert np.square(before.astype(float) - after).mean() < 60
    pictures = [attrs["href"] for tag, attrs in page.elements if tag == "image"]
    assert len(pictures) == len(explained[0].source.sampled)


def test_a_report_carries_the_masks(tmp_path: Path, explained: Explained) -> None:
    """An outline filled by the even-odd rule is the mask it outlines, but for its rounded edge."""
    explanation = explained[0]
    page = written(tmp_path / "a.html", explained)
    evidence = page.evidence
    width, height = explanation.source.timeline.width, explanation.source.timeline.height
    assert [m["area"] for m in evidence["masks"]] == [m.area for m in explanation.masks]
    for told, mask in zip(evidence["masks"], explanation.masks, strict=True):
        for path, keep in zip(told["outlines"], mask.hard, strict=True):
            drawn = filled(path, width, height)
            wanted = cv2.resize(keep, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
            union = (drawn | wanted).sum()
            if wanted.sum() > 2000:
                assert (drawn & wanted).sum() / union > 0.9


def filled(path: str, width: int, height: int) -> np.ndarray:
    """A path of straight lines, filled: (height, width) bool."""
    image = np.zeros((height, width), np.uint8)
    rings = []
    for ring in re.findall(r"M([^Z]+)Z", path):
        points = [[float(n) for n in pair.split()] for pair in ring.split("L")]
        rings.append(np.rint(points).astype(np.int32))
    cv2.fillPoly(image, rings, 1)
    return image > 0


def test_an_outline_has_holes_and_fills_its_view() -> None:
    """What is kept around a hole stays open in the midst, and a whole mask covers all of its view."""
    ring = np.ones((40, 40), np.float32)
    ring[12:28, 12:28] = 0
    drawn = filled(outline(ring, (20, 10, 80, 80)), 120, 100)
    assert not drawn[50, 60]
    assert drawn[14, 24]
    assert drawn[86, 96]
    assert not drawn[:, :19].any()
    whole = filled(outline(np.ones((7, 9), np.float32), (0, 0, 90, 70)), 90, 70)
    assert whole.all()
    assert outline(np.zeros((7, 9), np.float32), (0, 0, 90, 70)) == ""


@pytest.mark.parametrize("label", ["</script><script>alert(1)</script>", '"><img src=x onerror=a>'])
def test_what_a_stranger_wrote_is_text(tmp_path: Path, explained: Explained, label: str) -> None:
    """A label, a file name or a warning cannot become a part of the page."""
    explanation, result = explained
    hostile = result.model_copy(
        update={
            "target": result.target.model_copy(update={"label": label}),
            "clip": result.clip.model_copy(update={"path": f"/a/{label}"}),
            "warnings": [label],
            "settings": {label: label},
        }
    )
    plain = written(tmp_path / "plain.html", explained)
    page = written(tmp_path / "hostile.html", (explanation, hostile))
    count = Counter(tag for tag, _ in page.elements)
    assert count["script"] == Counter(tag for tag, _ in plain.elements)["script"]
    assert count["img"] == 0
    (tmp_path / "hostile.tiem.json").write_text(hostile.to_json(), encoding="utf-8")
    listing = Page(gallery.write(tmp_path).read_text(encoding="utf-8"))
    assert Counter(tag for tag, _ in listing.elements)["script"] == 1
    assert not any("onerror" in attrs for _, attrs in page.elements + listing.elements)


def test_a_report_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, explained: Explained
) -> None:
    """The folder is absent: an error that says so."""
    with pytest.raises(OutputError, match="cannot be written"):
        report.write(tmp_path / "absent" / "a.html", *explained)


@pytest.mark.parametrize(
    ("size", "aspect", "frames", "expected"),
    [
        ((1920, 1080), 0, 100, (640, 360)),
        ((1080, 1920), 0, 100, (360, 640)),
        ((384, 288), 0, 96, (384, 288)),
        ((320, 240), 2, 10, (640, 240)),
        ((321, 241), 0, 10, (320, 240)),
    ],
)
def test_a_film_is_small_and_even(
    explained: Explained,
    size: tuple[int, int],
    aspect: int,
    frames: int,
    expected: tuple[int, int],
) -> None:
    """At most 640 on its longer side, never larger than the clip, its pixels made square."""
    timeline = replace(
        explained[0].source.timeline,
        width=size[0],
        height=size[1],
        pixel_aspect=Fraction(aspect),
        frames=frames,
    )
    small = scaled(timeline)
    assert (small.width, small.height) == expected


def test_a_long_film_is_smaller(explained: Explained) -> None:
    """Twenty minutes hold no more pixels in all than 600 million."""
    timeline = replace(explained[0].source.timeline, width=1920, height=1080, frames=30_000)
    small = scaled(timeline)
    assert small.width * small.height * 30_000 == pytest.approx(6e8, rel=0.05)


def test_a_frame_stands_for_the_time_around_it() -> None:
    """Half the way to its neighbours, as much beyond the first and last, within the clip."""
    assert marks.edges([1.0, 2.0, 4.0], 4.5).tolist() == [0.5, 1.5, 3.0, 4.5]
    assert marks.edges([1.0], 4.5).tolist() == [0.0, 4.5]


def test_the_first_sentence_names_the_shortest_time_that_holds_most(
    tmp_path: Path, explained: Explained
) -> None:
    """Found by trying every run of frames."""
    page = written(tmp_path / "a.html", explained)
    importance, times = (
        explained[1].temporal.importance,
        np.array(explained[1].clip.timestamps),
    )
    runs = [
        (b - a, a, b) for a in range(16) for b in range(a + 1, 17) if sum(importance[a:b]) >= 0.8
    ]
    _, first, last = min(runs, key=lambda run: (run[0], -sum(importance[run[1] : run[2]])))
    start, end = times[first] - 0.125, times[last - 1] + 0.125
    assert any(f"{start:.1f} and {end:.1f}" in text for _, text in page.texts)


def test_without_windows_a_report_has_no_heat_map(tmp_path: Path, explained: Explained) -> None:
    """Nor a script that looks for one, nor a word of what hid windows; the other chart stays."""
    explanation, result = explained
    temporal = result.temporal.model_copy(update={"windows": []})
    bare = explanation, result.model_copy(update={"temporal": temporal})
    whole, without = (written(tmp_path / "a.html", each) for each in (explained, bare))
    for page, has in ((whole, True), (without, False)):
        ids = {attrs.get("id") for _, attrs in page.elements}
        assert ("heat" in ids) == ("heat-tip" in ids) == has
        assert "curve" in ids
        assert any("windows by" in text for tag, text in page.texts if tag == "dd") == has
        assert any('element("heat")' in text for tag, text in page.texts if tag == "script") == has


def test_an_even_importance_is_no_moment(tmp_path: Path, explained: Explained) -> None:
    """Where all frames matter alike the page says so, and names no time."""
    explanation, result = explained
    temporal = result.temporal.model_copy(update={"importance": [1 / 16] * 16})
    page = written(
        tmp_path / "a.html", (explanation, result.model_copy(update={"temporal": temporal}))
    )
    assert any("No moment stands out." in text for _, text in page.texts)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(areas=(0.05, 0.2), backend="finite-difference", queries=60, seed=3),
        Settings(target="wave", target_score=0.8, windows="1,2,4", base="mean", alpha=0.5),
        Settings(areas=(0.1,), start=0.5, end=2.0, stride=2, formats=("mp4", "npz"), style="heat"),
    ],
)
@pytest.mark.parametrize(
    "facts",
    [
        Facts(),
        Facts(mean=(0.5,), std=(0.25, 0.3, 0.2), scale=1 / 200, color="bgr", resize="crop"),
    ],
)
def test_the_command_asks_for_the_same(
    monkeypatch: pytest.MonkeyPatch,
    explained: Explained,
    tmp_path: Path,
    settings: Settings,
    facts: Facts,
) -> None:
    """Read back by the command line, it has the same settings and reads the network as before."""
    explanation = explained[0]
    model = load_model(explanation.network.model.path, facts)
    told = replace(
        explanation, settings=settings, network=replace(explanation.network, model=model)
    )
    words = shlex.split(command(told, tmp_path / "a folder"))
    asked = []
    monkeypatch.setattr(command_explain, "explain", lambda *given: asked.append(given) or 0)
    outcome = CliRunner().invoke(app, words[1:])
    assert outcome.exit_code == 0, outcome.output
    ((request, run, *_),) = asked
    assert request.settings == settings
    assert run.folder == tmp_path / "a folder"
    assert load_model(Path(request.model), request.facts).reading() == model.reading()


def test_a_gallery_needs_a_result(tmp_path: Path) -> None:
    """An empty folder is the user's mistake, and the hint says what to type."""
    with pytest.raises(UsageError, match="holds no result") as caught:
        gallery.write(tmp_path)
    assert "-o" in caught.value.hint


def test_a_gallery_shows_what_it_cannot_read(tmp_path: Path, explained: Explained) -> None:
    """A torn result is a failure among the others, and says why; so is one of an older version."""
    (tmp_path / "a.tiem.json").write_text(explained[1].to_json(), encoding="utf-8")
    (tmp_path / "b.tiem.json").write_text("{", encoding="utf-8")
    older = json.loads(explained[1].to_json())
    del older["cost"]["computed"]
    (tmp_path / "c.tiem.json").write_text(json.dumps(older), encoding="utf-8")
    page = Page(gallery.write(tmp_path).read_text(encoding="utf-8"))
    states = [attrs["data-state"] for _, attrs in page.elements if "data-state" in attrs]
    assert len(states) == 3
    assert states[1:] == ["failed", "failed"]
    assert any("b.tiem.json cannot be read: Invalid JSON" in text for _, text in page.texts)
    assert any("c.tiem.json cannot be read: cost.computed: Field" in text for _, text in page.texts)


def test_a_gallery_shows_a_tree_and_what_failed(tmp_path: Path, explained: Explained) -> None:
    """Results below the folder are named and linked by their path in it; of a run's failures the
    reason is shown."""
    below = tmp_path / "a b" / "c.tiem.json"
    below.parent.mkdir()
    below.write_text(explained[1].to_json(), encoding="utf-8")
    failure = Failure(Item(Path("in/d.mp4"), tmp_path / "d.tiem.json"), ClipError("no video", "-"))
    Summary(tmp_path).tell(failure)
    page = Page(gallery.write(tmp_path).read_text(encoding="utf-8"))
    cards = [attrs for _, attrs in page.elements if "data-state" in attrs]
    assert [card["data-name"] for card in cards] == ["a b/c", "in/d.mp4"]
    assert cards[1]["data-state"] == "failed"
    assert any("no video" in text for _, text in page.texts)
    linked = [attrs["href"] for tag, attrs in page.elements if tag == "a" and "href" in attrs]
    assert any(href.startswith("./a%20b/") for href in linked)


def test_concentration_is_of_the_entropy() -> None:
    """0 where all frames matter alike, 1 where one does, in between by the missing entropy."""
    assert gallery.concentration([0.25] * 4) == pytest.approx(0)
    assert gallery.concentration([0, 1, 0, 0]) == pytest.approx(1)
    assert gallery.concentration([0.5, 0.5, 0, 0]) == pytest.approx(0.5)


def test_a_long_row_of_areas_names_its_ends(explained: Explained, tmp_path: Path) -> None:
    """Twelve masks have a slider, as the best preset makes them, with the first and last area below."""
    explanation = explained[0]
    areas = [0.01 * step for step in range(1, 13)]
    masks = tuple(replace(explanation.masks[0], area=area) for area in areas)
    many = replace(explanation, evidence=replace(explanation.evidence, masks=masks))
    told = document.describe(many, "f" * 64, "c" * 64, {})
    report.write(tmp_path / "clip.tiem.html", many, told)
    text = (tmp_path / "clip.tiem.html").read_text(encoding="utf-8")
    stops = text.partition('class="ends stops')[2].partition("</p>")[0]
    assert re.findall(r"<span>(\d+)", stops) == ["1", "12"]
