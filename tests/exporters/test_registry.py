"""A scheme leads to the module that reads it, and what is missing there is named."""

import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters import registry
from tiemcli.exporters.original import Wanted


def test_a_scheme_that_is_none_is_a_usage_error() -> None:
    """Which lists those there are."""
    for source in ("tensorflow:net", "net.onnx", "torch:"):
        with pytest.raises(UsageError) as raised:
            registry.load(source, Wanted())
        assert source in raised.value.message
        assert all(scheme in raised.value.hint for scheme in registry.MODULES)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to type."""
    monkeypatch.setitem(registry.MODULES, "torchvision", "metadata")

    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    monkeypatch.setattr(registry, "import_module", missing)
    with pytest.raises(ModelError, match="the package torchvision is not installed"):
        registry.load("torchvision:r3d_18", Wanted())


def test_a_package_that_one_network_alone_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the zoo, whose families come from several frameworks."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModelError, match="the package keras is not installed") as raised:
        registry.load("zoo:keras-c3d", Wanted())
    assert raised.value.hint == "pip install 'tiem[keras]'"
