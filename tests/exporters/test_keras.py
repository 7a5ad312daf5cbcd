"""Models that Keras saved become ONNX files that answer as they do."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("torch", reason="torch is not installed")
if find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() != "torch":
    pytest.skip("these tests need Keras on torch: set KERAS_BACKEND=torch", allow_module_level=True)

from tiemcli.errors import ModelError, TiemError, UsageError
from tiemcli.exporters.keras_model import KerasOriginal, load
from tiemcli.exporters.original import Form, Wanted
from tiemcli.facts import Facts

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

layers = keras.layers
SHAPE = (4, 16, 16, 3)


def c3d() -> list[Any]:
    return [
        layers.Conv3D(4, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling3D((1, 2, 2)),
        layers.Flatten(),
        layers.Dense(5, activation="softmax"),
    ]


def conv_lstm() -> list[Any]:
    return [
        layers.ConvLSTM2D(4, 3, strides=2),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5),
    ]


def cnn_lstm() -> list[Any]:
    return [
        layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
        layers.TimeDistributed(layers.GlobalAveragePooling2D()),
        layers.LSTM(6),
        layers.Dense(5, activation="softmax"),
    ]


def both_ways_gru() -> list[Any]:
    return [
        layers.TimeDistributed(layers.Conv2D(4, 3, strides=2, activation="relu")),
        layers.TimeDistributed(layers.Flatten()),
        layers.Bidirectional(layers.GRU(6)),
        layers.Dense(5),
    ]


def model_of(*stack: Any, shape: tuple[int | None, ...] = SHAPE) -> Any:
    """A seeded model on the CPU."""
    with keras.device("cpu"):
        keras.utils.set_random_seed(1)
        return keras.Sequential([layers.Input(shape), *stack])


def saved(model: Any, path: Path) -> str:
    model.save(path)
    return str(path)


def clips(batch: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(batch, *shape)).astype(np.float32)


def answers(model: Any, inputs: np.ndarray) -> np.ndarray:
    with keras.device("cpu"):
        return model.predict(inputs, verbose=0)


def run(path: Path, inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.mark.parametrize(
    ("stack", "converter"),
    [
        (c3d, "dynamo"),  # TorchScript knows no memory format, which Keras asks of convolutions
        (conv_lstm, "torchscript"),  # dynamo's file takes one batch only
        (cnn_lstm, "dynamo"),
        (cnn_lstm, "torchscript"),
        (both_ways_gru, "dynamo"),
        (both_ways_gru, "torchscript"),
    ],
)
def test_the_file_answers_as_keras_does(
    stack: Callable[[], list[Any]], converter: Any, tmp_path: Path
) -> None:
    """For one clip and for three, written from a .keras file."""
    model = model_of(*stack())
    original = load(saved(model, tmp_path / "net.keras"), Wanted())
    inputs = clips(3)
    expected = answers(model, inputs)
    assert np.ptp(expected, axis=0).max() > 1e-3, "these answers would agree whatever is fed"
    np.testing.assert_allclose(original.answer(inputs), expected, atol=1e-4)
    path = tmp_path / "net.onnx"
    original.write(
        path, Form(converter=converter, opset=17 if converter == "torchscript" else None)
    )
    for batch in (1, 3):
        np.testing.assert_allclose(run(path, inputs[:batch]), expected[:batch], atol=1e-4)


def by_keras(stack: list[Any]) -> KerasOriginal:
    shape = (1, *SHAPE)
    return KerasOriginal(keras, model_of(*stack), Facts(), shape, np.dtype(np.float32))


def test_on_other_backends_keras_writes_the_file(tmp_path: Path) -> None:
    """The file takes any number of clips, or as many as are asked for, and answers as Keras."""
    original = by_keras(cnn_lstm())
    with keras.device("cpu"):
        expected = original.answer(clips(2))
        original.write(tmp_path / "net.onnx", Form(opset=17))
        original.write(tmp_path / "one.onnx", Form(batch=1))
    np.testing.assert_allclose(run(tmp_path / "net.onnx", clips(2)), expected, atol=1e-4)
    np.testing.assert_allclose(run(tmp_path / "one.onnx", clips(2)[:1]), expected[:1], atol=1e-4)


def test_what_keras_cannot_write_is_refused_in_one_line(tmp_path: Path) -> None:
    """A converter of torch's, and layers that Keras's own converter does not know."""
    with keras.device("cpu"):
        with pytest.raises(UsageError, match="--converter dynamo: Keras converts by"):
            by_keras(cnn_lstm()).write(tmp_path / "net.onnx", Form(converter="dynamo"))
        with pytest.raises(ModelError, match="Keras cannot write it") as raised:
            by_keras(c3d()).write(tmp_path / "net.onnx", Form())
    assert "\n" not in str(raised.value)


def test_the_older_format_is_read(tmp_path: Path) -> None:
    """A .h5 file gives the network that a .keras file gives."""
    model = model_of(*cnn_lstm())
    original = load(saved(model, tmp_path / "net.h5"), Wanted())
    np.testing.assert_allclose(original.answer(clips(2)), answers(model, clips(2)), atol=1e-5)


@pytest.mark.parametrize(("stack", "output"), [(c3d, "probabilities"), (conv_lstm, "logits")])
def test_the_facts_are_those_of_the_input_and_the_last_layer(
    stack: Callable[[], list[Any]], output: str, tmp_path: Path
) -> None:
    """Channels last is NTHWC, a softmax answers probabilities; nothing says mean, std or scale."""
    original = load(saved(model_of(*stack()), tmp_path / "net.keras"), Wanted())
    said = original.facts.model_dump(exclude_none=True)
    assert said == {"layout": "NTHWC", "frames": 4, "size": (16, 16), "output": output}
    assert original.shape == (1, *SHAPE)


def test_channels_may_come_first(tmp_path: Path) -> None:
    """An input of 3, 4, 16 and 20 is NCTHW."""
    stack = (layers.GlobalAveragePooling3D(data_format="channels_first"), layers.Dense(5))
    model = model_of(*stack, shape=(3, 4, 16, 20))
    original = load(saved(model, tmp_path / "net.keras"), Wanted())
    assert (original.facts.layout, original.facts.size) == ("NCTHW", (16, 20))


def test_a_network_that_scales_its_own_pixels_is_fed_whole_ones(tmp_path: Path) -> None:
    """Rescaling(1/255) inside means a scale of 1 outside, also within TimeDistributed."""
    for rescaling in (
        layers.Rescaling(1 / 255),
        layers.TimeDistributed(layers.Rescaling(1 / 127.5, offset=-1)),
    ):
        path = saved(model_of(rescaling, *cnn_lstm()), tmp_path / "net.keras")
        assert load(path, Wanted()).facts.scale == 1


def test_gray_clips_are_said_to_be_gray(tmp_path: Path) -> None:
    """One channel leaves no other choice."""
    original = load(saved(model_of(*c3d(), shape=(4, 16, 16, 1)), tmp_path / "n.keras"), Wanted())
    assert (original.facts.color, original.shape) == ("gray", (1, 4, 16, 16, 1))


def test_what_the_model_leaves_open_the_user_says(tmp_path: Path) -> None:
    """Without --frames and --size it is a UsageError that names both; with them it loads."""
    stack = (layers.Conv3D(4, 3), layers.GlobalAveragePooling3D(), layers.Dense(5))
    path = saved(model_of(*stack, shape=(None, None, None, 3)), tmp_path / "net.keras")
    with pytest.raises(UsageError) as raised:
        load(path, Wanted())
    assert "--frames and --size" in raised.value.hint
    original = load(path, Wanted(facts=Facts(frames=5, size=(12, 14))))
    assert original.shape == (1, 5, 12, 14, 3)
    assert original.answer(clips(2, (5, 12, 14, 3))).shape == (2, 5)


def complaint(name: str | Path, wanted: Wanted, kind: type[TiemError] = ModelError) -> str:
    with pytest.raises(kind) as raised:
        load(str(name), wanted)
    assert "\n" not in str(raised.value)
    assert raised.value.hint
    return raised.value.message


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    """No file, another kind of file, a damaged one, one of two inputs."""
    assert "no such file" in complaint(tmp_path / "net.keras", Wanted())
    assert "no .keras or .h5 file" in complaint(tmp_path, Wanted())
    for name in ("junk.keras", "junk.h5"):
        (tmp_path / name).write_text("junk")
        assert "Keras cannot read it" in complaint(tmp_path / name, Wanted())
    with keras.device("cpu"):
        clip, sound = keras.Input(SHAPE), keras.Input((3,))
        both = layers.Concatenate()([layers.GlobalAveragePooling3D()(clip), sound])
        model = keras.Model([clip, sound], layers.Dense(2)(both))
    assert "has 2 inputs" in complaint(saved(model, tmp_path / "two.keras"), Wanted())


def test_a_backend_that_is_none_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever Keras raises when it is imported."""

    def refuse(name: str) -> None:
        raise ValueError("Unable to import backend : tensorfow")

    (tmp_path / "net.keras").write_text("")
    monkeypatch.setenv("KERAS_BACKEND", "tensorfow")
    monkeypatch.setattr("tiemcli.exporters.keras_model.import_module", refuse)
    assert "does not run on tensorfow" in complaint(tmp_path / "net.keras", Wanted())


def test_what_the_file_decides_is_not_the_users_to_choose(tmp_path: Path) -> None:
    """Weights, and frames that the input fixes."""
    path = saved(model_of(*c3d()), tmp_path / "net.keras")
    assert "--weights none" in complaint(path, Wanted(weights="none"), UsageError)
    said = Wanted(facts=Facts(frames=9))
    assert "fixes T at 4, not 9" in complaint(path, said, UsageError)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_code_in_the_file_never_runs(ending: str, tmp_path: Path) -> None:
    """A Lambda layer carries Python; it is refused, not run."""
    trace = tmp_path / "ran"
    text = os.fspath(trace)

    def stranger(values: Any) -> Any:
        open(text, "a").close()
        return values

    path = saved(
        model_of(layers.Lambda(stranger, output_shape=SHAPE), *c3d()), tmp_path / f"n.{ending}"
    )
    trace.unlink(missing_ok=True)
    assert "Keras cannot read it" in complaint(path, Wanted())
    assert not trace.exists()
