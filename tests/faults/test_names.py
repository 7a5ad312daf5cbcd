"""Clips with names that few expect."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

Record = Callable[..., Path]
Explain = Callable[..., subprocess.CompletedProcess[str]]

ODD = (
    "🎬 emoji.mp4".encode(),
    b"new\nline.mp4",
    b"-dash.mp4",
    b"  spaces  .mp4",
    b"#hash%20%d?.mp4",
    b"[x]*.mp4",
    b"http:x.mp4",
    b"q'\"&<x>.mp4",
    b"no suffix",
    b".hidden.mp4",
    b"esc\x1b[31mape\t.mp4",
    b"bytes\xff\xfe.mp4",
    b"surrogate\xed\xa0\x80.mp4",
    b"a" * 230 + b".mp4",
)


def test_any_name_that_a_file_can_have_is_explained(
    record: Record, explain: Explain, tmp_path: Path
) -> None:
    """Its results have its name, and the JSON is text whatever its bytes are."""
    clip = record("good.mp4")
    clips = [tmp_path / os.fsdecode(name) for name in ODD]
    for path in clips:
        shutil.copy(clip, path)
    done = explain("--json", "--", *(path.name for path in clips))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == len(ODD)
    for path in clips:
        assert (tmp_path / "out" / f"{path.stem}.tiem.json").exists()
        assert (tmp_path / "out" / f"{path.stem}.masked.mp4").exists()


def test_two_forms_of_one_letter_are_two_clips(
    record: Record, explain: Explain, tmp_path: Path
) -> None:
    """é as one code point and as two, where the file system tells them apart."""
    clips = [record(unicodedata.normalize(form, "é.mp4")) for form in ("NFC", "NFD")]
    if len(list(tmp_path.glob("*.mp4"))) != 2:
        pytest.skip("this file system takes both for the same")
    assert explain(*clips).returncode == 0
    assert len(list((tmp_path / "out").glob("*.tiem.json"))) == 2


def test_a_name_that_leaves_no_room_for_the_results_is_one_line(
    record: Record, explain: Explain
) -> None:
    """255 bytes are as much as a file's name can have."""
    done = explain(record("a" * 251 + ".mp4"))
    assert done.returncode == 1
    assert "File name too long — rename the clip to something shorter" in done.stderr


@pytest.mark.parametrize("name", ODD[:-1], ids=repr)
def test_a_bad_clip_of_an_odd_name_is_one_printable_line(
    name: bytes, explain: Explain, tmp_path: Path
) -> None:
    """A name cannot break the line, colour the terminal, or spoil the JSON."""
    (tmp_path / os.fsdecode(name)).write_bytes(b"no video")
    done = explain("--json", "--", os.fsdecode(name))
    assert done.returncode == 1
    assert done.stderr.rstrip("\n").isprintable()
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure["error"].encode()


def test_a_name_cannot_command_the_terminal(record: Record, tmp_path: Path) -> None:
    """A line break or an escape code in it is told as text, in the table, in a folder's lines, in
    warnings and in what would be done."""
    clip = record("good.mp4", frames=3)
    (tmp_path / "in").mkdir()
    shutil.copy(clip, tmp_path / "in" / "new\nline\x1b[31m.mp4")
    (tmp_path / "network.py").write_text(
        "def predict(clips):\n    return clips.reshape(len(clips), -1)[:, :2] + 1.0\n\n"
        'predict.tiem = {"frames": 4, "size": 8}\n'
    )
    command = [sys.executable, "-m", "tiemcli", "explain", "-m", "python:network.py:predict"]
    for given in (["in"], [os.path.join("in", os.listdir(tmp_path / "in")[0])], ["in", "-n"]):
        done = subprocess.run(
            [*command, "--queries", "5", "--format", "json", *given, "-o", "out", "-f"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "\x1b" not in done.stdout + done.stderr
        assert "new\\nline" in done.stdout
