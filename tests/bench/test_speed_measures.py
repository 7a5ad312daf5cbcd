"""What the bench of speed measures with, and what it compares with."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiemcli.bench.speed.clock import Turn, cpu_seconds, forget_peak, interleave, peak_memory
from tiemcli.bench.speed.explanation import explain_in_a_child
from tiemcli.bench.speed.folder import watched
from tiemcli.bench.speed.rivals import PaperRecipe, softmax
from tiemcli.bench.speed.windows import _sample
from tiemcli.errors import ClipError


def test_turns_are_taken_in_order_and_medians_are_of_a_unit() -> None:
    """A B A B A: the clock advances by what each takes, A's outlier does not count."""
    taken: list[str] = []
    costs = {"A": iter([2.0, 90.0, 4.0]), "B": iter([10.0, 30.0])}
    clock = SimpleNamespace(now=100.0)

    def turn(name: str, amount: float) -> Turn:
        def run() -> None:
            taken.append(name)
            clock.now += next(costs[name])

        return Turn(name, amount, run)

    a, b = turn("A", 2), turn("B", 10)
    seconds = interleave([a, b, a, b, a], now=lambda: clock.now)
    assert taken == ["A", "B", "A", "B", "A"]
    assert seconds == {"A": 2.0, "B": 2.0}


def test_children_count_and_sleep_does_not() -> None:
    """The clock is of processors: a child that works adds, a nap adds next to nothing."""
    began = cpu_seconds()
    time.sleep(0.3)
    napped = cpu_seconds()
    code = "import time\nwhile time.process_time() < .3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert napped - began < 0.1
    assert cpu_seconds() - napped >= 0.3


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux lets a peak begin anew"
)
def test_the_peak_is_this_process_own_and_can_begin_anew() -> None:
    """It holds what was freed since, until it is forgotten, and a child does not inherit it."""
    block = bytearray(200_000_000)
    assert peak_memory() > len(block)
    code = "from tiemcli.bench.speed.clock import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000_000
    before = peak_memory()
    del block
    assert peak_memory() == pytest.approx(before, abs=2_000_000)
    assert forget_peak()
    assert peak_memory() < before - 150_000_000


def test_softmax_is_of_each_row_and_survives_large_logits() -> None:
    """exp(l) / Σ exp(l)."""
    logits = np.array([[0.0, 1.0, 2.0], [1000.0, 1001.0, 1002.0]], np.float32)
    expected = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    np.testing.assert_allclose(softmax(logits), [expected, expected], rtol=1e-12)


@pytest.mark.parametrize(
    ("windows", "batch", "rate", "count"),
    [
        (136, 4, 1.0, 8),  # so few a second that the smallest sample is taken
        (136, 4, 10.0, 20),
        (136, 8, 1000.0, 136),
        (36, 64, 1000.0, 64),  # one batch, windows twice
    ],
)
def test_a_sample_is_spread_and_fills_batches(
    windows: int, batch: int, rate: float, count: int
) -> None:
    """Two seconds' worth of windows, the first and the last among them, in whole batches."""
    sample = _sample(windows, batch, rate)
    assert len(sample) == count
    assert (sample[0], sample[-1]) == (0, windows - 1)
    assert (np.diff(sample) >= 0).all()
    assert np.diff(sample).max() <= np.ceil((windows - 1) / (count - 1))


def test_the_recipe_is_one_forward_and_one_backward_of_the_module() -> None:
    """An iteration runs the module once, and moves cells that the target likes up."""
    torch = pytest.importorskip("torch")
    calls: list[tuple[int, ...]] = []

    def module(clips: Any) -> Any:
        """Class 0 likes the first frame's left half."""
        calls.append(tuple(clips.shape))
        liked = clips[:, 0, :, :, :4].mean(dim=(1, 2, 3))
        return torch.stack([8 * liked, torch.zeros_like(liked)], dim=1)

    sizes = {"C": 3, "T": 2, "H": 8, "W": 8}
    model: Any = SimpleNamespace(layout="NTCHW", sizes=sizes)
    clip, base = np.ones((3, 2, 8, 8), np.float32), np.zeros((3, 2, 8, 8), np.float32)
    recipe = PaperRecipe(module, model, clip, base, 0)
    before = recipe._cells.detach().clone()
    recipe.forward()
    assert calls == [(1, 2, 3, 8, 8)]
    assert recipe._cells.equal(before)
    recipe.iterate()
    assert len(calls) == 2
    moved = (recipe._cells.detach() - before).numpy()[:, 0]
    left, right = moved[:, :, :8].mean(axis=(1, 2)), moved[:, :, 8:].mean(axis=(1, 2))
    assert left[0] - right[0] > left[1] - right[1]
    assert 0 <= recipe._cells.min() <= recipe._cells.max() <= 1


class Napper:
    """Its naps are the network."""

    def nap(self, seconds: float) -> str:
        time.sleep(seconds)
        return "rested"


def test_the_share_inside_is_of_the_time_on_the_clock() -> None:
    """Two thirds of the time in a watched method is a share of two thirds, idle or not; the method
    answers as ever, and is its old self afterwards."""
    before = Napper.nap

    def work() -> None:
        assert [Napper().nap(0.3), Napper().nap(seconds=0.3)] == ["rested", "rested"]
        time.sleep(0.3)

    wall, cpu, share = watched(work, [(Napper, "nap")])
    assert wall >= 0.9
    assert cpu < 0.3
    assert share == pytest.approx(0.6 / wall, abs=0.1)
    assert Napper.nap is before


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    """The command's own line is the error."""
    subject: Any = SimpleNamespace(path=tmp_path / "no.onnx", video=tmp_path / "no.mp4")
    with pytest.raises(ClipError, match=r"no\.onnx"):
        explain_in_a_child(subject, tmp_path)
