"""What is known to be the right explanation of a clip, and the files that say so.

A truth file is JSON, by the name of a clip's file, or its stem, what is known of it, each optional:

    {"jump.mp4": {"signature": "7-15",
                  "boxes": [[120, 30, 40, 90, 110], [121, 31, 40, 91, 110]],
                  "masks": "jump-masks.npz"}}

signature: sampled frames, counted from 0, as text (`signature.signature_frames`), or [start, end] in
seconds of the source. boxes: [frame, x0, y0, x1, y1], the number of a source frame, counted from 0,
and pixels of the upright source frame from its upper left corner. masks: a file beside the truth
file, .npz with one array (frames, height, width) of the source or .png for all frames, not 0 inside.
Boxes and masks are joined.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from tiemcli.errors import UsageError, first_line
from tiemcli.kernels.arrays import Bools
from tiemcli.metrics.region import Viewing, boxes_seen, masks_seen
from tiemcli.metrics.signature import frames_within, signature_frames


@dataclass(frozen=True, eq=False)
class Truth:
    """signature: (T,), the sampled frames that the answer must be read from. region: (T, H, W) of the
    network's frames, the pixels. None where nobody said."""

    signature: Bools | None
    region: Bools | None


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    signature: str | tuple[float, float] | None = None
    boxes: list[tuple[int, float, float, float, float]] | None = Field(None, min_length=1)
    masks: str | None = None


class _Document(RootModel[dict[str, _Known]]):
    pass


@dataclass(frozen=True)
class TruthFile:
    """What one file knows, by the name or the stem of a clip's file."""

    path: Path
    known: dict[str, _Known]

    def of(self, clip: Path, viewing: Viewing) -> Truth | None:
        """What is known of a clip as a network was shown it; None where the file does not name it.

        Raises UsageError for what the clip or its sampled frames cannot be.
        """
        known = self.known.get(clip.name, self.known.get(clip.stem))
        if known is None:
            return None
        try:
            return Truth(_signature(known, viewing), self._region(known, viewing))
        except UsageError as error:
            raise UsageError(f"{self.path}, {clip.name}: {error.message}", error.hint) from error

    def _region(self, known: _Known, viewing: Viewing) -> Bools | None:
        parts = []
        if known.boxes is not None:
            _check_boxes(known.boxes, viewing)
            parts.append(boxes_seen(known.boxes, viewing))
        if known.masks is not None:
            masks = read_masks(self.path.parent / known.masks)
            _check_masks(masks, known.masks, viewing)
            parts.append(masks_seen(masks, viewing))
        if not parts:
            return None
        region: Bools = np.logical_or.reduce(parts)
        if not region.any():
            sampled = ", ".join(map(str, viewing.sampled))
            raise UsageError(
                "its boxes and masks show nothing on the sampled frames",
                f"say where things are on source frames {sampled}, within what the network sees",
            )
        return region


def read_truth_file(path: Path) -> TruthFile:
    """Raises UsageError for a file that is missing or is no truth file."""
    try:
        document = _Document.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "give the path of a truth file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise UsageError(
            f"{path}: {where}{first['msg']}",
            'write it as {"clip.mp4": {"signature": "7-15", "boxes": [[frame, x0, y0, x1, y1]]}}',
        ) from error
    return TruthFile(path, document.root)


def read_masks(path: Path) -> np.ndarray:
    """Masks in a file: (frames, height, width), or (height, width) for all frames; not 0 inside.

    .npz holds one array; anything else is a picture, of one channel. Raises UsageError.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", "give the masks' path from the truth file"
        ) from error
    if path.suffix == ".npz":
        return _only_array(path)
    picture = (
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
    )
    if picture is None:
        raise UsageError(f"{path}: not a picture", "save the mask as .png, not 0 inside")
    return np.asarray(picture)


def _only_array(path: Path) -> np.ndarray:
    hint = "save it by np.savez_compressed(file, masks=masks)"
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except (ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise UsageError(f"{path}: not an .npz file: {first_line(error)}", hint) from error
    if len(arrays) != 1:
        raise UsageError(f"{path}: holds {len(arrays)} arrays, not one of masks", hint)
    masks: np.ndarray = next(iter(arrays.values()))
    if masks.dtype.kind not in "biuf":
        raise UsageError(f"{path}: holds {masks.dtype}, not numbers", hint)
    return masks


def _signature(known: _Known, viewing: Viewing) -> Bools | None:
    if known.signature is None:
        return None
    if isinstance(known.signature, str):
        return signature_frames(known.signature, viewing.timestamps)
    return frames_within(*known.signature, viewing.timestamps)


def _check_boxes(boxes: list[tuple[int, float, float, float, float]], viewing: Viewing) -> None:
    for frame, left, top, right, bottom in boxes:
        box = f"box [{frame}, {left:g}, {top:g}, {right:g}, {bottom:g}]"
        if not 0 <= frame < viewing.frames:
            raise UsageError(
                f"{box}: there is no frame {frame}", f"frames are 0 to {viewing.frames - 1}"
            )
        if not (left < right and top < bottom):
            raise UsageError(f"{box} is empty", "write [frame, left, top, right, bottom]")
        if right <= 0 or bottom <= 0 or left >= viewing.width or top >= viewing.height:
            raise UsageError(
                f"{box} lies outside of the frame",
                f"it is {viewing.width}×{viewing.height} pixels, from its upper left corner",
            )


def _check_masks(masks: np.ndarray, name: str, viewing: Viewing) -> None:
    whole = viewing.frames, viewing.height, viewing.width
    if masks.shape not in (whole, whole[1:]):
        raise UsageError(
            f"{name}: masks of shape {list(masks.shape)}, the clip's is {list(whole)}",
            "give a mask for each source frame, or a picture of one frame for all",
        )
