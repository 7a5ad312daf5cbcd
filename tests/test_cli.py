"""The command as a process: exit codes, clean stdout, what is written and what is not."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest

from tiemcli.command import parse_memory
from tiemcli.scorers.session import has_cuda

Run = Callable[..., subprocess.CompletedProcess[str]]


def one_line(stderr: str) -> str:
    """The error, which is one line, and no traceback."""
    lines = [line for line in stderr.splitlines() if line.startswith("tiem: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    return lines[0]


QUICK = ("--queries", 60, "--iterations", 3)


def test_explain_writes_a_result_and_a_video(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """A real clip: the JSON meets its schema, the MP4 has the source's frames, rate and size, and
    with --format npz the arrays are the exact input and the masks."""
    done = tiem(
        "explain", bikes, "-m", build_network(), "-o", "out", "--format", "mp4,json,npz", "--areas",
        ".1,.3", "--labels", "a,b,c,d,e", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "peak at" in done.stdout
    result = json.loads((tmp_path / "out/bikes.tiem.json").read_text())
    jsonschema.validate(result, json.loads(tiem("schema").stdout))
    assert result["schema"] == "tiem/1"
    assert result["clip"]["frames"] == 250
    assert sum(result["temporal"]["importance"]) == pytest.approx(1)
    assert len(result["temporal"]["windows"]) == 4
    assert [mask["area"] for mask in result["masks"]] == [0.1, 0.3]
    assert "assumed: layout NCTHW" in done.stderr
    with av.open(bikes) as source, av.open(tmp_path / "out/bikes.masked.mp4") as masked:
        a, b = source.streams.video[0], masked.streams.video[0]
        assert (a.width, a.height, a.average_rate) == (b.width, b.height, b.average_rate)
        assert b.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in masked.decode(b)) == 250
    arrays = np.load(tmp_path / "out/bikes.tiem.npz")
    assert arrays["input"].shape == arrays["base"].shape == (1, 3, 4, 12, 16)
    assert arrays["keep_hard"].shape == arrays["keep_soft"].shape == (2, 4, 12, 16)
    np.testing.assert_allclose(arrays["importance"], result["temporal"]["importance"])
    assert arrays["windows"].shape == (10, 4)
    areas = arrays["keep_hard"].mean(axis=(2, 3))
    np.testing.assert_allclose(areas[1], result["masks"][1]["frame_areas"], atol=1 / 192)
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["bikes.masked.mp4", "bikes.tiem.json", "bikes.tiem.npz"]


@pytest.mark.parametrize("backend", ["autograd", "finite-difference"])
def test_both_backends_from_the_same_command(
    backend: str, tiem: Run, bikes: Path, build_network: Callable[..., Path]
) -> None:
    """--backend alone changes how masks are fitted; --json prints the result and nothing else."""
    done = tiem(
        "explain", bikes, "-m", build_network(), "--backend", backend, "--format", "json", "--json",
        *QUICK,
    )  # fmt: skip
    (result,) = json.loads(done.stdout)["results"]
    assert result["backend"] == backend
    assert (result["cost"]["backwards"] > 0) == (backend == "autograd")
    assert set(result["files"].values()) == {None}


def test_a_finished_clip_is_not_explained_again(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """The same command skips it; another setting, or -f, does not."""
    command = ("explain", bikes, "-m", build_network(), "--format", "json", *QUICK)
    tiem(*command)
    path = tmp_path / "bikes.tiem.json"
    first = path.stat().st_mtime_ns
    assert "explained before" in tiem(*command).stdout
    assert path.stat().st_mtime_ns == first
    tiem(*command, "--seed", 1)
    second = path.stat().st_mtime_ns
    assert second > first
    tiem(*command, "--seed", 1, "-f")
    assert path.stat().st_mtime_ns > second


def test_a_bad_clip_does_not_stop_the_others(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """Its reason is told, in the document too, the rest is explained, and the exit code is 1."""
    (tmp_path / "text.mp4").write_text("no video")
    done = tiem(
        "explain",
        "text.mp4",
        bikes,
        "-m",
        build_network(),
        "--format",
        "json",
        "--json",
        "-q",
        *QUICK,
    )
    assert done.returncode == 1
    assert "text.mp4" in one_line(done.stderr)
    document = json.loads(done.stdout)
    assert len(document["results"]) == 1
    (failure,) = document["failures"]
    assert failure["path"] == "text.mp4"
    assert failure["error"]
    assert failure["hint"]


def test_jsonl_prints_a_line_as_each_clip_finishes(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """One JSON object a line, results and failures in the order of the clips."""
    (tmp_path / "text.mp4").write_text("no video")
    done = tiem(
        "explain", bikes, "text.mp4", "-m", build_network(), "--format", "json", "--jsonl", *QUICK
    )
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["schema"] == "tiem/1"
    assert second["path"] == "text.mp4"


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--model", "missing.onnx"), 3, "missing.onnx"),
        (("--model", "empty.onnx"), 3, "empty"),
        (("--model", "noise.onnx"), 3, "not an ONNX network"),
        (("--model", "image.onnx"), 3, "--layout"),
        (("--target", "dancing", "--labels", "a,b,c,d,e"), 2, "dancing"),
        (("--target", "7"), 2, "0 to 4"),
        (("--labels", "a,b"), 3, "2 labels"),
        (("--area", "0"), 2, "--area 0"),
        (("--area", "2"), 2, "--area 2"),
        (("--areas", ".1,x"), 2, "--areas"),
        (("--areas", ".1", "--area", ".1"), 2, "one of them"),
        (("--windows", "1,99"), 2, "99"),
        (("--format", "bmp"), 2, "bmp"),
        (("--start", "99"), 1, "--start"),
        (("--device", "cuda:0"), 3, "cuda"),
        (("--device", "tpu"), 2, "tpu"),
        (("--target-score", "2"), 2, "probability"),
        (("--iterations", "0"), 2, "--iterations"),
        (("--stride", "0"), 2, "--stride"),
        (("--scale", "nan"), 2, "--scale"),
        (("--scale", "0"), 2, "--scale"),
        (("--output", "out"), 2, "-o"),
        (("--target", "²"), 2, "²"),
        (("--json", "--jsonl"), 2, "one of them"),
        (("--batch-size", "0"), 2, "--batch-size"),
        (("--memory", "0GB"), 2, "--memory"),
        (("--memory", "plenty"), 2, "--memory"),
        (("--memory", "9" * 400), 2, "--memory"),
        (("-o", "file"), 2, "file"),
        (("--mean", "x"), 2, "--mean"),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(
    options: tuple[str, ...],
    code: int,
    word: str,
    tiem: Run,
    bikes: Path,
    build_network: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """What is wrong and what to do stand in one line, nothing is written, and stdout is empty."""
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "file").write_text("not a folder")
    build_network("image.onnx", layout="TCHW", batch=None)
    given = options if "--model" in options else (*options, "--model", build_network())
    if "--device" in options and options[1] == "cuda:0" and has_cuda():
        pytest.skip("this machine has a CUDA device, which comes up")
    done = tiem("explain", bikes, *QUICK, *given)
    assert done.returncode == code, done.stderr
    assert word in one_line(done.stderr)
    assert done.stdout == ""
    assert not list(tmp_path.glob("*.json"))
    assert not list(tmp_path.glob("*.mp4"))


def test_options_come_from_flags_then_variables_then_tiem_toml(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """Flag > TIEM_* > tiem.toml > default."""
    (tmp_path / "tiem.toml").write_text('alpha = 0.5\nseed = 3\nbase = "mean"\nformat = "json"\n')
    done = tiem(
        "explain", bikes, "-m", build_network(), "--json", "--seed", 5, *QUICK,
        TIEM_BASE="black", TIEM_SEED="4",
    )  # fmt: skip
    (result,) = json.loads(done.stdout)["results"]
    assert result["settings"]["alpha"] == 0.5
    assert result["settings"]["base"] == "black"
    assert result["seed"] == 5


def test_a_dry_run_writes_nothing(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """-n says what would be explained, and into what."""
    done = tiem("explain", bikes, "-m", build_network(), "-o", "out", "-n")
    assert done.stdout == f"{bikes} -> out/bikes.tiem.json\n"
    assert not (tmp_path / "out").exists()


def test_two_clips_of_one_name_get_results_by_their_whole_names(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """They would overwrite each other's; two of one whole name are refused."""
    network = build_network()
    shutil.copy(bikes, tmp_path / "bikes.m4v")
    done = tiem("explain", bikes, "bikes.m4v", "-m", network, "-n", "-o", "out")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{bikes} -> out/bikes.mp4.tiem.json",
        "bikes.m4v -> out/bikes.m4v.tiem.json",
    ]
    done = tiem("explain", bikes, tmp_path / "other" / "bikes.mp4", "-m", network)
    assert done.returncode == 2
    assert "would both write" in one_line(done.stderr)


def test_every_format_is_written_and_named(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """Page, pictures and arrays lie beside the result, which names them."""
    formats = ("--format", "mp4,json,html,png,gif,svg,npz", "--style", "overlay")
    done = tiem("explain", bikes, "-m", build_network(), *formats, "--json", "-o", "out", *QUICK)
    assert done.returncode == 0, done.stderr
    named = json.loads(done.stdout)["results"][0]["files"]
    written = {path.name for path in (tmp_path / "out").iterdir()} - {"bikes.tiem.json"}
    assert {name for name in named.values() if name is not None} == written
    assert len(written) == 6


def test_the_doctor_finds_this_installation_well(tiem: Run) -> None:
    """Where these tests run nothing fails, and --json is one document."""
    checks = json.loads(tiem("doctor", "--json").stdout)["checks"]
    assert {check["status"] for check in checks} <= {"ok", "warn"}
    assert tiem("doctor").stdout.count("\n") >= len(checks)


def test_the_demo_finds_what_is_known(tiem: Run, tmp_path: Path) -> None:
    """At least 60 % of the sample's temporal importance falls on its signature frames."""
    done = tiem("demo")
    assert done.returncode == 0, done.stderr
    found = re.search(r"(\d+)% of the temporal importance", done.stdout)
    assert found
    assert int(found[1]) >= 60
    result = json.loads((tmp_path / "tiem-demo/clip.tiem.json").read_text())
    page = (tmp_path / "tiem-demo/clip.tiem.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert tiem("report", "tiem-demo").stdout == f"{Path('tiem-demo/index.html')}\n"
    with av.open(tmp_path / "tiem-demo/clip.masked.mp4") as masked:
        stream = masked.streams.video[0]
        assert Fraction(result["clip"]["fps"]) == stream.average_rate
        assert sum(1 for _ in masked.decode(stream)) == result["clip"]["frames"] == 96


@pytest.mark.parametrize("encoding", ["cp437", "cp1252", "ascii"])
def test_a_code_page_shows_when(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], encoding: str
) -> None:
    """Where a terminal has no blocks, bars are letters that it has, and nothing is a question mark."""
    done = tiem(
        *("explain", bikes, "-m", build_network(), "--format", "json", *QUICK),
        PYTHONIOENCODING=encoding,
        PYTHONUTF8="0",
    )
    assert done.returncode == 0, done.stderr
    [bars] = re.findall(r"^when    (\S+)  peak at", done.stdout, re.MULTILINE)
    assert set(bars) <= set(".:-=+*#@")
    assert "@" in bars
    assert len(bars) == 4


def test_help_needs_nothing_heavy(tiem: Run) -> None:
    """--help imports neither the runtimes nor the decoders."""
    code = (
        "import sys; sys.argv = ['tiem', 'explain', '--help']\n"
        "from tiemcli.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'cv2', 'av', 'numpy', 'rich.console'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "--backend" in done.stdout
    assert "loaded: []" in done.stdout, done.stdout[-200:]


def test_names_of_any_kind_are_told_as_they_are(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """Brackets, spaces, other scripts and a leading dash are no markup and no option."""
    names = ["a [bold] b.mp4", "e[b] [red].mp4", "клип 日本.mp4", "-dash.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(bikes.read_bytes())
    done = tiem("explain", "-m", build_network(), "--format", "json", *QUICK, "--", *names)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert f"clip    {name}\n" in done.stdout
        assert (tmp_path / Path(name).with_suffix(".tiem.json").name).exists()
    assert "4 explained, 0 failed" in done.stderr


def test_a_changed_net_toml_explains_anew(
    tiem: Run, bikes: Path, build_network: Callable[..., Path]
) -> None:
    """A result stands only while all that decides it is the same, wherever it is said."""
    network = build_network()
    command = ("explain", bikes, "-m", network, "--format", "json", *QUICK)
    tiem(*command)
    assert "(explained before)" in tiem(*command, "-n").stdout
    network.with_suffix(".toml").write_text("mean = 0.4\n")
    assert "(explained before)" not in tiem(*command, "-n").stdout
    assert "explained before" not in tiem(*command).stdout


def test_what_a_network_was_fed_stands_in_the_result(
    tiem: Run, bikes: Path, build_network: Callable[..., Path]
) -> None:
    """Size, scale, mean and the rest can be read off, whoever said them."""
    options = ("--json", "--format", "json", "--mean", ".4,.5,.6", "--resize", "crop")
    done = tiem("explain", bikes, "-m", build_network(), *options, *QUICK)
    model = json.loads(done.stdout)["results"][0]["model"]
    assert model["reading"]["mean"] == [0.4, 0.5, 0.6]
    assert model["reading"]["resize"] == "crop"
    assert (model["reading"]["height"], model["reading"]["width"]) == (12, 16)
    assert model["assumed"] == ["layout NCTHW", "color rgb", "output logits"]


def test_a_stronger_source_decides_between_area_and_areas(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """A flag wins over a variable, a variable over tiem.toml, though the options differ."""
    (tmp_path / "tiem.toml").write_text('areas = [0.1, 0.2, 0.3]\nformat = "json"\n')
    command = ("explain", bikes, "-m", build_network(), "--json", *QUICK)

    def areas(*options: str, **variables: str) -> list[float]:
        (result,) = json.loads(tiem(*command, *options, **variables).stdout)["results"]
        return [mask["area"] for mask in result["masks"]]

    assert areas() == [0.1, 0.2, 0.3]
    assert areas(TIEM_AREA=".4") == [0.4]
    assert areas("--areas", ".5,.6", TIEM_AREA=".4") == [0.5, 0.6]


def test_an_unknown_option_in_tiem_toml_is_an_error(
    tiem: Run, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """A misspelt name is not passed over in silence."""
    (tmp_path / "tiem.toml").write_text("aera = 0.05\n")
    done = tiem("explain", bikes, "-m", build_network(), *QUICK)
    assert done.returncode == 2
    assert "aera" in one_line(done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_stdout_is_one_line(tiem: Run) -> None:
    """What cannot be printed ends the command without a traceback."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tiemcli", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "nothing more can be printed" in one_line(done.stderr)


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_finished(
    interrupt: signal.Signals, bikes: Path, build_network: Callable[..., Path], tmp_path: Path
) -> None:
    """Ctrl-C or `kill` after the first clip: its result is there and printed, the exit code 130."""
    second = tmp_path / "second.mp4"
    second.write_bytes(bikes.read_bytes())
    command = [sys.executable, "-m", "tiemcli", "explain", bikes, second, "--json", "-o", tmp_path]
    command += ["-m", build_network(), "--backend", "finite-difference", "--format", "json"]
    process = subprocess.Popen(
        [*map(str, command), "--queries", "20000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / "bikes.tiem.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)  # for the worker to tell of it
    process.send_signal(interrupt)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert len(json.loads(stdout)["results"]) == 1
    assert "interrupted" in stderr
    assert not list(tmp_path.glob("second.tiem*"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", None),
        ("4GB", 4_000_000_000),
        ("1.5GiB", 3 << 29),
        ("500 mb", 500_000_000),
        ("64", 64),
    ],
)
def test_memory_is_read_as_people_write_it(text: str, expected: int | None) -> None:
    """Decimal units, binary ones, or bytes."""
    assert parse_memory(text) == expected


def test_scores_are_the_same_without_reuse(tiem: Run, root: Path) -> None:
    """The sample network shares work between windows, at less than its evaluations; told not to, it
    gives the same drops."""
    samples = root / "samples"
    told = ("--json", "--format", "json", "--backend", "finite-difference", "--queries", 2)
    results = []
    for reuse in ("auto", "off"):
        options = (*told, "-o", reuse, "--reuse", reuse, "--memory", "200MB")
        done = tiem("explain", samples / "clip.mp4", "-m", samples / "net.onnx", *options)
        (result,) = json.loads(done.stdout)["results"]
        results.append(result)
    shared, whole = results
    assert "once" in shared["model"]["reuse"]
    assert whole["model"]["reuse"] is None
    assert shared["cost"]["computed"] < 0.5 * shared["cost"]["forwards"]
    assert whole["cost"]["computed"] == whole["cost"]["forwards"]
    for one, other in zip(shared["temporal"]["windows"], whole["temporal"]["windows"], strict=True):
        np.testing.assert_allclose(one["drop"], other["drop"], atol=1e-5)
