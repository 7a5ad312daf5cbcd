"""Networks whose answers are no use."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import NodeProto, helper

Record = Callable[..., Path]
BuildNetwork = Callable[..., Path]
Explain = Callable[..., subprocess.CompletedProcess[str]]
node = helper.make_node


def less(constant: str) -> list[NodeProto]:
    """The logarithm of the mean less a constant: NaN where the mean is smaller."""
    return [node("Sub", ["m", constant], ["rest"]), node("Log", ["rest"], ["each"])]


TWICE = node("Concat", ["each", "each"], ["out"], axis=1)
NOISE = node("RandomUniformLike", ["m"], ["noise"])
PROBABILITIES = ("--output", "probabilities")
NO_NUMBER = "the network's answer is no number"
CASES = {
    "NaN for every clip": ([*less("most"), TWICE], (), (1, 3), NO_NUMBER),
    "NaN for what is hidden": ([*less("some"), TWICE], (), (1,), f"{NO_NUMBER} under some mask"),
    "infinite": ([node("Div", ["m", "zero"], ["each"]), TWICE], (), (1, 3), NO_NUMBER),
    "zero": (
        [node("Mul", ["m", "zero"], ["each"]), TWICE],
        PROBABILITIES,
        (1,),
        "answer is 0, of which nothing can be lost",
    ),
    "noise": (
        [NOISE, node("Add", ["m", "noise"], ["each"]), TWICE],
        PROBABILITIES,
        (3,),
        "does it draw random numbers",
    ),
}


@pytest.mark.parametrize(("nodes", "options", "codes", "reason"), CASES.values(), ids=CASES)
def test_an_answer_that_cannot_be_explained_is_one_line(
    nodes: list[NodeProto],
    options: tuple[str, ...],
    codes: tuple[int, ...],
    reason: str,
    build_answer: BuildNetwork,
    record: Record,
    explain: Explain,
    tmp_path: Path,
) -> None:
    """Nothing is written, and the reason is told."""
    build_answer(*nodes, most=[[9.0]], some=[[0.2]], zero=[[0.0]])
    done = explain(record(), *options)
    assert done.returncode in codes
    assert reason in done.stderr
    assert list((tmp_path / "out").glob("*.*")) == []


def test_an_answer_that_never_changes_is_explained_with_warnings(
    build_answer: BuildNetwork, record: Record, explain: Explain
) -> None:
    """Whatever is hidden, the score is the same, and the result says that it means nothing."""
    build_answer(
        node("Mul", ["m", "zero"], ["none"]), node("Add", ["none", "always"], ["out"]),
        zero=[[0.0]], always=[[3.0, 1.0]],
    )  # fmt: skip
    done = explain(record(), "--json")
    assert done.returncode == 0
    (result,) = json.loads(done.stdout)["results"]
    said = " ".join(result["warnings"])
    assert "no window lowers the score" in said
    assert "the network is not blind to it" in said
