"""`tiem compare` and `tiem evaluate` as a person runs them, and what their numbers say."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiemcli.comparison import common_target, contestants, settings_of
from tiemcli.errors import UsageError
from tiemcli.methods import METHODS, method
from tiemcli.settings import PRESETS, Settings, with_preset
from tiemcli.target import resolve_target

Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--steps", 8, "--iterations", 8, "--queries", 60)


@pytest.fixture
def sample(root: Path) -> tuple[object, ...]:
    """The clip whose decisive second is known, and its network."""
    return root / "samples/clip.mp4", "-m", root / "samples/net.onnx"


def test_methods_are_measured_alike_on_one_clip(
    tiem: Run, sample: tuple[object, ...], tmp_path: Path
) -> None:
    """The table, the JSON and the sheet are there; all keep one area, and tiem finds what chance
    does not."""
    done = tiem(
        "compare", *sample, "--methods", "tiem,rise,random", "--signature", "2.25s-3.5s", "-o", "out", *QUICK
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out/clip.compare.json").read_text())
    rows = {row["method"]: row for row in told["rows"]}
    assert list(rows) == ["tiem", "rise", "random"]
    for name, row in rows.items():
        assert name in done.stdout
        assert np.mean(row["frame_areas"]) == pytest.approx(0.1, abs=1e-3)
        assert row["metrics"].keys() >= {"score", "temporal_pointing", "insertion", "deletion"}
    found, chance = (
        rows[name]["metrics"]["temporal_pointing"]["mean"] for name in ("tiem", "random")
    )
    assert found > 80
    assert chance < 40
    with Image.open(tmp_path / "out/clip.compare.png") as sheet:
        assert sheet.width > sheet.height / 4 > 100


def test_seeds_have_a_deviation_and_shuffled_weights_another_saliency(
    tiem: Run, sample: tuple[object, ...]
) -> None:
    """What looks at nothing is the same for any network; over seeds it varies."""
    done = tiem(
        "compare", *sample, "--methods", "random,tiem", "--seeds", 3, "--randomise", "--json", *QUICK
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lot, found = json.loads(done.stdout)["rows"]
    assert lot["similarity_to_random_weights"] == pytest.approx(1)
    assert found["similarity_to_random_weights"] < 0.9
    assert lot["metrics"]["insertion"]["std"] > 0


def test_a_shuffled_network_without_a_gradient_leaves_the_method_in_the_table(
    tiem: Run, sample: tuple[object, ...]
) -> None:
    """The sample's answer saturates when its weights are shuffled: there is nothing to correlate."""
    done = tiem("compare", *sample, "--methods", "grad-cam", "--randomise", "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["similarity_to_random_weights"] is None
    assert row["metrics"]["score"]["mean"] > 0


def test_a_method_that_cannot_explain_is_told_and_the_others_go_on(
    tiem: Run, sample: tuple[object, ...]
) -> None:
    """The sample's network has two layers behind its pooling: no tubes."""
    done = tiem("compare", *sample, "--methods", "saliency-tubes,center", "--json", *QUICK)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [row["method"] for row in told["rows"]] == ["center"]
    assert [failure["method"] for failure in told["failures"]] == ["saliency-tubes"]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tiem: ")]
    assert "saliency tubes" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "tiem,magic"), "--methods magic"),
        (("--signature", "7-99"), "no sampled frame 99"),
        (("--seeds", 0), "--seeds 0"),
        (("--truth", "missing.json"), "missing.json"),
    ],
)
def test_a_mistake_is_one_line(
    tiem: Run, sample: tuple[object, ...], options: tuple[object, ...], message: str
) -> None:
    """It names the value, and ends the command before anything is explained."""
    done = tiem("compare", *sample, *options)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tiem: ")]
    assert message in line


def test_stored_results_are_measured_as_fresh_ones(
    tiem: Run, sample: tuple[object, ...], tmp_path: Path
) -> None:
    """evaluate says of a stored result what compare says of the same explanation; without arrays it
    says what the frames' areas can, and why no more; a file that is none is one line."""
    options = ("--signature", "2.25s-3.5s", "--steps", 8, "--json")
    tiem("explain", *sample, "--iterations", 8, "--format", "json,npz", "-o", "out")
    (row,) = json.loads(tiem("evaluate", "out", *options).stdout)["rows"]
    fresh = tiem("compare", *sample, "--methods", "tiem", "--iterations", 8, *options)
    (expected,) = json.loads(fresh.stdout)["rows"]
    for name, found in expected["metrics"].items():
        assert row["metrics"][name] == pytest.approx(found["mean"], abs=2e-3), name
    tiem("explain", *sample, "--iterations", 8, "--format", "json", "-o", "bare")
    done = tiem("evaluate", "bare", *options)
    (bare,) = json.loads(done.stdout)["rows"]
    assert "--format npz" in bare["missing"]
    assert bare["metrics"]["temporal_pointing"] == pytest.approx(
        row["metrics"]["temporal_pointing"], abs=0.5
    )
    (tmp_path / "out/broken.tiem.json").write_text("{}")
    done = tiem("evaluate", "out", "--steps", 0)
    assert done.returncode == 1
    assert "broken.tiem.json is no result" in done.stderr
    assert "clip.mp4" in done.stdout


def test_truth_files_say_when_and_where(
    tiem: Run, sample: tuple[object, ...], tmp_path: Path
) -> None:
    """Boxes are source pixels on source frames; what they show is found by pointing and overlap."""
    frames = range(96)
    truth = {"clip": {"signature": [2.25, 3.5], "boxes": [[f, 0, 0, 384, 288] for f in frames]}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    done = tiem(
        "compare", *sample, "--methods", "center", "--truth", "truth.json", "--json", *QUICK
    )
    (row,) = json.loads(done.stdout)["rows"]
    assert row["metrics"]["spatial_pointing"]["mean"] == 100
    assert row["metrics"]["iou"]["mean"] == pytest.approx(0.1, abs=1e-3)


def test_methods_that_all_refuse_write_nothing(
    tiem: Run, sample: tuple[object, ...], tmp_path: Path
) -> None:
    """A line each, once, and the error's own exit code."""
    done = tiem("compare", *sample, "--methods", "saliency-tubes", "--json", "-o", "out", *QUICK)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len([line for line in done.stderr.splitlines() if line.startswith("tiem: ")]) == 1
    assert not list((tmp_path / "out").iterdir())


def test_what_one_method_cannot_be_asked_leaves_the_others(
    tiem: Run, sample: tuple[object, ...]
) -> None:
    """Gradients without gradients are that method's refusal; a target that there is not ends all."""
    options = ("--methods", "center,gradient", "--backend", "finite-difference", "--json", *QUICK)
    done = tiem("compare", *sample, *options)
    assert done.returncode == 1
    assert [row["method"] for row in json.loads(done.stdout)["rows"]] == ["center"]
    assert "--method gradient" in done.stderr
    done = tiem("compare", *sample, "--target", "yodel", *options)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("tiem: ")]) == 1
    assert "--target yodel" in done.stderr


def test_an_area_that_keeps_nothing_is_no_nan(tiem: Run, sample: tuple[object, ...]) -> None:
    """What a mask without a pixel points at is not known: it is left out of table and JSON."""
    options = ("--methods", "center", "--area", "0.000001", "--signature", "7-15", *QUICK)
    done = tiem("compare", *sample, *options, "--json")
    (row,) = json.loads(done.stdout, parse_constant=pytest.fail)["rows"]
    assert "temporal_pointing" not in row["metrics"]
    assert "insertion" in row["metrics"]
    done = tiem("compare", *sample, *options)
    assert done.returncode == 0
    assert "0.0001% of the clip" in done.stdout


def test_variables_set_options_and_tiem_toml_is_of_explain(
    tiem: Run, sample: tuple[object, ...], tmp_path: Path
) -> None:
    """TIEM_METHODS and its like; what tiem.toml says of explain does not end a comparison."""
    (tmp_path / "tiem.toml").write_text('alpha = 0.5\nformat = "npz"\nareas = [0.2, 0.3]\n')
    done = tiem("compare", *sample, "--json", *QUICK, TIEM_METHODS="random,center,random")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [row["method"] for row in told["rows"]] == ["random", "center"]
    assert told["area"] == 0.1


def test_a_clip_is_one_file(tiem: Run, sample: tuple[object, ...], root: Path) -> None:
    """A folder is not compared."""
    done = tiem("compare", root / "samples", *sample[1:])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tiem: ")]
    assert "is a folder, not a clip" in line


def test_a_preset_fits_its_areas_and_shows_the_common_one(
    tiem: Run, sample: tuple[object, ...]
) -> None:
    """best keeps as much as the others do, though it fits a dozen areas."""
    done = tiem("compare", *sample, "--methods", "best,center", "--area", "0.13", "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["rows"]:
        assert np.mean(row["frame_areas"]) == pytest.approx(0.13, abs=1e-3)


@pytest.mark.parametrize(
    ("labels", "outputs", "target"),
    [((), [0.1, 0.9], "1"), (("a", "b"), [0.1, 0.9], "1"), (("1", "0"), [0.9, 0.1], "1")],
)
def test_the_common_target_is_the_first_answer_even_where_labels_are_numbers(
    labels: tuple[str, ...], outputs: list[float], target: str
) -> None:
    """A label that reads as another's index is named by the label."""
    scores = np.array(outputs)
    assert common_target(None, scores, labels) == target
    assert resolve_target(target, scores, labels) == scores.argmax()


def test_all_stands_for_every_method() -> None:
    """Each comes once, in the order it is named."""
    assert contestants("rise,all")[0] == "rise"
    assert set(contestants("rise,all")) == set(METHODS)
    assert contestants("tiem, best") == ("tiem", "best")
    assert contestants("rise,rise,tiem,rise") == ("rise", "tiem")


def test_a_preset_gives_way_to_what_is_given() -> None:
    """best changes the defaults; a flag that is given stays; paper changes nothing."""
    wished = Settings(tis_aggregate="nnls", areas=(0.3,))
    assert with_preset(wished, "best", {"tis_aggregate", "area"}).areas == (0.3,)
    assert with_preset(wished, "best", {"tis_aggregate"}).tis_aggregate == "nnls"
    assert with_preset(wished, "paper", set()) == wished
    best = with_preset(Settings(), "best", set())
    for name, value in PRESETS["best"].items():
        assert getattr(best, name) == value


def test_a_preset_is_compared_at_the_area_of_the_others() -> None:
    """Whatever areas it fits, the one that is compared is among them."""
    chosen = settings_of("best", Settings(), 0.13)
    assert chosen.method == "tiem"
    assert chosen.areas is not None
    assert 0.13 in chosen.areas
    with pytest.raises(UsageError, match="--method magic"):
        method("magic")


def test_cells_are_no_finer_than_pixels(tiem: Run, sample: tuple[object, ...]) -> None:
    """However many are asked for, the grid fits into memory: it is that of one cell a pixel."""
    options = ("--iterations", 2, "--format", "json", "--json", "--backend", "autograd")
    many, all_pixels = (
        json.loads(tiem("explain", *sample, *options, "--cells", cells, "-o", str(cells)).stdout)
        for cells in (100_000, 64)
    )
    scores = [told["results"][0]["masks"][0]["score"] for told in (many, all_pixels)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
