"""The zoo: seeded networks whose files answer, and whose gradients are, as the modules' own."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from tiemcli.bench.network_cases import BOTH, DYNAMO, EXPORTS, TORCHSCRIPT
from tiemcli.errors import UsageError
from tiemcli.exporters.original import Form, Wanted
from tiemcli.exporters.registry import load
from tiemcli.exporters.zoo import FAMILIES, NAMES
from tiemcli.facts import Facts
from tiemcli.gradients import Differentiable
from tiemcli.model import load_model

PACKAGES = {
    "published": "torchvision",
    "video_transformers": "transformers",
    "keras_networks": "keras",
}
# Seconds rather than tenths of them to trace or to run.
LARGE = (
    *("r2plus1d-18", "r3d-18", "mc3-18", "s3d", "swin3d", "mvit-v1", "mvit-v2", "vjepa2"),
    "scan-cond",
)

# So many ReLUs and maxima that some turn on the rounding of float32: s3d's own gradient in torch is
# 2.6 % from the one in float64.
KINKED = ("r2plus1d-18", "r3d-18", "mc3-18", "s3d")


def needs(family: str) -> None:
    """Skip where the package that holds the architectures is not installed."""
    package = PACKAGES.get(family)
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def clip_for(original) -> np.ndarray:
    """Noise in the network's own type: (1, …). Of smooth pixels many a maximum would be tied."""
    random = np.random.default_rng(4)
    if original.dtype == np.uint8:
        return random.integers(0, 256, original.shape, dtype=np.uint8)
    return random.standard_normal(original.shape).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_networks_it_says(family: str) -> None:
    """The list that is read without importing a framework is the families' own."""
    needs(family)
    module = import_module(f"tiemcli.exporters.zoo.{family}")
    assert tuple(module.NETWORKS) == FAMILIES[family]


@pytest.mark.parametrize("name", ["cnn-lstm", "uint8", "slowfast-two"])
def test_weights_follow_the_seed(name: str) -> None:
    """One seed answers one thing, another another; the caller's own random numbers go on."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (load(f"zoo:{name}", Wanted(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    clip = clip_for(first)
    assert clip.shape == first.shape
    np.testing.assert_array_equal(first.answer(clip), again.answer(clip))
    assert np.abs(first.answer(clip) - other.answer(clip)).max() > 1e-4


def test_what_is_wanted_is_kept() -> None:
    """The number of classes and the facts that the build does not fix are the user's."""
    said = Facts(mean=(0.5,), labels=("a", "b", "c"), frames=99)
    original = load("zoo:detector", Wanted(classes=3, facts=said))
    assert original.answer(clip_for(original)).shape == (1, 3, 3)
    assert original.facts.mean == (0.5,)
    assert original.facts.labels == ("a", "b", "c")
    assert original.facts.frames == original.shape[2]


def test_a_wrong_wish_is_a_line() -> None:
    """A name that is none gets the nearest one as a hint; there are no weights to choose."""
    with pytest.raises(UsageError, match="did you mean zoo:movinet"):
        load("zoo:movinett", Wanted())
    with pytest.raises(UsageError, match="random weights"):
        load("zoo:tsm", Wanted(weights="best.pt"))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(name, form, marks=pytest.mark.slow if name in LARGE else ())
        for name, forms in EXPORTS.items()
        for form in forms
        if form == forms[0]
    ]
    + [("x3d", DYNAMO)],
    ids=lambda value: value.converter if isinstance(value, Form) else value,
)
def test_a_file_has_the_gradient_of_its_module(name: str, form: Form, tmp_path: Path) -> None:
    """Answer and input gradient of the file, run by tiem in torch, are the original's."""
    needs(NAMES[name])
    original = load(f"zoo:{name}", Wanted())
    clip = clip_for(original)
    original.write(tmp_path / "net.onnx", form)
    network = Differentiable(load_model(tmp_path / "net.onnx", original.facts).with_weights())

    def answer_and_gradient(function):
        x = torch.from_numpy(clip).float().requires_grad_()
        answer = function(x).reshape(-1)
        return answer.detach().numpy(), torch.autograd.grad(answer[answer.argmax()], x)[0]

    answer, gradient = answer_and_gradient(lambda x: network(x)[0])
    expected, theirs = answer_and_gradient(original.module)
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    bar = 0.05 if name in KINKED else 1e-4
    assert (gradient - theirs).norm() < bar * theirs.norm()


def test_both_converters_are_measured() -> None:
    """Of each network but those that one of them cannot trace."""
    for name, forms in EXPORTS.items():
        if name != "scan-cond":
            assert {form.converter for form in forms} == {form.converter for form in BOTH}
    assert TORCHSCRIPT.batch == 1
    assert sum(map(len, EXPORTS.values())) >= 48
