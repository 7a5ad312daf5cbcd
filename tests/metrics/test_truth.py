import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiemcli.errors import UsageError
from tiemcli.metrics.region import Viewing, boxes_seen, masks_seen
from tiemcli.metrics.signature import signature_frames
from tiemcli.metrics.truth import Truth, read_truth_file
from tiemcli.preprocess import Preprocessing, Resize

TIMES = np.arange(16) * 0.25 + 0.125
CLIP = Path("somewhere/jump.mp4")


def viewing(
    size: tuple[int, int] = (10, 8),
    source: tuple[int, int] = (40, 20),
    resize: Resize = "stretch",
    frames: int = 32,
) -> Viewing:
    """16 frames, of a source of width and height `source`, at width and height `size`."""
    prepare = Preprocessing(
        height=size[1],
        width=size[0],
        color="rgb",
        resize=resize,
        scale=1.0,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    return Viewing(frames, *source, tuple(range(0, 32, 2)), TIMES, prepare)


def truth_of(tmp_path: Path, known: object, view: Viewing | None = None) -> Truth | None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"jump": known}))
    return read_truth_file(path).of(CLIP, view or viewing())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("7-15", range(7, 16)),
        ("3", [3]),
        ("3,5,8-10", [3, 5, 8, 9, 10]),
        (" 0 - 1 , 15 ", [0, 1, 15]),
        ("0.375s-1.125s", [1, 2, 3]),
        ("0s-.2s,15", [0, 15]),
        ("3.5s-100s", [14, 15]),
    ],
)
def test_a_signature_is_frames_or_seconds(text: str, named: list[int]) -> None:
    """Frames with both ends, seconds from the start up to but without the end."""
    assert np.flatnonzero(signature_frames(text, TIMES)).tolist() == list(named)


@given(arrays(bool, 16).filter(np.any))
def test_every_signature_can_be_said(signature: np.ndarray) -> None:
    """Frame by frame."""
    text = ",".join(map(str, np.flatnonzero(signature)))
    np.testing.assert_array_equal(signature_frames(text, TIMES), signature)


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        ("7-16", "no sampled frame 16", "0 to 15"),
        ("9-7", "9-7 ends before it starts", "7-15"),
        ("2s-1s", "ends before it starts", "2.25s-3.5s"),
        ("1s-1s", "ends before it starts", "2.25s-3.5s"),
        ("0.13s-0.2s", "no sampled frame lies in it", "0.12, 0.38"),
        ("", "'' names no frames", "7-15"),
        ("3,,4", "'' names no frames", "7-15"),
        ("jump", "'jump' names no frames", "7-15"),
        ("1s-2", "'1s-2' names no frames", "7-15"),
        ("-3", "'-3' names no frames", "7-15"),
        ("²", "'²' names no frames", "7-15"),
        ("1.2.3s-4s", "names no frames", "7-15"),
    ],
)
def test_a_signature_that_names_no_frames_is_an_error(text: str, complaint: str, hint: str) -> None:
    """It says what is wrong and how it is written."""
    with pytest.raises(UsageError) as raised:
        signature_frames(text, TIMES)
    assert complaint in raised.value.message
    assert hint in raised.value.hint


def test_a_stretched_box_is_where_the_frame_is_drawn() -> None:
    """Of 40×20 at 10×8 x is divided by 4 and y by 2.5, and the centres of pixels tell, in its frame
    alone."""
    region = boxes_seen([(4, 9, 6, 20, 16)], viewing())
    assert np.flatnonzero(region.any(axis=(1, 2))).tolist() == [2]
    wanted = np.zeros((8, 10), dtype=bool)
    wanted[2:6, 2:5] = True
    np.testing.assert_array_equal(region[2], wanted)


def test_a_cropped_box_is_seen_through_the_crop() -> None:
    """Of 40×20 the middle 20×20 is seen: its left edge is at 10, and what lies left of it is not."""
    view = viewing(size=(10, 10), resize="crop")
    region = boxes_seen([(0, 0, 0, 14, 20), (2, 28, 10, 40, 20), (4, 0, 0, 10, 20)], view)
    wanted = np.zeros((16, 10, 10), dtype=bool)
    wanted[0, :, :2] = True
    wanted[1, 5:, 9:] = True
    np.testing.assert_array_equal(region, wanted)
    tall = viewing(size=(10, 10), source=(20, 40), resize="crop")
    region = boxes_seen([(0, 0, 0, 20, 14), (2, 10, 28, 20, 40), (4, 0, 0, 20, 10)], tall)
    np.testing.assert_array_equal(region, wanted.transpose(0, 2, 1))


def test_boxes_of_a_frame_are_joined_and_a_repeated_frame_has_them_again() -> None:
    """A short clip's last frame fills several places."""
    view = Viewing(3, 40, 20, (0, 1, 2, 2), TIMES[:4], viewing().preprocessing)
    region = boxes_seen([(2, 0, 0, 4, 2.5), (2, 36, 17.5, 40, 20)], view)
    wanted = np.zeros((4, 8, 10), dtype=bool)
    wanted[2:, 0, 0] = wanted[2:, 7, 9] = True
    np.testing.assert_array_equal(region, wanted)


@pytest.mark.parametrize("resize", ["stretch", "crop"])
@given(
    box=st.tuples(*[st.integers(0, 33)] * 2, *[st.integers(1, 40)] * 2),
    source=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    size=st.tuples(st.integers(4, 30), st.integers(4, 30)),
)
def test_a_box_is_the_same_drawn_as_a_mask(
    resize: Resize, box: tuple[int, ...], source: tuple[int, int], size: tuple[int, int]
) -> None:
    """However the source is brought to the network's size, of whole pixels."""
    left, top, width, height = box
    view = viewing(size, source, resize)
    masks = np.zeros((32, source[1], source[0]), np.uint8)
    masks[6, top : top + height, left : left + width] = 255
    boxes = boxes_seen([(6, left, top, left + width, top + height)], view)
    np.testing.assert_array_equal(masks_seen(masks, view), boxes)


@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_a_region_lies_on_what_the_network_is_fed(resize: Resize) -> None:
    """A bright box in a frame is bright where the box is seen, as `Preprocessing.fit` draws it."""
    view = viewing(size=(16, 12), source=(64, 32), resize=resize)
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[8:24, 20:44] = 255
    fed = view.preprocessing.fit(frame)[..., 0] > 127
    np.testing.assert_array_equal(boxes_seen([(0, 20, 8, 44, 24)], view)[0], fed)


def test_a_truth_file_knows_a_clip_by_name_or_stem(tmp_path: Path) -> None:
    """The whole name first; of a clip that it does not name it knows nothing."""
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"jump": {"signature": "0"}, "jump.mp4": {"signature": [1, 2]}}))
    known = read_truth_file(path)
    by_name, by_stem = (known.of(Path("x") / name, viewing()) for name in ("jump.mp4", "jump.avi"))
    assert by_name is not None
    assert np.flatnonzero(by_name.signature).tolist() == [4, 5, 6, 7]
    assert by_name.region is None
    assert by_stem is not None
    assert np.flatnonzero(by_stem.signature).tolist() == [0]
    assert known.of(Path("walk.mp4"), viewing()) is None


def test_the_samples_signature_is_read(root: Path, tmp_path: Path) -> None:
    """The sample's own record of it is in seconds."""
    span = json.loads((root / "samples" / "truth.json").read_text())["signature"]
    truth = truth_of(tmp_path, {"signature": span})
    assert truth is not None
    assert np.flatnonzero(truth.signature).tolist() == [9, 10, 11, 12, 13]


def test_masks_of_a_file_and_boxes_are_joined(tmp_path: Path) -> None:
    """An .npz has a mask for every source frame."""
    masks = np.zeros((32, 20, 40), dtype=bool)
    masks[2, :, 36:] = masks[3] = True
    np.savez_compressed(tmp_path / "m.npz", masks)
    truth = truth_of(tmp_path, {"masks": "m.npz", "boxes": [[0, 0, 0, 4, 20]]})
    assert truth is not None
    assert truth.signature is None
    wanted = np.zeros((16, 8, 10), dtype=bool)
    wanted[0, :, 0] = wanted[1, :, 9] = True
    np.testing.assert_array_equal(truth.region, wanted)


def test_a_picture_is_the_mask_of_every_frame(tmp_path: Path) -> None:
    """Whatever is not black in it is inside."""
    picture = np.zeros((20, 40), np.uint8)
    picture[:5, :8] = 3
    cv2.imwrite(str(tmp_path / "m.png"), picture)
    truth = truth_of(tmp_path, {"masks": "m.png"})
    assert truth is not None
    wanted = np.zeros((16, 8, 10), dtype=bool)
    wanted[:, :2, :2] = True
    np.testing.assert_array_equal(truth.region, wanted)


@pytest.mark.parametrize(
    ("known", "complaint"),
    [
        ({"signature": "7-20"}, "no sampled frame 20"),
        ({"signature": [3, 2]}, "ends before it starts"),
        ({"signature": [90, 91]}, "no sampled frame lies in it"),
        ({"signature": [1]}, "jump: signature"),
        ({"signatur": "1"}, "signatur: Extra inputs"),
        ({"boxes": []}, "at least 1 item"),
        ({"boxes": [[1, 2, 3, 4]]}, "boxes: 0: 4: Field required"),
        ({"boxes": [[0.5, 0, 0, 1, 1]]}, "boxes: 0: 0: "),
        ({"boxes": [[32, 0, 0, 4, 4]]}, "there is no frame 32"),
        ({"boxes": [[-1, 0, 0, 4, 4]]}, "there is no frame -1"),
        ({"boxes": [[0, 9, 0, 4, 4]]}, "box [0, 9, 0, 4, 4] is empty"),
        ({"boxes": [[0, 40, 0, 44, 4]]}, "outside of the frame"),
        ({"boxes": [[1, 0, 0, 40, 20]]}, "show nothing on the sampled frames"),
        ({"masks": "absent.npz"}, "No such file"),
        ({"masks": "empty.png"}, "not a picture"),
        ({"masks": "text.png"}, "not a picture"),
        ({"masks": "text.npz"}, "not an .npz file"),
        ({"masks": "empty.npz"}, "not an .npz file"),
        ({"masks": "lone.npz"}, "not an .npz file"),
        ({"masks": "two.npz"}, "holds 2 arrays"),
        ({"masks": "words.npz"}, "not numbers"),
        ({"masks": "small.npz"}, "masks of shape [16, 20, 40], the clip's is [32, 20, 40]"),
        ([], "jump: Input should be"),
    ],
)
def test_a_truth_that_cannot_be_is_an_error(known: object, complaint: str, tmp_path: Path) -> None:
    """One line that names the file, and a hint."""
    for name, content in (("text", b"hello"), ("empty", b"")):
        (tmp_path / f"{name}.png").write_bytes(content)
        (tmp_path / f"{name}.npz").write_bytes(content)
    masks = np.ones((16, 20, 40), np.uint8)
    with (tmp_path / "lone.npz").open("wb") as file:
        np.save(file, masks)
    np.savez(tmp_path / "small.npz", masks)
    np.savez(tmp_path / "two.npz", a=masks, b=masks)
    np.savez(tmp_path / "words.npz", np.array(["a"]))
    with pytest.raises(UsageError) as raised:
        truth_of(tmp_path, known)
    assert complaint in raised.value.message
    assert "\n" not in raised.value.message
    assert str(tmp_path) in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_what_is_no_truth_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    """One line, and how it is written."""
    path = tmp_path / "truth.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_truth_file(path)
    assert raised.value.message.startswith(str(path))
    assert "\n" not in raised.value.message
    assert "signature" in raised.value.hint


def test_a_truth_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Its path is named."""
    with pytest.raises(UsageError, match=r"absent\.json: No such file"):
        read_truth_file(tmp_path / "absent.json")
