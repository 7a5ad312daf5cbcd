"""What is written of a run over clips, and what survives when it is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiemcli.runs.summary as summary_module
from tiemcli.errors import ClipError, OutputError, UsageError
from tiemcli.result import Result
from tiemcli.runs.engine import Failure, Finished, Item
from tiemcli.runs.lock import Lock
from tiemcli.runs.summary import Summary, read


def result(score: float = 0.9, label: str | None = "boat", **changes: Any) -> Result:
    """A result of three frames and two masks, of which the first is the smallest that is enough."""
    base = {"kind": "blur", "score": 0.1}
    document = {
        "schema": "tiem/1",
        "fingerprint": "f",
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {},
        "warnings": [],
        "clip": {
            "path": "a.mp4",
            "sha256": "0",
            "frames": 30,
            "fps": "10/1",
            "width": 4,
            "height": 4,
            "sampled_frames": [0, 10, 20],
            "timestamps": [0.0, 1.0, 2.5],
        },
        "model": {
            "path": "m.onnx",
            "sha256": "0",
            "input": "x",
            "layout": "NCTHW",
            "output": "y",
            "output_kind": "probabilities",
            "batch": None,
            "looped": False,
            "reuse": None,
            "reading": {},
            "providers": [],
            "assumed": [],
        },
        "target": {"index": 3, "label": label, "score": score},
        "base": base,
        "method": "tiem",
        "backend": "queries",
        "backend_reason": "",
        "seed": 0,
        "settings": {},
        "temporal": {
            "importance": [0.2, 0.3, 0.5],
            "alpha": 0.8,
            "aggregate": "mean",
            "base": base,
            "second_base": None,
            "agreement": None,
            "degenerate": False,
            "windows": [],
        },
        "masks": [
            {
                "area": area,
                "effective_area": area,
                "frame_areas": [area] * 3,
                "score": masked,
                "smallest": area == 0.1,
                "evaluations": 5,
            }
            for area, masked in ((0.1, 0.7), (0.2, 0.8))
        ],
        "cost": {
            "forwards": 9,
            "computed": 9,
            "backwards": 0,
            "seconds": {"read": 0.5, "masks": 1.25},
        },
        "files": {},
    }
    return Result.model_validate(document | changes)


def item(folder: Path, name: str) -> Item:
    return Item(Path(f"clips/{name}.mp4"), folder / f"{name}.tiem.json")


def explained(folder: Path, name: str, **changes: Any) -> Finished:
    return Finished(item(folder, name), result(**changes), kept=False)


def kept(folder: Path, name: str, **changes: Any) -> Finished:
    return Finished(item(folder, name), result(**changes), kept=True)


def failed(folder: Path, name: str, message: str = "no frames") -> Failure:
    return Failure(item(folder, name), ClipError(message, "give a video"))


def lines(folder: Path, name: str = "summary.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def test_a_line_says_what_became_of_a_clip(tmp_path: Path) -> None:
    """Of the mask to look at, which is the smallest that is enough."""
    summary = Summary(tmp_path)
    summary.tell(explained(tmp_path / "deep", "a"))
    (said,) = lines(tmp_path)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "clip": "clips/a.mp4",
        "status": "explained",
        "result": "deep/a.tiem.json",
        "target": {"index": 3, "label": "boat", "score": 0.9},
        "peak": 2.5,
        "masked_score": 0.7,
        "area": 0.1,
        "seconds": 1.75,
        "warnings": [],
        "error": None,
        "hint": None,
    }


def test_a_failure_says_why(tmp_path: Path) -> None:
    """The error and what to do about it."""
    Summary(tmp_path).tell(failed(tmp_path, "a"))
    (said,) = lines(tmp_path)
    assert (said["status"], said["error"], said["hint"]) == ("failed", "no frames", "give a video")
    assert said["result"] is said["target"] is None


def test_a_resumed_run_repeats_nothing_and_completes(tmp_path: Path) -> None:
    """A line that was lost is written; one that says something else is added."""
    first = Summary(tmp_path)
    first.tell(explained(tmp_path, "a"))
    first.tell(failed(tmp_path, "b"))
    first.tell(failed(tmp_path, "c"))
    second = Summary(tmp_path)
    for outcome in (
        kept(tmp_path, "a"),
        failed(tmp_path, "b"),
        explained(tmp_path, "c"),
        kept(tmp_path, "lost"),
        kept(tmp_path, "lost"),
    ):
        second.tell(outcome)
    said = [(line["clip"][6:-4], line["status"]) for line in lines(tmp_path)]
    assert said == [
        ("a", "explained"),
        ("b", "failed"),
        ("c", "failed"),
        ("c", "explained"),
        ("lost", "kept"),
    ]
    Summary(tmp_path).tell(explained(tmp_path, "a", score=0.5))
    assert len(lines(tmp_path)) == 6


def test_two_runs_see_each_others_lines(tmp_path: Path) -> None:
    """What one explained the other keeps without a line."""
    one, other = Summary(tmp_path), Summary(tmp_path)
    one.tell(explained(tmp_path, "a"))
    other.tell(kept(tmp_path, "a"))
    assert len(lines(tmp_path)) == 1
    (tmp_path / "summary.jsonl").unlink()
    other.tell(kept(tmp_path, "a"))
    assert len(lines(tmp_path)) == 1


@given(cut=st.integers(1, 400))
def test_a_torn_line_is_passed_over_and_written_anew(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """Wherever a kill or a full disk cut the last line, even at its newline alone."""
    folder = tmp_path_factory.mktemp("torn")
    first = Summary(folder)
    first.tell(explained(folder, "a"))
    first.tell(explained(folder, "b"))
    path = folder / "summary.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    before = {entry.clip for entry in read(folder)}
    assert before == {"clips/a.mp4", "clips/b.mp4"} if cut == 1 else {"clips/a.mp4"} >= before
    second = Summary(folder)
    for name in "ab":
        second.tell(kept(folder, name))
    assert [entry.clip for entry in read(folder)] == ["clips/a.mp4", "clips/b.mp4"]
    assert path.read_bytes().endswith(b"}\n")


def test_the_document_counts_all_and_ends_with_the_failures(tmp_path: Path) -> None:
    """In the order of the clips' paths, whatever the order in which they finished."""
    summary = Summary(tmp_path)
    for outcome in (
        failed(tmp_path, "d"),
        explained(tmp_path, "c"),
        failed(tmp_path, "b"),
        kept(tmp_path, "a"),
    ):
        summary.tell(outcome)
    document = summary.finish([item(tmp_path, name) for name in "edcba"], "interrupted")
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written == json.loads(document.to_json())
    assert list(written)[-2:] == ["results", "failures"]
    assert written["schema"] == "tiem-summary/1"
    assert written["stopped"] == "interrupted"
    assert written["counts"] == {"explained": 1, "kept": 1, "failed": 2, "not_tried": 1}
    assert [entry["clip"] for entry in written["results"]] == ["clips/a.mp4", "clips/c.mp4"]
    assert [entry["clip"] for entry in written["failures"]] == ["clips/b.mp4", "clips/d.mp4"]
    assert sorted(os.listdir(tmp_path)) == ["summary.json", "summary.jsonl"]


def test_two_runs_of_the_same_clips_tell_the_same(tmp_path: Path) -> None:
    """But for the times."""
    documents = []
    for order in ("abc", "cab"):
        folder = tmp_path / order
        summary = Summary(folder)
        for name in order:
            summary.tell(failed(folder, name) if name == "b" else explained(folder, name))
        document = summary.finish([item(folder, name) for name in order]).model_dump()
        del document["created"], document["seconds"]
        for entry in (*document["results"], *document["failures"]):
            del entry["time"]
        documents.append(document)
    assert documents[0] == documents[1]


def test_a_retried_clip_counts_by_its_last_outcome(tmp_path: Path) -> None:
    """A failure that was mended is none."""
    summary = Summary(tmp_path)
    summary.tell(failed(tmp_path, "a"))
    summary.tell(explained(tmp_path, "a"))
    assert summary.finish([item(tmp_path, "a")]).counts.model_dump() == {
        "explained": 1,
        "kept": 0,
        "failed": 0,
        "not_tried": 0,
    }


def test_each_share_has_its_own_files_and_reading_joins_them(tmp_path: Path) -> None:
    """A clip of several files is what was last said of it."""
    for number, name in enumerate("ab", start=1):
        summary = Summary(tmp_path, f"{number}/2")
        summary.tell(explained(tmp_path, name))
        document = summary.finish([item(tmp_path, name)])
        assert document.shard == f"{number}/2"
    assert sorted(os.listdir(tmp_path)) == [
        f"summary.{number}-of-2.{suffix}" for number in (1, 2) for suffix in ("json", "jsonl")
    ]
    earlier = lines(tmp_path, "summary.1-of-2.jsonl")[0] | {
        "status": "failed",
        "time": "2020-01-01T00:00:00+00:00",
    }
    (tmp_path / "summary.jsonl").write_text(json.dumps(earlier) + "\n")
    assert [(entry.clip, entry.status) for entry in read(tmp_path)] == [
        ("clips/a.mp4", "explained"),
        ("clips/b.mp4", "explained"),
    ]


def test_a_folder_without_a_summary_has_nothing_to_read(tmp_path: Path) -> None:
    """Be it there or not."""
    assert read(tmp_path) == read(tmp_path / "gone") == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "{}"),
        ("summary.json", "[1]"),
        ("summary.json", '{"schema": "other/1"}'),
        ("summary.json", "no json"),
        ("summary.json", "[" * 100_000),
        ("summary.json", ""),
        ("summary.jsonl", '{"epoch": 1}\n'),
        ("summary.jsonl", "notes"),
    ],
)
def test_files_of_others_are_left_alone(tmp_path: Path, name: str, content: str) -> None:
    """They are named, and nothing is written."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        Summary(tmp_path)
    assert error.value.message == f"{path}: not written by tiem"
    assert path.read_text() == content
    assert os.listdir(tmp_path) == [name]


def test_what_tiem_wrote_may_be_there(tmp_path: Path) -> None:
    """Whole, empty or torn at the first line; the document is replaced."""
    summary = Summary(tmp_path)
    summary.tell(explained(tmp_path, "a"))
    summary.finish([])
    whole = (tmp_path / "summary.jsonl").read_bytes()
    for content in (whole, b"", whole[:1], whole[:20]):
        (tmp_path / "summary.jsonl").write_bytes(content)
        Summary(tmp_path).tell(kept(tmp_path, "a"))
        assert len(read(tmp_path)) == 1


def test_odd_names_and_numbers_are_told_as_json(tmp_path: Path) -> None:
    """Bytes that are no text are replaced, newlines escaped, numbers that are not finite null."""
    odd = os.fsdecode(b"a\n\xff")
    summary = Summary(tmp_path)
    summary.tell(explained(tmp_path, odd, score=float("nan"), label="\ud800"))
    summary.tell(failed(tmp_path, "b", f"clips/{odd}: broken"))
    summary.finish([item(tmp_path, odd)])
    first, second = lines(tmp_path)
    assert first["clip"] == "clips/a\n\ufffd.mp4"
    assert first["result"] == "a\n\ufffd.tiem.json"
    assert first["target"] == {"index": 3, "label": "?", "score": None}
    assert second["error"] == "clips/a\\n?: broken"
    assert len(read(tmp_path)) == 2
    assert json.loads((tmp_path / "summary.json").read_text())["results"] == [first]


def test_a_summary_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """As where a file stands in the way of its folder."""
    (tmp_path / "file").touch()
    summary = Summary(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        summary.tell(failed(tmp_path / "file", "a"))
    with pytest.raises(OutputError, match="cannot be written"):
        summary.finish([])


def test_a_line_waits_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appending is not atomic on every file system; one that waits in vain says so."""
    monkeypatch.setattr(summary_module, "_PATIENCE", 0.05)
    summary, other = Summary(tmp_path), Lock(tmp_path, "summary")
    assert other.take()
    with pytest.raises(OutputError, match="in use"):
        summary.tell(failed(tmp_path, "a"))
    other.free()
    summary.tell(failed(tmp_path, "a"))
    assert len(lines(tmp_path)) == 1


TELL = """
import sys
from pathlib import Path
from tiemcli.errors import ClipError
from tiemcli.runs.engine import Failure, Item
from tiemcli.runs.summary import Summary

folder, name = Path(sys.argv[1]), sys.argv[2]
summary = Summary(folder)
for index in range(int(sys.argv[3])):
    clip = f"{name}{index}"
    item = Item(Path(clip), folder / f"{clip}.tiem.json")
    summary.tell(Failure(item, ClipError("x" * (index * 7 % 20_000))))
    if index == 5:
        print("on the way", flush=True)
"""


def run_teller(folder: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", TELL, str(folder), name, str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE)


def test_lines_of_several_runs_do_not_mix(tmp_path: Path) -> None:
    """Each of them is whole, and none is missing."""
    tellers = [run_teller(tmp_path, name, 300) for name in "abc"]
    for teller in tellers:
        teller.communicate()
        assert teller.returncode == 0
    said = [line["clip"] for line in lines(tmp_path)]
    assert sorted(said) == sorted(f"{name}{index}" for name in "abc" for index in range(300))


def test_a_killed_run_leaves_lines_that_can_be_read(tmp_path: Path) -> None:
    """The next completes them."""
    teller = run_teller(tmp_path, "a", 100_000)
    assert teller.stdout is not None
    teller.stdout.readline()
    os.kill(teller.pid, signal.SIGKILL)
    teller.communicate()
    before = len(read(tmp_path))
    assert before > 5
    again = run_teller(tmp_path, "a", before + 10)
    again.communicate()
    assert again.returncode == 0
    assert len(read(tmp_path)) >= before + 10
