"""Thousands of clips by one worker."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Record = Callable[..., Path]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds")
@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.long)])
def test_memory_is_flat_over_many_clips(
    count: int, record: Record, network: Path, tmp_path: Path
) -> None:
    """At most a tenth above what it was after 50."""
    folder = tmp_path / "clips"
    folder.mkdir()
    clip = record(frames=6, height=12, width=16)
    script = Path(__file__).with_name("soak.py")
    done = subprocess.run(
        [sys.executable, *map(str, (script, clip, network, folder, count))],
        # As `tiem` itself sets it: threads come and go, and each would be given an arena of its own.
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    assert len(held) == count
    assert max(held[50:]) < 1.1 * held[49]
