"""Figures 5 to 10: each is drawn, of whatever cases there are."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from tiemcli.bench.paper import drawings, table2
from tiemcli.bench.paper.case import Case
from tiemcli.bench.paper.drawings import draw
from tiemcli.errors import OutputError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.scorers.network import load_network


def test_a_folder_that_cannot_be_is_the_users_error(tmp_path: Path) -> None:
    """A file of that name is in its place; nothing is drawn before that is seen."""
    (tmp_path / "figures").touch()
    told: list[str] = []
    with pytest.raises(OutputError, match=r"cannot write into .*figures"):
        draw(tmp_path / "figures", told.append)
    assert not told


def test_every_figure_is_drawn_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build_network: Callable[..., Path]
) -> None:
    """One of the regressors, four of each classifier; they are the paths that are returned."""
    facts = Facts(layout="NCTHW", labels=list("abcde"))
    network = load_network(load_model(build_network(), facts), "cpu", 1)

    def noise(kind: str, count: int, seed: int, progress: object) -> Iterator[Case]:
        for index in range(count):
            clip = np.random.default_rng(index).random((3, 4, 12, 16), dtype=np.float32)
            target = int(network.outputs(clip).argmax())
            yield Case(f"{kind} {index}", network, clip, target, np.array([0, 1, 1, 0], bool))

    monkeypatch.setattr(drawings, "signature_cases", noise)
    monkeypatch.setattr(drawings, "CURVED", ("gradient", "random"))
    monkeypatch.setattr(drawings, "MASKED", ("paper", "best"))
    few = {constraint: dict.fromkeys(table2.METHODS, 2) for constraint in table2.CONSTRAINTS}
    monkeypatch.setattr(table2, "ITERATIONS", few)
    told: list[str] = []
    paths = draw(tmp_path / "new" / "figures", told.append)
    assert sorted(path.name for path in paths) == sorted(
        ["whitebox.png"]
        + [
            f"{kind}-{what}.png"
            for kind in ("3-d-cnn", "cnn-lstm")
            for what in ("masks", "importance", "areas", "insertion")
        ]
    )
    assert sorted((tmp_path / "new/figures").iterdir()) == sorted(paths)
    for path in paths:
        with Image.open(path) as opened:
            assert np.ptp(np.asarray(opened.convert("L"))) > 100, path.name
    assert told[0] == "drawing the white-box regressors"
