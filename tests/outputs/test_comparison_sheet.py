"""The sheet of several methods on one clip: what it shows, and that a page holds it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tiemcli.errors import OutputError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.outputs.comparison_sheet import SIGNATURE, comparison_sheet, write
from tiemcli.pipeline import Explanation, explain, read_clip
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings

ACCENT = (224, 134, 0)
RED = tuple(bytes.fromhex(SIGNATURE[1:]))
NAMES = (
    "tiem ep-2d ep-3d step rise occlusion aosa gradient integrated-gradients grad-cam grad-cam++ "
    "saliency-tubes class-feature-pyramids swag-v ceb-r random center"
).split()


def shade(index: int) -> tuple[int, int, int]:
    """A colour of its own for each frame, none of them the accent or the signature's."""
    return 60, 120 + 37 * index % 128, 90 + 2 * index


Make = Callable[..., Explanation]


@pytest.fixture
def made(tmp_path: Path, build_network: Callable[..., Path]) -> Make:
    """A function to an explanation of a clip whose frames are each of one colour.

    keep: (T, 12, 16), what it shows as kept.
    """
    known: dict[tuple[int, int, int], Explanation] = {}

    def make(keep: np.ndarray, shape: tuple[int, int] = (48, 64)) -> Explanation:
        frames = len(keep)
        if (frames, *shape) not in known:
            path = tmp_path / f"{frames}x{shape[0]}x{shape[1]}.mov"
            with av.open(str(path), "w") as container:
                stream = container.add_stream("png", rate=2)
                stream.height, stream.width = shape
                stream.pix_fmt = "rgb24"
                for index in range(frames):
                    image = np.broadcast_to(np.array(shade(index), np.uint8), (*shape, 3))
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image.copy())))
                container.mux(stream.encode(None))
            facts = Facts(labels=list("abcde"), layout="NCTHW")
            model = load_model(build_network(frames=frames), facts)
            network = load_network(model, "cpu", 1)
            settings = Settings(method="center")
            found = explain(read_clip(path, model, settings), network, settings)
            known[(frames, *shape)] = found
        found = known[(frames, *shape)]
        mask = replace(found.shown, hard=keep.astype(np.float32))
        return replace(found, evidence=replace(found.evidence, masks=(mask,)))

    return make


def half(frames: int = 4, *, right: bool = False) -> np.ndarray:
    keep = np.zeros((frames, 12, 16))
    keep[..., 8 if right else 0 : 16 if right else 8] = 1
    return keep


def like(image: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    return np.all(image == np.array(colour, np.uint8), axis=-1)


def runs(marks: np.ndarray) -> list[tuple[int, int]]:
    """The first and one past the last place of each stretch of marks."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(int), [0]])))
    return list(zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True))


def places(sheet: np.ndarray, frames: int) -> list[tuple[int, int, int]]:
    """Left, top and width of each frame of the source."""
    found = []
    codes = sheet @ np.array([65536, 256, 1])
    for index in range(frames):
        marks = codes == np.array(shade(index)) @ np.array([65536, 256, 1])
        rows, columns = np.flatnonzero(marks.any(axis=1)), np.flatnonzero(marks.any(axis=0))
        found.append((int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1))
    return found


def test_each_method_has_a_row_of_what_it_keeps(made: Make) -> None:
    """Below each frame stands, a method after the other, what is kept of it in its colour; what is
    hidden is dark and gray."""
    keeps = {"a": half(), "b": half(right=True), "c": half()}
    sheet = np.asarray(comparison_sheet({name: made(keep) for name, keep in keeps.items()}))
    found = places(sheet, 4)
    assert [left for left, _, _ in found] == sorted({left for left, _, _ in found})
    for index, (left, _, width) in enumerate(found):
        marks = like(sheet, shade(index))
        at_left = runs(marks[:, left + width // 4])
        at_right = runs(marks[:, left + 3 * width // 4])
        assert (len(at_left), len(at_right)) == (3, 2)
        assert at_left[0] == at_right[0]
        assert at_left[1][1] < at_right[1][0] < at_right[1][1] < at_left[2][0]
        first, last = at_left[1]
        hidden = sheet[first:last, left + int(0.6 * width) : left + width]
        assert hidden.max() < 0.2 * max(shade(index))
        assert np.ptp(hidden, axis=-1).max() == 0


@pytest.mark.parametrize("signature", [None, [1], [0, 1, 3], []])
def test_signature_frames_are_framed_in_red(made: Make, signature: list[int] | None) -> None:
    """Those frames on all four sides, no other; without a signature nothing is red."""
    marked = None
    if signature is not None:
        marked = np.isin(np.arange(4), signature)
    sheet = np.asarray(comparison_sheet({"a": made(half()), "b": made(half())}, marked))
    red = like(sheet, RED)
    assert red.any() == bool(signature)
    for index, (left, top, width) in enumerate(places(sheet, 4)):
        height = round(width * 48 / 64)
        middle, centre = top + height // 2, left + width // 2
        sides = [
            red[middle, left - 1],
            red[middle, left + width],
            red[top - 1, centre],
            red[top + height, centre],
        ]
        assert sides == [index in (signature or [])] * 4


def test_bars_are_as_long_as_the_shares_of_kept_pixels(made: Make) -> None:
    """On one scale for all methods: the largest share of all has the longest bar."""
    keeps = {"a": half(), "b": half()}
    for frame, rows in enumerate((12, 6, 3, 0)):
        keeps["b"][frame, rows:] = 0
    sheet = np.asarray(comparison_sheet({name: made(keep) for name, keep in keeps.items()}))
    shares = np.array([keep.sum(axis=(1, 2)) / keep.sum() for keep in keeps.values()])
    for index, (left, top, width) in enumerate(places(sheet, 4)):
        tile = round(width * 48 / 64)
        below = sheet[top + tile + 4 :, left + int(0.9 * width)]
        accent = like(below, ACCENT)
        rows = np.array_split(accent, 2)
        lengths = np.array([row.sum() for row in rows])
        np.testing.assert_allclose(lengths, shares[:, index] / shares.max() * 24, atol=0.51)


@pytest.mark.parametrize(
    ("frames", "methods", "shape"),
    [
        (1, 1, (48, 64)),
        (16, 17, (48, 64)),
        (16, 17, (36, 64)),
        (20, 8, (48, 64)),
        (64, 9, (48, 64)),
        (16, 3, (64, 36)),
    ],
)
def test_a_page_holds_it(made: Make, frames: int, methods: int, shape: tuple[int, int]) -> None:
    """It is as wide as a page's text or less, no higher than its page, on white, and every frame
    stands there once for the source and once for each method."""
    explanation = made(half(frames), shape)
    notes = dict.fromkeys(NAMES, "score 0.981\nwhen 95.0 %\ninsertion 0.812")
    names = NAMES[:methods]
    sheet = np.asarray(comparison_sheet(dict.fromkeys(names, explanation), None, notes))
    height, width, _ = sheet.shape
    assert width <= 2400
    assert height <= 1.25 * 2400
    assert all((edge == 255).all() for edge in (sheet[:40], sheet[-40:], sheet[:, :40]))
    assert (sheet[:, -40:] == 255).all()
    for index, (left, _, across) in enumerate(places(sheet, frames)):
        marks = like(sheet[:, left + across // 4], shade(index))
        assert len([run for run in runs(marks) if np.ptp(run) > 4]) == 1 + methods


def test_few_methods_have_wide_frames_in_bands(made: Make) -> None:
    """16 frames of one method stand in bands, wider than those of 17 methods, which stand in one."""
    tops, widths = [], []
    for methods in (1, 17):
        explanation = made(half(16))
        sheet = np.asarray(comparison_sheet(dict.fromkeys(NAMES[:methods], explanation)))
        found = places(sheet, 16)
        tops.append(len({top for _, top, _ in found}))
        widths.append(found[0][2])
    assert tops[0] > tops[1] == 1
    assert widths[0] > 1.5 * widths[1]


def test_notes_stand_at_the_end_of_their_row(made: Make) -> None:
    """Beside the frames of the method they are of; the sheet has no room for them if there are none."""
    both = {"a": made(half()), "b": made(half())}
    without = np.asarray(comparison_sheet(both))
    sheet = np.asarray(comparison_sheet(both, None, {"b": "score 0.981"}))
    left, top, width = places(sheet, 4)[-1]
    beside = sheet[:, left + width + 8 :]
    ink = np.flatnonzero((beside[top:] < 200).any(axis=(1, 2))) + top
    kept = [run for run in runs(like(sheet[:, left + width // 4], shade(3))) if np.ptp(run) > 4]
    first, last = kept[2]
    assert first <= ink.min() <= ink.max() < last
    left, _, width = places(without, 4)[-1]
    assert without.shape[1] == left + width + 48


def test_a_method_that_keeps_nothing_has_no_bars(made: Make) -> None:
    """A mask without a pixel is a row of dark frames, also where it is the only one."""
    sheet = np.asarray(comparison_sheet({"a": made(np.zeros((4, 12, 16)))}))
    left, top, width = places(sheet, 4)[0]
    assert not like(sheet[top:], ACCENT).any()
    assert sheet[top + width : top + width + 40, left : left + width].max() < 60


def test_it_is_written_whole_and_the_same_every_time(tmp_path: Path, made: Make) -> None:
    """A PNG at twice a screen's dots; a folder that is not there is the user's error."""
    explanations = {"a": made(half())}
    path = tmp_path / "sheet.png"
    write(path, explanations)
    first = path.read_bytes()
    write(path, explanations)
    assert path.read_bytes() == first
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        assert opened.info["dpi"] == pytest.approx((192, 192), abs=0.1)
    with pytest.raises(OutputError, match="gone"):
        write(tmp_path / "gone" / "sheet.png", explanations)
