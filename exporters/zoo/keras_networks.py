"""Keras's own ways to see a clip, of random weights: saved, and read back as a user's file is."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiemcli.exporters import keras_model
from tiemcli.exporters.original import Original, Wanted
from tiemcli.exporters.silence import silence
from tiemcli.facts import Facts

FRAMES, SIDE = 6, 24

Layers = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class KerasRecipe:
    """One network: the layers behind its input, made from Keras's own."""

    layers: Layers

    def original(self, classes: int, seed: int, said: Facts) -> Original:
        """The network with seeded weights, on torch."""
        os.environ["KERAS_BACKEND"] = "torch"
        with silence():
            import keras

            keras.utils.set_random_seed(seed)
            answer = keras.layers.Dense(classes, activation="softmax")
            video = keras.Input((FRAMES, SIDE, SIDE, 3), name="clip")
            model = keras.Sequential([video, *self.layers(keras.layers), answer])
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.keras"
                model.save(path)
                return keras_model.load(str(path), Wanted(facts=said))


def _c3d(layers: Any) -> list[Any]:
    """C3D (Tran et al., 2015): 3-D convolutions and maxima."""
    return [
        layers.Conv3D(8, 3, padding="same", activation="relu"),
        layers.MaxPooling3D((1, 2, 2)),
        layers.BatchNormalization(),
        layers.Conv3D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling3D(2),
        layers.Flatten(),
        layers.Dense(32, activation="relu"),
        layers.Dropout(0.5),
    ]


def _conv_lstm(layers: Any) -> list[Any]:
    """Convolutions as the gates of an LSTM (Shi et al., 2015)."""
    return [
        layers.ConvLSTM2D(8, 3, strides=2, padding="same", return_sequences=True),
        layers.LayerNormalization(),
        layers.ConvLSTM2D(12, 3, strides=2, padding="same"),
        layers.GlobalAveragePooling2D(),
    ]


def _frames(layers: Any) -> list[Any]:
    """A CNN on each frame."""
    return [
        layers.TimeDistributed(layers.Conv2D(8, 3, strides=2, activation="relu")),
        layers.TimeDistributed(layers.DepthwiseConv2D(3, strides=2, activation="relu")),
        layers.TimeDistributed(layers.Flatten()),
    ]


def _cnn_lstm(layers: Any) -> list[Any]:
    return [*_frames(layers), layers.LSTM(24)]


def _cnn_bigru(layers: Any) -> list[Any]:
    return [*_frames(layers), layers.Bidirectional(layers.GRU(16))]


NETWORKS = {
    "keras-c3d": KerasRecipe(_c3d),
    "keras-convlstm": KerasRecipe(_conv_lstm),
    "keras-cnn-lstm": KerasRecipe(_cnn_lstm),
    "keras-cnn-bigru": KerasRecipe(_cnn_bigru),
}
