"""Real clips in real networks, by the command as a user types it."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

pytestmark = [pytest.mark.shared, pytest.mark.slow]

BACKENDS = ("autograd", "finite-difference")


def explained(folder: Path, clip: Path, network: Path, *options: object) -> dict:
    """The result of `tiem explain clip -m network options`, whose video has been checked."""
    command = [sys.executable, "-m", "tiemcli", "explain", clip, "-m", network, "-o", folder]
    words = [str(word) for word in (*command, "--json", *options)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    with av.open(folder / result["files"]["masked"]) as masked, av.open(clip) as source:
        written, read = masked.streams.video[0], source.streams.video[0]
        assert written.average_rate == Fraction(result["clip"]["fps"])
        assert (written.width, written.height) == (read.width, read.height)
        assert sum(1 for _ in masked.decode(written)) == sum(1 for _ in source.decode(read))
    return result


def test_a_cnn_lstm_sees_biking_by_both_backends(shared_data: Path, tmp_path: Path) -> None:
    """The network says Biking above .9, and queries alone keep a score within .05 of what gradients
    keep at the same area."""
    scores = {}
    for backend in BACKENDS:
        result = explained(
            tmp_path / backend,
            shared_data / "demo/v_Biking_g06_c03.avi",
            shared_data / "models/ucf50_lrcn.onnx",
            *("--labels", "Biking,Diving,GolfSwing,Punch,Rowing", "--backend", backend),
        )
        assert result["backend"] == backend
        assert result["target"]["label"] == "Biking"
        assert result["target"]["score"] > 0.9
        scores[backend] = result["masks"][0]["score"]
    assert abs(scores["autograd"] - scores["finite-difference"]) < 0.05


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_network_over_frames_sees_the_bottle_when_it_is_there(
    backend: str, shared_data: Path, tmp_path: Path
) -> None:
    """A batch fixed at 1. The answer is a mean over frames, so the two that show no bottle, at about
    19 and 21 s, are the least important."""
    result = explained(
        tmp_path,
        shared_data / "demo/bottle-detection.mp4",
        shared_data / "models/efficientnet_lite0_avg16.onnx",
        *("--backend", backend, "--resize", "crop", "--target", 898),
        *("--iterations", 8, "--queries", 60, "--windows", "1,2"),
    )
    assert result["backend"] == backend
    assert set(np.argsort(result["temporal"]["importance"])[:2]) == {7, 8}
    assert result["masks"][0]["score"] > result["base"]["score"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_network_over_frames_sees_the_bow(
    backend: str, shared_data: Path, tmp_path: Path
) -> None:
    """The archer's bow is what is answered, and the mask keeps more of it than blur leaves: much more
    by gradients, a little by so few queries."""
    result = explained(
        tmp_path,
        shared_data / "demo/archery_ucf.avi",
        shared_data / "models/efficientnet_lite0_avg16.onnx",
        *("--backend", backend, "--iterations", 8, "--queries", 60, "--windows", "1"),
    )
    assert result["target"]["index"] == 456
    assert result["target"]["score"] > 0.35
    gain = result["masks"][0]["score"] - result["base"]["score"]
    assert gain > (0.05 if backend == "autograd" else 0)


def silhouettes(shared_data: Path, key: str, path: Path) -> Path:
    """A clip of one silhouette sequence, which the archive holds as packed bits."""
    packed = np.load(shared_data / "dev/weizmann_dev_masks.npz")[key]
    frames = np.unpackbits(packed, axis=2)[:, :, :180] * np.uint8(255)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = 144, 180, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_silhouette_network_sees_waving(backend: str, shared_data: Path, tmp_path: Path) -> None:
    """One channel, a batch fixed at 1: two arms that wave are what the 3-D CNN answers."""
    result = explained(
        tmp_path,
        silhouettes(shared_data, "daria_wave2", tmp_path / "wave2.mp4"),
        shared_data / "models/weizmann_tiny3d.onnx",
        *("--labels", "bend,jack,jump,pjump,run,side,skip,walk,wave1,wave2"),
        *("--sampling", "center", "--backend", backend),
    )
    assert result["backend"] == backend
    assert result["target"]["label"] == "wave2"
    assert result["masks"][0]["score"] > result["base"]["score"]


def test_every_odd_file_ends_in_a_result_or_a_reason(shared_data: Path, tmp_path: Path) -> None:
    """No file of the collection ends in a traceback or in half a file."""
    clips = [p for p in sorted((shared_data / "robust").iterdir()) if p.name != "MANIFEST.tsv"]
    command = [sys.executable, "-m", "tiemcli", "explain", "-o", tmp_path, "--jsonl"]
    command += ["-m", shared_data / "models/ucf50_lrcn.onnx", "--iterations", 1, *clips]
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    failures = {Path(o["path"]).name: o["error"] for o in outcomes if "error" in o}
    assert len(outcomes) == len(clips)
    assert set(failures) >= {"empty_zero_byte.webm", "made_random_bytes.mp4", "made_text.mp4"}
    assert len(failures) <= 4
    finished = {Path(o["clip"]["path"]).stem for o in outcomes if "error" not in o}
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"{stem}{end}" for stem in finished for end in (".tiem.json", ".masked.mp4")}
