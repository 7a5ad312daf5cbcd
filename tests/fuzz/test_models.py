"""Damaged networks, and damaged files that speak of one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiemcli.errors import ModelError, TiemError
from tiemcli.facts import Facts, facts_beside, facts_from_flags, facts_in_metadata

HERE = Path(__file__).parent
SLICE, WHOLE = 80, 2000
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ODD = st.one_of(
    *(st.integers(), st.floats(), st.booleans(), st.text(max_size=20), st.none()),
    st.lists(st.one_of(st.integers(), st.text(max_size=5), st.floats()), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.sampled_from(["1/0", "0x0", "[[", "-1", "1e999", "9" * 400, "\x1b[31m", "a.npy", "../x"]),
)


@pytest.mark.parametrize(
    ("first", "stop"),
    [(0, SLICE), pytest.param(SLICE, WHOLE, marks=pytest.mark.long)],
    ids=["some", "all the others"],
)
def test_no_damaged_network_ends_in_a_traceback_a_hang_or_half_a_file(
    first: int, stop: int, tmp_path: Path
) -> None:
    """Each is explained, or ends in a line that says why not and that no terminal obeys."""
    done = subprocess.run(
        [sys.executable, HERE / "run_models.py", str(first), str(stop), tmp_path / "kept"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [ended["number"] for ended in told] == list(range(first, stop))
    assert [ended for ended in told if ended["faults"]] == []
    # Damage that is always or never fatal would show nothing.
    assert 0.1 < sum(ended["code"] == 0 for ended in told) / len(told) < 0.6


def said(read: Callable[[], Facts]) -> None:
    """It is read, or refused in one line that no terminal obeys."""
    try:
        labels = read().labels or ()
    except TiemError as error:
        labels = (str(error),)
    assert not any(letter < " " or letter == "\x7f" for label in labels for letter in label)


@QUICK
@given(key=st.sampled_from(sorted(Facts.model_fields)), value=ODD)
def test_any_fact_in_a_file_is_taken_or_refused(tmp_path: Path, key: str, value: object) -> None:
    """Of net.toml, of the network's metadata, and of the flags."""
    network = tmp_path / "net.onnx"
    text = json.dumps(value, ensure_ascii=False).replace("NaN", "nan").replace("Infinity", "inf")
    network.with_suffix(".toml").write_text(f"{key} = {text}\n", encoding="utf-8")
    said(lambda: facts_beside(network))
    said(lambda: facts_in_metadata({f"tiem.{key}": str(value)}))
    said(lambda: facts_from_flags({key: str(value)}))


@QUICK
@given(content=st.binary(max_size=60))
def test_any_bytes_are_facts_labels_or_refused(tmp_path: Path, content: bytes) -> None:
    """What is beside the network need be no TOML, and labels no text."""
    network, labels = tmp_path / "net.onnx", tmp_path / "labels.txt"
    network.with_suffix(".toml").write_bytes(content)
    said(lambda: facts_beside(network))
    network.with_suffix(".toml").write_text('labels = "labels.txt"\n', encoding="utf-8")
    labels.write_bytes(content)
    said(lambda: facts_beside(network))


def test_labels_nested_without_end_are_refused() -> None:
    """JSON that no reader follows to its end."""
    with pytest.raises(ModelError, match="nested too deeply"):
        facts_in_metadata({"tiem.labels": "[" * 10**6})


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"\xff\xfe",
            b"= =",
            b"area = 1\narea = 2",
            b"nothing = 1",
            b"areas = [[1]]",
            b"area = {}",
        ),
        *(b"queries = 1e400", b"out = []", b"input = [1]", b"target = true", b"device = 7"),
    ],
    ids=lambda content: ascii(content)[2:-1],
)
def test_a_damaged_file_of_options_is_one_line(
    tiem: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, content: bytes
) -> None:
    """tiem.toml may hold anything; no clip is named that could be explained."""
    (tmp_path / "tiem.toml").write_bytes(content)
    done = tiem("explain", "missing.mp4", "-m", "missing.onnx", "--dry-run")
    assert done.returncode in (1, 2, 3)
    assert "Traceback" not in done.stderr + done.stdout
    assert not any(letter < " " and letter != "\n" for letter in done.stderr)
