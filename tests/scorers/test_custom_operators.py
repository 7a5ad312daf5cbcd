"""Libraries of operators are code: they run only by a user's word."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tiemcli.errors import ModelError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.network import load_network

Build = Callable[..., Path]
CLIP = np.random.default_rng(0).random((3, 4, 12, 16), dtype=np.float32)


def foreign(path: Path, domain: str, operator: str) -> Path:
    """The network, its first operator replaced."""
    proto = onnx.load(path)
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    proto.graph.node[0].op_type, proto.graph.node[0].domain = operator, domain
    del proto.graph.node[0].attribute[:]
    proto.metadata_props.add(key="custom_ops", value="evil.so")
    onnx.save(proto, path)
    return path


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library for ONNX Runtime that has no operators, and leaves a file when its code runs."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source, made = tmp_path / "ops.c", tmp_path / "evil.so"
    source.write_text(
        "#include <stdio.h>\nvoid *RegisterCustomOps(void *options, void *api)\n"
        f'{{ fclose(fopen("{tmp_path}/ran", "w")); return 0; }}\n'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source], check=True)
    return made


def test_a_library_of_operators_runs_only_by_the_users_word(
    build_network: Build, library: Path, tmp_path: Path
) -> None:
    """An operator that is not ONNX Runtime's is named with its domain and the flag; what lies beside
    the network, or what its file names, is not loaded."""
    path = foreign(build_network(), "their.own", "Ours")
    with pytest.raises(ModelError, match=r"no operator Ours of the domain their\.own") as error:
        load_network(load_model(path, Facts()), "cpu")
    assert "--custom-ops" in error.value.hint
    path.with_suffix(".toml").write_text('custom_ops = "evil.so"\n', encoding="utf-8")
    with pytest.raises(ModelError, match="no such fact"):
        load_model(path, Facts())
    assert not (tmp_path / "ran").exists()
    path = build_network()
    path.with_suffix(".toml").unlink()
    trusting = load_model(path, Facts(), custom_ops=(library,))
    assert load_network(trusting, "cpu").outputs(CLIP).shape == (5,)
    assert (tmp_path / "ran").exists()
    assert trusting.reading() != load_model(path, Facts()).reading()


def test_the_command_line_alone_names_a_library(
    build_network: Build, bikes: Path, library: Path, tmp_path: Path
) -> None:
    """Neither tiem.toml nor a variable may; the flag, by which a worker loads it, may."""
    network, ran = build_network(), tmp_path / "ran"
    quick = ("--queries", "4", "--format", "json", "-f")

    def explain(*more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tiemcli", "explain", bikes, "-m", network, *quick, *more]
        return subprocess.run(
            [str(word) for word in command],
            cwd=tmp_path,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    assert explain(TIEM_CUSTOM_OPS=str(library)).returncode == 0
    (tmp_path / "tiem.toml").write_text(f'custom-ops = ["{library}"]\n')
    done = explain()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    (tmp_path / "tiem.toml").unlink()
    assert not ran.exists()
    assert explain("--custom-ops", str(library)).returncode == 0
    assert ran.exists()


@pytest.mark.parametrize("name", ["missing.so", "broken.so", "empty.so"])
def test_a_library_that_does_not_load_is_one_line(
    build_network: Build, tmp_path: Path, name: str
) -> None:
    """It is named, with the flag."""
    (tmp_path / "broken.so").write_bytes(b"no library")
    (tmp_path / "empty.so").touch()
    model = load_model(build_network(), Facts(), custom_ops=(tmp_path / name,))
    with pytest.raises(ModelError, match=rf"--custom-ops .*{name}") as error:
        load_network(model, "cpu")
    assert "\n" not in error.value.message


def test_the_operators_of_a_real_library_are_explained(build_network: Build) -> None:
    """Those of onnxruntime-extensions."""
    extensions = pytest.importorskip("onnxruntime_extensions", reason="its operators are the test")
    path = foreign(build_network(), "ai.onnx.contrib", "NegPos")
    proto = onnx.load(path)
    first = proto.graph.node[0]
    wanted = first.output[0]
    first.output[:] = ["negative", "positive"]
    proto.graph.node.insert(1, helper.make_node("Add", ["negative", "positive"], [wanted]))
    onnx.save(proto, path)
    plain = load_network(load_model(build_network("plain.onnx"), Facts()), "cpu")
    model = load_model(path, Facts(), custom_ops=(Path(extensions.get_library_path()),))
    network = load_network(model, "cpu")
    np.testing.assert_allclose(network.outputs(CLIP), plain.outputs(CLIP), atol=1e-5)
