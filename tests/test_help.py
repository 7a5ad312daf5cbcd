"""What `--help` says."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import COMMANDS

NETWORK = """
from torch import nn

def factory():
    network = nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(24, 3))
    network.tiem = {"layout": "NCTHW", "frames": 8, "size": 32}
    return network
"""


def shown(command: str) -> str:
    words = command.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "tiemcli", *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    return done.stdout


def example(command: str) -> str:
    """What may be typed, as the help shows it."""
    found = re.search(r"^ +Example:\n +(.*)\n", shown(command), re.MULTILINE)
    assert found is not None, command
    return found[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command: str) -> None:
    """On a line of its own, to be copied."""
    assert f"{example(command)} ".startswith(f"{command} ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_listed(command: str) -> None:
    """Under its heading, or under that of all the rest."""
    text = shown(command)
    for parameter in COMMANDS[command].params:
        for name in (*parameter.opts, *parameter.secondary_opts):
            if name.startswith("--"):
                assert re.search(rf"^  (-\w, )?(--[\w-]+ / )?{name}\b(?!-)", text, re.MULTILINE), (
                    name
                )
    assert "-h, --help" in text


@pytest.mark.slow
def test_the_examples_can_be_typed(tmp_path: Path, sample_in: Callable[[Path], Path]) -> None:
    """One after the other in a folder that has the files they name; those of `tiem bench` take
    minutes and are left out."""
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    sample_in(tmp_path)
    (tmp_path / "labels.txt").write_text("jump\nwave\nspin\nduck\nflip\n")
    (tmp_path / "net.py").write_text(NETWORK)
    environment = os.environ | {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "BROWSER": "true",  # opens nothing
    }
    last = "tiem export"  # writes over net.onnx
    for command in sorted(COMMANDS, key=last.__eq__):
        if not command.startswith("tiem bench"):
            done = subprocess.run(
                example(command),
                shell=True,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {
        "clip.compare.png",
        "out",
        "tiem-demo",
        "tiem.schema.json",
    }
