import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tiemcli.axes import infer_layout
from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters import metadata
from tiemcli.facts import Facts, facts_from_flags
from tiemcli.model import load_model
from tiemcli.preprocess import Preprocessing


@pytest.mark.parametrize(
    ("dims", "facts", "layout"),
    [
        ((None, 3, 16, 112, 112), Facts(), "NCTHW"),
        ((1, 16, 3, 112, 112), Facts(), "NTCHW"),
        ((1, 16, 112, 112, 3), Facts(), "NTHWC"),
        ((1, 3, 112, 112, 16), Facts(), "NCHWT"),
        ((1, 1, 16, 64, 80), Facts(), "NCTHW"),
        ((1, 64, 80, 16, 1), Facts(), "NHWTC"),
        ((None, 3, None, None, None), Facts(), "NCTHW"),
        ((None, None, None, None, 3), Facts(), "NTHWC"),
        ((1, 3, 64, 64, 64), Facts(), "NCTHW"),
        ((1, 3, 32, 24, 16), Facts(frames=32), "NCTHW"),
        ((1, 3, 32, 24, 16), Facts(frames=16), "NCHWT"),
        ((None, 3, 112, 112), Facts(frames=8), "TCHW"),
        ((None, 3, None, 32, 32), Facts(frames=32), "NCTHW"),
        ((None, 3, 32, 32, None), Facts(frames=32), "NCHWT"),
    ],
)
def test_the_layout_is_told_by_the_dimensions(
    dims: tuple[int | None, ...], facts: Facts, layout: str
) -> None:
    """A channel axis of 1 or 3, then a square frame, a much shorter axis, or --frames tell."""
    assert infer_layout(dims, facts, "clip") == layout


@pytest.mark.parametrize(
    "dims",
    [
        (None,) * 5,
        (1, 3, 3, 8, 8),
        (1, 1, 3, 8, 8),
        (1, 5, 16, 8, 8),
        (1, 3, 32, 24, 16),
        (1, 3, 64, 48, 64),
        (1, 3, 112, 112),
        (1, 8),
    ],
)
def test_a_layout_that_cannot_be_told_names_the_flag(dims: tuple[int | None, ...]) -> None:
    """The error says which flag settles it."""
    with pytest.raises(ModelError) as error:
        infer_layout(dims, Facts(), "clip")
    assert "--layout" in error.value.hint


def test_flags_win_over_the_file_beside_which_wins_over_metadata(
    build_network: Callable[..., Path],
) -> None:
    """Each fact is taken from the strongest source that states it."""
    path = build_network()
    proto = onnx.load(path)
    metadata.write(
        proto,
        {"layout": "NCTHW", "mean": (0.1,), "std": (0.5,), "labels": ["a", "b", "c", "d", "e"]},
    )
    onnx.save(proto, path)
    path.with_suffix(".toml").write_text('mean = 0.2\nscale = "1/127.5"\n', encoding="utf-8")
    model = load_model(path, facts_from_flags({"scale": "1", "labels": "v,w,x,y,z"}))
    assert model.preprocessing.mean == (0.2,) * 3
    assert model.preprocessing.std == (0.5,) * 3
    assert model.preprocessing.scale == 1
    assert model.labels == ("v", "w", "x", "y", "z")
    assert model.assumed == ("color rgb", "frames stretched to the network's size")


def test_labels_may_stand_in_a_file(tmp_path: Path) -> None:
    """One label a line, or a JSON array."""
    lines, array = tmp_path / "labels.txt", tmp_path / "labels.json"
    lines.write_text("golf, swing\ndiving\n", encoding="utf-8")
    array.write_text(json.dumps(["golf, swing", "diving"]), encoding="utf-8")
    for path in (lines, array):
        assert facts_from_flags({"labels": str(path)}).labels == ("golf, swing", "diving")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("layout", "NCTX"),
        ("size", "12y13"),
        ("mean", "a,b"),
        ("scale", "1/0"),
        ("frames", 0),
        ("output", "odds"),
        ("aggregate", "median"),
        ("input", "gain"),
        ("labels", "missing.txt"),
        ("labels", "a,\udcff"),
    ],
)
def test_a_wrong_fact_names_its_flag(flag: str, value: object) -> None:
    """The error begins with the flag and what was given to it."""
    with pytest.raises(UsageError, match=f"--{flag} {value}"):
        facts_from_flags({flag: [value] if flag == "input" else value})


@pytest.mark.parametrize(
    ("facts", "hint"),
    [
        ({"frames": 9}, "--frames"),
        ({"size": 99}, "--size"),
        ({"color": "gray"}, "--color"),
        ({"mean": (0.1, 0.2)}, "--mean"),
        ({"std": (0.0,)}, "--std"),
        ({"layout": "NTHW"}, "--layout"),
        ({"output_name": "other"}, "--output-name"),
    ],
)
def test_a_fact_that_contradicts_the_file_is_an_error(
    facts: dict[str, object], hint: str, build_network: Callable[..., Path]
) -> None:
    """What the graph fixes cannot be said otherwise, and the flag at fault is named."""
    path = build_network()
    with pytest.raises(ModelError) as error:
        load_model(path, Facts.model_validate(facts))
    assert hint in error.value.hint


def test_open_dimensions_must_be_given(build_network: Callable[..., Path]) -> None:
    """Dynamic T, H and W are taken from --frames and --size, and asked for where missing."""
    path = build_network()
    proto = onnx.load(path)
    time, height, width = proto.graph.input[0].type.tensor_type.shape.dim[2:]
    time.dim_param = height.dim_param = "open"
    width.dim_value = -1  # as some exporters write it
    onnx.save(proto, path)
    with pytest.raises(ModelError) as error:
        load_model(path, Facts())
    assert "--frames" in error.value.hint
    with pytest.raises(ModelError) as error:
        load_model(path, Facts(frames=8))
    assert "--size" in error.value.hint
    assert load_model(path, Facts(frames=8, size=(20, 30))).shape == (3, 8, 20, 30)


def test_a_strangers_metadata_opens_no_file(
    build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """Labels in a file are read for the user's own flags and net.toml, beside which they lie."""
    path, labels = build_network(), tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n", encoding="utf-8")
    proto = onnx.load(path)
    metadata.write(proto, {"labels": str(labels)})
    onnx.save(proto, path)
    assert load_model(path, Facts()).labels == (str(labels),)
    path.with_suffix(".toml").write_text('labels = "labels.txt"\n', encoding="utf-8")
    assert load_model(path, Facts()).labels == ("a", "b", "c", "d", "e")


def test_many_labels_are_no_file_name() -> None:
    """Labels with commas between may be longer than any path."""
    names = [f"class number {index}" for index in range(500)]
    assert facts_from_flags({"labels": ",".join(names)}).labels == tuple(names)


def test_weights_outside_of_the_networks_folder_are_refused(
    build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """A network's file cannot make the program read any other."""
    proto = onnx.load(build_network())
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret.bin")
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="outside of its folder"):
        load_model(tmp_path / "net.onnx", Facts())


def test_a_file_that_is_no_network_is_said_to_be_none(tmp_path: Path) -> None:
    """Missing, empty, corrupt and foreign files each end in one clear error."""
    for name, content in (
        ("empty.onnx", b""),
        ("text.onnx", b"hello"),
        ("noise.onnx", b"\x08\xff" * 99),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=name):
            load_model(tmp_path / name, Facts())
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "missing.onnx", Facts())
    with pytest.raises(ModelError):
        load_model(tmp_path, Facts())


def preprocessing(**changes: object) -> Preprocessing:
    facts = {
        "height": 20,
        "width": 20,
        "color": "rgb",
        "resize": "stretch",
        "scale": 1 / 255,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.1, 0.2, 0.3),
    }
    return Preprocessing(**(facts | changes))


def test_pixels_are_scaled_then_normalised_per_channel() -> None:
    """x = (pixel · scale − mean) / std, channels first, in the order the network wants."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3)).astype(np.uint8)
    clip = preprocessing().clip(frames)
    assert clip.shape == (3, 2, 20, 20)
    assert clip[1, 0, 4, 5] == pytest.approx((frames[0, 4, 5, 1] / 255 - 0.4) / 0.2, abs=1e-5)
    swapped = preprocessing(color="bgr").clip(frames)
    assert swapped[0, 0, 4, 5] == pytest.approx((frames[0, 4, 5, 2] / 255 - 0.5) / 0.1, abs=1e-5)


def test_black_is_black_before_normalisation() -> None:
    """The black base is pixel value 0, which is not 0 to the network; the mean base is the clip's."""
    clip = np.random.default_rng(0).random((3, 2, 20, 20), dtype=np.float32)
    black = preprocessing().base("black", clip)
    np.testing.assert_allclose(black[:, 0, 0, 0], [-5, -2, -1], rtol=1e-5)
    mean = preprocessing().base("mean", clip)
    np.testing.assert_allclose(mean[:, 1, 3, 4], clip.mean(axis=(1, 2, 3)), rtol=1e-5)
    assert preprocessing().base("blur", clip).std() < clip.std() / 3


def test_the_average_base_is_a_still() -> None:
    """Each frame is the mean of all, pixel by pixel and channel by channel, in the clip's own units."""
    clip = np.random.default_rng(0).random((3, 5, 20, 20), dtype=np.float32)
    average = preprocessing().base("average", clip)
    assert (average.shape, average.dtype) == (clip.shape, np.float32)
    for frame in range(5):
        expected = sum(clip[:, t].astype(float) for t in range(5)) / 5
        np.testing.assert_allclose(average[:, frame], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("resize", "view"), [("stretch", (0, 0, 80, 40)), ("crop", (20, 0, 40, 40))]
)
def test_the_view_is_what_the_network_sees(resize: str, view: tuple[int, ...]) -> None:
    """Stretched frames are seen whole, cropped ones in the middle."""
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[:, 20:60] = 200
    prepare = preprocessing(resize=resize)
    assert prepare.view(80, 40) == view
    fitted = prepare.fit(frame)
    assert fitted.shape == (20, 20, 3)
    assert (fitted[0, 0] == (200 if resize == "crop" else 0)).all()
