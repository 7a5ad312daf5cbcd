"""A folder that results can be written into."""

import tempfile
from pathlib import Path

from tiemcli.errors import OutputError


def check_folder(folder: Path) -> None:
    """Make the folder, and see that it can be written into. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {error.strerror}", "choose another folder with -o"
        ) from error
