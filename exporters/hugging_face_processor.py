"""How a classifier of transformers wants its frames, found by showing some to its processor."""

from typing import Any

import numpy as np
from transformers import AutoImageProcessor, AutoVideoProcessor
from transformers.models.auto.image_processing_auto import (
    IMAGE_PROCESSOR_MAPPING,
    get_image_processor_config,
)
from transformers.models.auto.video_processing_auto import (
    VIDEO_PROCESSOR_MAPPING,
    get_video_processor_config,
)

from tiemcli.errors import ModelError
from tiemcli.exporters.silence import silence
from tiemcli.exporters.torch_original import reason_of
from tiemcli.facts import Facts
from tiemcli.kernels.arrays import Bytes, Doubles, Floats

_SQUARE, _WIDE = (64, 64), (48, 96)
_BLACK, _WHITE, _RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def processor_facts(name: str, config: Any, video: bool) -> Facts:
    """scale, mean, std, color, resize and size, of the processor saved beside the weights.

    Where none was saved it is the architecture's own as transformers documents it, and the size is
    the config's. Empty where transformers has none. A margin between resizing and cropping, such as
    256 to 224, is left out: the whole of what a crop covers is seen. Raises ModelError.
    """
    source: Any = (
        (AutoVideoProcessor, get_video_processor_config, VIDEO_PROCESSOR_MAPPING)
        if video
        else (AutoImageProcessor, get_image_processor_config, IMAGE_PROCESSOR_MAPPING)
    )
    auto, saved_config, defaults = source
    try:
        with silence():
            saved = bool(saved_config(name))
            if saved:
                processor = auto.from_pretrained(name, trust_remote_code=False)
            elif type(config) in defaults:
                processor = next(iter(defaults[type(config)].values()))()
            else:
                return Facts(size=_size(config))
            shown = _shown_to(processor, video)
    except ModelError:
        raise
    except Exception as error:  # a stranger's file fails in any way
        raise ModelError(
            f"{name}: its processor fails: {reason_of(error)}", "mend preprocessor_config.json"
        ) from error
    own = Facts(size=_size(config))
    # A convolutional network's config keeps the size of a first training, its processor the last.
    return shown.over(own) if saved and not video else own.over(shown)


def _size(config: Any) -> tuple[int, int] | None:
    """The height and width that a config names, if it does."""
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None) or getattr(vision, "crop_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if size else None


def _shown_to(processor: Any, video: bool) -> Facts:
    """What a processor does to black, white and red frames, and to a wide one with white ends."""
    wide = _frame(_WIDE, _BLACK)
    wide[:, : _WIDE[1] // 8] = wide[:, -_WIDE[1] // 8 :] = 255
    black, white, red = (
        _processed(processor, _frame(_SQUARE, colour), video) for colour in (_BLACK, _WHITE, _RED)
    )
    ends = _processed(processor, wide, video)
    height, width = black.shape[1:]
    dark, light, reddish = (
        picture[:, height // 2, width // 2].astype(np.float64) for picture in (black, white, red)
    )
    std = 1 / (light - dark)
    resizes = ends.shape[1:] != _WIDE
    crops = ends.shape[1:] != (height, width) or np.ptp(ends, axis=(1, 2)).max() == 0
    return Facts(
        scale=1 / 255,
        mean=_rounded(-dark * std),
        std=_rounded(std),
        color="rgb" if reddish[0] != dark[0] else "bgr",
        size=(height, width) if resizes else None,
        resize=("crop" if crops else "stretch") if resizes else None,
    )


def _frame(size: tuple[int, int], colour: tuple[int, int, int]) -> Bytes:
    return np.full((*size, 3), colour, dtype=np.uint8)


def _processed(processor: Any, frame: Bytes, video: bool) -> Floats:
    """A frame (H, W, 3) as the network would see it, (C, H', W')."""
    if video:
        given = {"videos": [np.stack([frame, frame])], "do_sample_frames": False}
    else:
        given = {"images": frame}
    found = processor(**given, return_tensors="np")
    pixels = next(value for key, value in found.items() if key.startswith("pixel_values"))
    picture: Floats = np.asarray(pixels, dtype=np.float32)[(0, 0) if video else 0]
    if picture.ndim != 3 or len(picture) != 3:
        raise ModelError(
            f"{type(processor).__name__} makes no pictures but {list(np.shape(pixels))}",
            "this network takes more than frames",
        )
    return picture


def _rounded(values: Doubles) -> tuple[float, ...]:
    """Six digits, which undo what single precision did to .485."""
    return tuple(float(f"{value:.6g}") + 0.0 for value in values)
