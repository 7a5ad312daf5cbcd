"""Networks of the user's own code, and weights from the user's own files."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn

from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters.original import Wanted
from tiemcli.exporters.torch_module import load
from tiemcli.exporters.weights import enliven, load_state, read_state
from tiemcli.facts import Facts

CODE = '''
from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass

import torch
from torch import nn

import {beside}


@dataclass
class Width:
    """Of which Python looks up the module."""

    channels: int = 4


class Net(nn.Module):
    """Five classes of clips."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Linear(4, 5)

    def forward(self, clips):
        return self.head(torch.relu(self.norm(self.conv(clips))).mean((2, 3, 4)))


def with_facts():
    net = Net()
    net.tiem = {{"frames": 4, "size": [8, 10], "labels": {beside}.LABELS, "color": "bgr"}}
    return net


def wrong_facts():
    net = Net()
    net.tiem = {{"frames": 0}}
    return net


def text_for_facts():
    net = Net()
    net.tiem = "NCTHW"
    return net


def looking_at_itself():
    return Net() if "channels" in inspect.getsource(Width) else None


def leaving():
    sys.exit()


def failing():
    raise KeyError("no weights here")


ready = Net()
number = 3


def three():
    return 3
'''
SAID = Facts(frames=4, size=(8, 10))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The name of something in a file of code, which imports what lies beside it."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.syspath_prepend(tmp_path)  # so that what the loader adds goes again
    beside = f"beside_{abs(hash(tmp_path))}"
    (tmp_path / f"{beside}.py").write_text('LABELS = ["a", "b", "c", "d", "e"]\n')
    (tmp_path / "mine.py").write_text(CODE.format(beside=beside))
    return lambda factory: f"{tmp_path / 'mine.py'}:{factory}"


def clips(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_the_user_says_how_a_network_is_fed(source: Callable[[str], str]) -> None:
    """Its layout is NCTHW where nobody says."""
    original = load(source("Net"), Wanted(facts=SAID))
    assert original.shape == (1, 3, 4, 8, 10)
    assert original.facts == Facts(layout="NCTHW").over(SAID)
    assert original.answer(clips((2, *original.shape[1:]))).shape == (2, 5)


def test_a_network_may_say_it_itself(source: Callable[[str], str]) -> None:
    """The user wins."""
    original = load(source("with_facts"), Wanted(facts=Facts(color="rgb")))
    assert original.shape == (1, 3, 4, 8, 10)
    assert original.facts.labels == ("a", "b", "c", "d", "e")
    assert original.facts.color == "rgb"


def test_a_module_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the folder one is in."""
    name = f"package_{abs(hash(tmp_path))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "nets.py").write_text("from torch import nn\nnet = nn.Flatten()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert isinstance(load(f"{name}.nets:net", Wanted(facts=SAID)).module, nn.Flatten)


@pytest.mark.parametrize("factory", ["Net", "ready", "with_facts", "looking_at_itself"])
def test_a_class_a_function_or_a_network_will_do(
    factory: str, source: Callable[[str], str]
) -> None:
    """And its random weights are the seed's."""
    first, second = (load(source(factory), Wanted(facts=SAID)) for _ in range(2))
    fed = clips(first.shape)
    np.testing.assert_array_equal(first.answer(fed), second.answer(fed))


@pytest.mark.parametrize(
    ("factory", "error", "said"),
    [
        ("nothing", UsageError, "there is no 'nothing'"),
        ("failing", ModelError, "failed: KeyError"),
        ("leaving", ModelError, "failed: SystemExit"),
        ("text_for_facts", ModelError, "attribute tiem is str"),
        ("number", ModelError, "is int, no network"),
        ("three", ModelError, "is int, no network"),
        ("wrong_facts", ModelError, "attribute tiem: frames"),
    ],
)
def test_what_is_no_network_is_one_line(
    factory: str, error: type[Exception], said: str, source: Callable[[str], str]
) -> None:
    """Which says what it is instead."""
    with pytest.raises(error, match=said):
        load(source(factory), Wanted(facts=SAID))


def test_a_wrong_name_lists_what_is_there(source: Callable[[str], str]) -> None:
    """What was imported from elsewhere is not."""
    with pytest.raises(UsageError) as raised:
        load(source("nothing"), Wanted(facts=SAID))
    assert raised.value.hint.startswith("it has Width, Net, with_facts, wrong_facts, ")
    assert "torch" not in raised.value.hint


@pytest.mark.parametrize(
    ("facts", "flags"),
    [
        (Facts(), "give --frames and --size"),
        (Facts(frames=4), "give --size"),
        (Facts(size=(8, 10)), "give --frames"),
    ],
)
def test_what_nobody_says_is_asked_for(
    facts: Facts, flags: str, source: Callable[[str], str]
) -> None:
    """By the flags that say it."""
    with pytest.raises(UsageError) as raised:
        load(source("Net"), Wanted(facts=facts))
    assert raised.value.hint == flags


def test_code_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A file, a module, code that does not run, a name without a factory."""
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    for name, said in (
        (f"{tmp_path}/none.py:Net", "no such file"),
        ("nothing_of_this_name:Net", "No module named"),
        (f"{tmp_path}/broken.py:Net", "No module named 'nothing_of_this_name'"),
        ("net.py", "names no factory"),
    ):
        with pytest.raises((UsageError, ModelError), match=said):
            load(name, Wanted(facts=SAID))


def test_what_the_factory_decides_cannot_be_asked(source: Callable[[str], str]) -> None:
    """Its classes and what it does frame by frame."""
    with pytest.raises(UsageError, match="--classes 3: the factory decides it"):
        load(source("Net"), Wanted(facts=SAID, classes=3))
    with pytest.raises(UsageError, match="--per-frame gru"):
        load(source("Net"), Wanted(facts=SAID, per_frame="gru"))


@pytest.mark.parametrize("kind", ["plain", "wrapped", "parallel", "compiled", "safetensors"])
def test_weights_are_read_as_they_are_saved(
    kind: str, source: Callable[[str], str], tmp_path: Path
) -> None:
    """Alone, among other things of a checkpoint, or behind a prefix that training put there."""
    trained = load(source("Net"), Wanted(facts=SAID, seed=9)).module.state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(trained, path)
    else:
        prefix = {"parallel": "module.", "compiled": "_orig_mod."}.get(kind, "")
        state = {prefix + name: tensor for name, tensor in trained.items()}
        torch.save({"epoch": 3, "state_dict": state} if kind == "wrapped" else state, path)
    loaded = load(source("Net"), Wanted(weights=str(path), facts=SAID)).module.state_dict()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)


def test_random_weights_get_sane_statistics(source: Callable[[str], str]) -> None:
    """Batch normalisation's are measured, not the 0 and 1 that it begins with."""
    network = load(source("Net"), Wanted(weights="none", facts=SAID)).module
    norm: nn.BatchNorm3d = network.norm  # type: ignore[assignment]
    assert not torch.equal(norm.running_var, torch.ones(4))  # type: ignore[arg-type]
    assert not norm.training
    assert norm.momentum == 0.1


def test_a_head_of_zeros_is_drawn_anew() -> None:
    """It would answer the same to everything."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.zeros_(network[1].weight)  # type: ignore[arg-type]
    enliven(network, (1, 3, 2, 2), seed=0)
    first, second = network(torch.randn(2, 3, 2, 2))
    assert (first - second).abs().max() > 1e-3


class Code:
    """What a file of weights must not be able to run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.trace), "w")


def test_a_file_that_holds_code_is_refused(tmp_path: Path) -> None:
    """And nothing of it is run."""
    torch.save({"w": Code(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="holds more than weights"):
        read_state(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_holds_no_weights_is_one_line(tmp_path: Path) -> None:
    """Text, a pickle of something else, one tensor, tensors without names, nothing at all."""
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps([1, 2]))
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    torch.save({0: torch.zeros(2)}, tmp_path / "numbered.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"12")
    names = "text.pt", "pickle.pt", "tensor.pt", "numbered.pt", "broken.safetensors", "none.pt"
    for name in names:
        with pytest.raises(ModelError) as raised:
            read_state(tmp_path / name)
        assert name in raised.value.message
        assert "\n" not in raised.value.message


def test_tensors_of_another_kind_are_one_line(tmp_path: Path) -> None:
    """Sparse ones, and ones that were saved without their numbers."""
    network = nn.Linear(2, 2, bias=False)
    for weight in (torch.eye(2).to_sparse(), torch.zeros(2, 2, device="meta")):
        with pytest.raises(ModelError, match="cannot be copied"):
            load_state(network, {"weight": weight}, tmp_path)


def test_many_wrong_names_are_counted(tmp_path: Path) -> None:
    """Two are named."""
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    with pytest.raises(ModelError, match=r"lacks 0\.weight, 0\.bias and 4 more"):
        load_state(network, {}, tmp_path)
