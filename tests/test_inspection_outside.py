"""What `tiem inspect` says of a network that is no file: all that its answers tell."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tiemcli import running_cost
from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.inspection_outside import inspect_outside
from tiemcli.inspection_table import inspect_command, rows

CODE = """
def predict(clips):
    mean = clips.mean(axis=(1, 2, 3, 4)) / 255
    return [[m / 2, m / 2, 1 - m] for m in mean]

predict.tiem = {"frames": 4, "size": "12x16", "labels": ["a", "b", "c"]}

def fails(clips):
    raise ValueError("no weights")

fails.tiem = predict.tiem
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds need not be exact here."""
    monkeypatch.setattr(running_cost, "SEARCH_SECONDS", 0.02)


@pytest.fixture
def source_of(tmp_path: Path) -> Callable[[str], str]:
    path = tmp_path / "inspected_net.py"
    path.write_text(CODE)
    return lambda name: f"python:{path}:{name}"


def test_what_answers_tell_is_said(source_of: Callable[[str], str]) -> None:
    """How it is fed, what its numbers are, how fast it is and what it costs; nothing of a graph."""
    source = source_of("predict")
    said = Facts(mean=(0.0,))
    found = inspect_outside(source, said)
    assert found.problems == ()
    assert found.file is found.multiply_adds is found.prefix is None
    assert found.elsewhere is not None
    assert (found.elsewhere.name, found.elsewhere.input.type) == (source, "UINT8")
    assert found.feeding is not None
    assert found.feeding.sizes == {"C": 3, "T": 4, "H": 12, "W": 16}
    assert found.feeding.preprocessing_from["mean"] == "flag"
    assert found.feeding.layout_from == found.labels_from == "metadata"
    (output,) = found.outputs
    assert (output.kind, output.kind_from, output.classes) == ("probabilities", "inferred", 3)
    assert found.cost is not None
    assert found.cost.autograd is None
    table = dict(rows(found))
    assert table["network"] == f"{source}, python: only its answers are known"
    assert table["output"] == "scores  probabilities (inferred), 3 a clip"
    assert table["gradients"].startswith("none: only the network's answers are known")
    assert not {"operators", "work", "by frame", "windows"} & set(table)


def test_what_fails_is_a_problem_beside_what_is_known(source_of: Callable[[str], str]) -> None:
    """As of a file; what cannot be found at all is an error."""
    found = inspect_outside(source_of("fails"), Facts())
    (problem,) = found.problems
    assert "line 9: ValueError: no weights" in problem.message
    assert found.feeding is not None
    assert dict(rows(found))["output"] == "scores"
    with pytest.raises(ModelError, match="there is no 'neither'"):
        inspect_outside(source_of("neither"), Facts())


def test_json_has_the_keys_of_a_file(
    source_of: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of which `file` is null."""
    inspect_command(source_of("predict"), Facts(), "auto", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["file"] is None
    assert document["elsewhere"]["input"]["shape"] == [None] * 5
    assert document["labels"] == ["a", "b", "c"]
