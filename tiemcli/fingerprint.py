"""What decides a result, as one hash, by which a finished clip is recognised."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

from tiemcli import __version__
from tiemcli.clip_file import require_clip, unreadable
from tiemcli.model import Model
from tiemcli.settings import Settings


def fingerprint(clip_sha256: str, model: Model, settings: Settings) -> str:
    """The SHA-256, in hex, of all that a result depends on."""
    torch = settings.backend != "finite-difference" and find_spec("torch") is not None
    parts = [__version__, torch, clip_sha256, model.sha256, model.reading(), settings.to_record()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sha256(clip: Path) -> str:
    """Of a clip's file, in hex. Raises ClipError."""
    require_clip(clip)
    try:
        with clip.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(clip, error) from error
