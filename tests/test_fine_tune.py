"""Fine-tuning on labelled clips: what is found, how it is split, and that something is learned."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tiemcli.errors import DeviceError, UsageError
from tiemcli.exporters.original import Wanted
from tiemcli.exporters.paper import KINDS, facts_of, load, read_weights, untrained
from tiemcli.facts import Facts
from tiemcli.preprocess import Preprocessing
from tiemcli.progress import Silent
from tiemcli.samples import labelled, tune
from tiemcli.samples.fit import RECIPES, Epoch, Lesson, Recipe, batches, fit, measure
from tiemcli.samples.labelled import Labelled, Split
from tiemcli.samples.tune import device_of, preprocessing_of
from tiemcli.terminal import Terminal

SIZE = (32, 32)
FRAMES = 4
LABELS = ("falling", "rising")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch computes on one thread, as quickly for so little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_clip(path: Path, label: str, seed: int) -> None:
    """Write 8 frames of 48×32 over which a light bar falls on blue, or rises on red."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", 8, options={"qscale": "3"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for step in range(8):
            frame = rng.integers(0, 40, (32, 48, 3), np.uint8)
            frame[..., 0 if label == "rising" else 2] += 140
            row = 4 * (7 - step if label == "rising" else step)
            frame[row : row + 4] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of each of two labels, one of them no video."""
    folder = tmp_path_factory.mktemp("clips")
    for number, label in enumerate(LABELS):
        for clip in range(4):
            path = folder / label / f"v_{label}_g0{clip}_c01.avi"
            write_clip(path, label, 10 * number + clip)
    (folder / "falling" / "v_falling_g09_c01.avi").write_bytes(b"no video")
    (folder / "falling" / "notes.txt").write_text("no clip")
    return folder


def many(groups: int, clips: int) -> Labelled:
    """Two labels with so many videos, of each so many clips, as UCF101 names them."""
    paths = [
        Path(label) / f"v_{label}_g{group:02}_c{clip:02}.avi"
        for label in ("Diving", "Surfing")
        for group in range(groups)
        for clip in range(clips)
    ]
    return Labelled(("Diving", "Surfing"), tuple(paths), np.repeat([0, 1], groups * clips))


def small_facts(name: str) -> Facts:
    return Facts(frames=FRAMES, size=SIZE).over(facts_of(KINDS[name]))


def parts_of(split: Split) -> list[list[int]]:
    return [part.tolist() for part in (split.training, split.validation, split.test)]


def test_the_recipes_are_the_papers() -> None:
    """Appendix B: Adam at 1e-3 for 50 epochs, and at 5e-5 for 100."""
    rates = {name: (recipe.rate, recipe.epochs) for name, recipe in RECIPES.items()}
    assert rates == {"r2plus1d-18": (1e-3, 50), "resnet50-lstm": (5e-5, 100)}
    assert RECIPES.keys() == KINDS.keys()


def test_the_split_keeps_the_papers_shares_and_videos_whole() -> None:
    """Of 100 videos a class 70 train, 21 validate and 9 test; no video is on two sides."""
    clips = many(100, 3)
    split = labelled.split(clips, np.random.default_rng(0), None)
    parts = parts_of(split)
    assert [len(part) for part in parts] == [2 * 3 * n for n in (70, 21, 9)]
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(600))
    for label in (0, 1):
        assert [np.count_nonzero(clips.classes[part] == label) for part in parts] == [210, 63, 27]
    videos = [{clips.paths[i].stem.rpartition("_")[0] for i in part} for part in parts]
    assert sum(map(len, videos)) == len(set.union(*videos)) == 200


def test_the_split_is_the_seeds() -> None:
    """One seed splits in one way, another seed in another."""
    clips = many(20, 1)
    first, second, other = (
        parts_of(labelled.split(clips, np.random.default_rng(seed), None)) for seed in (1, 1, 2)
    )
    assert first == second != other


def test_few_clips_are_still_validated() -> None:
    """Two videos a class give one to each side; with one, the label is named."""
    split = labelled.split(many(2, 1), np.random.default_rng(0), None)
    assert [len(part) for part in parts_of(split)] == [2, 2, 0]
    with pytest.raises(UsageError, match="Diving: too few videos to learn from: 1"):
        labelled.split(many(1, 5), np.random.default_rng(0), None)


def test_a_train_list_leaves_the_others_for_the_test(tmp_path: Path) -> None:
    """As in UCF101's trainlist01.txt, a name and a number a line; 70 to 21 of them train."""
    clips = many(26, 2)
    lines = [f"{p.as_posix()} 7\n" for p in clips.paths if not p.stem.endswith("g25_c01")]
    names = tmp_path / "trainlist01.txt"
    names.write_text("".join(line for line in lines if "_g00_" not in line))
    listed = labelled.read_list(names)
    parts = parts_of(labelled.split(clips, np.random.default_rng(0), listed))
    assert {clips.paths[i].stem for i in parts[2]} == {
        p.stem for p in clips.paths if "_g00_" in p.stem or p.stem.endswith("g25_c01")
    }
    # 25 listed videos a class: 25 · 70/91 = 19.2 train. One of them has a single listed clip.
    assert abs(len(parts[0]) - 2 * 2 * 19) <= 2
    with pytest.raises(UsageError, match="--train-list"):
        labelled.read_list(tmp_path / "absent.txt")


def test_clips_are_read_as_explain_reads_them(folder: Path) -> None:
    """Each is scaled to cover the size, cropped in its centre, and sampled in T equal parts; what
    cannot be read is told and left out."""
    facts = small_facts("r2plus1d-18")
    told: list[str] = []
    clips, pixels = labelled.decode(
        labelled.find(folder), FRAMES, preprocessing_of(facts), Silent(), told.append
    )
    assert clips.labels == LABELS
    assert clips.classes.tolist() == [0] * 4 + [1] * 4
    assert pixels.shape == (8, FRAMES, 32, 32, 3)
    assert len(told) == 1
    assert "g09" in told[0]
    with av.open(clips.paths[5]) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    expected = np.stack([frames[i][:, 8:40] for i in (1, 3, 5, 7)])
    np.testing.assert_array_equal(pixels[5], expected)


def test_a_folder_without_labels_is_an_error(tmp_path: Path) -> None:
    """What is missing, and how it should look, is one line."""
    with pytest.raises(UsageError, match="no such folder"):
        labelled.find(tmp_path / "absent")
    write_clip(tmp_path / "rising" / "a.avi", "rising", 0)
    with pytest.raises(UsageError, match="too few labels among its clips: 1"):
        labelled.find(tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_is_fed_as_its_facts_say(name: str) -> None:
    """Pixels are scaled, less the mean, over the deviation, in its layout; flips are mirrored."""
    kind = KINDS[name]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 5, 3), np.uint8)
    preprocessing = preprocessing_of(Facts(frames=2, size=(4, 5)).over(facts_of(kind)))
    lesson = Lesson(pixels, np.zeros(3, np.int64), preprocessing, kind.layout, torch.device("cpu"))
    fed = lesson.clips(np.array([2, 0]), np.array([False, True])).numpy()
    order = "NCTHW" if name == "r2plus1d-18" else "NTCHW"
    for place, clip in enumerate((pixels[2], pixels[0][:, :, ::-1])):
        scaled = (clip / 255.0 - np.array(kind.mean)) / np.array(kind.std)
        axes = {"T": 0, "H": 1, "W": 2, "C": 3}
        expected = scaled.transpose([axes[letter] for letter in order[1:]])
        np.testing.assert_allclose(fed[place], expected, atol=1e-5)
    assert pixels[0, 0, 0, 0].tolist() == lesson.pixels[0, 0, 0, 0].tolist()


def test_batches_hold_every_clip_once_and_none_is_small() -> None:
    """Eleven clips by four are two parts, not three with a rest of three."""
    parts = batches(np.arange(11), 4)
    assert [len(part) for part in parts] == [6, 5]
    assert np.concatenate(parts).tolist() == list(range(11))
    assert [len(part) for part in batches(np.arange(3), 16)] == [3]


def test_what_is_measured_is_mean_loss_and_share_of_right_answers() -> None:
    """Of four clips, two of which are called what they are, whatever the size of a batch."""
    pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1, 1).repeat(3, 4)
    classes = np.array([0, 1, 1, 0])
    preprocessing = Preprocessing(1, 1, "rgb", "crop", 1.0, (0.0,) * 3, (1.0,) * 3)
    lesson = Lesson(pixels, classes, preprocessing, "NCTHW", torch.device("cpu"))

    class Answers(torch.nn.Module):
        """Logits (0, first pixel - 1.5): class 1 for clips 2 and 3."""

        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            first = clip.flatten(1)[:, :1]
            return torch.cat([torch.zeros_like(first), first - 1.5], 1)

    losses = [
        np.log(1 + np.exp(-(logit if truth else -logit)))
        for logit, truth in zip([-1.5, -0.5, 0.5, 1.5], classes, strict=True)
    ]
    for batch in (1, 3, 4):
        loss, accuracy = measure(Answers(), lesson, np.arange(4), batch)
        assert loss == pytest.approx(np.mean(losses), rel=1e-5)
        assert accuracy == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [("r2plus1d-18", 1e-3), ("resnet50-lstm", 3e-4)])
def test_it_learns_what_can_be_told_apart(name: str, rate: float, folder: Path) -> None:
    """From random weights, in 12 steps, the loss falls below half of that of guessing, ln 2."""
    kind = KINDS[name]
    facts = small_facts(name)
    preprocessing = preprocessing_of(facts)
    clips, pixels = labelled.decode(
        labelled.find(folder), FRAMES, preprocessing, Silent(), lambda _: None
    )
    rng = np.random.default_rng(0)
    split = labelled.split(clips, rng, None)
    lesson = Lesson(pixels, clips.classes, preprocessing, kind.layout, torch.device("cpu"))
    network = untrained(name, "none", 2, 0, facts)
    epochs = list(fit(network, lesson, split, Recipe(rate, 6, 3), rng, Silent()))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1].loss < np.log(2) / 2
    assert epochs[-1].loss < epochs[0].loss / 2
    assert not network.training


def test_the_weights_written_are_those_of_the_best_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The highest validation accuracy wins, then the lowest loss, however the epochs go on."""
    network = torch.nn.Linear(1, 1)
    measured = [(0.9, 0.5), (0.7, 0.5), (0.8, 0.5), (2.0, 0.8), (0.1, 0.6)]

    def epochs(*_: object) -> Iterator[Epoch]:
        for number, (loss, accuracy) in enumerate(measured, 1):
            torch.nn.init.constant_(network.weight, number)
            yield Epoch(number, 1.0, loss, accuracy)

    written = []
    monkeypatch.setattr(tune, "fit", epochs)
    monkeypatch.setattr(tune, "write_weights", lambda *_: written.append(int(network.weight)))
    parts = Split(*(np.zeros(0, np.int64) for _ in range(3)))
    terminal = Terminal(quiet=True)
    tune.train(network, None, parts, Recipe(1, 5, 1), None, terminal, tmp_path / "w.pt", Facts())
    assert written == [1, 2, 4]


@pytest.mark.slow
def test_the_command_leaves_weights_to_export(folder: Path, tmp_path: Path) -> None:
    """Two epochs run, stdout stays clean, and the file is a network that knows its labels."""
    path = tmp_path / "weights.pt"
    done = command(folder, "--network", "resnet50-lstm", "-o", path, *SHORT)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "2 labels; 6 clips for training, 2 for validation, 0 for the test" in done.stderr
    assert "epoch 2/2: loss" in done.stderr
    assert "left out:" in done.stderr
    assert list(tmp_path.iterdir()) == [path]
    assert read_weights(path)[1] == Facts(labels=LABELS, frames=FRAMES, size=SIZE)

    original = load("resnet50-lstm", Wanted(weights=str(path)))
    assert (original.facts.labels, original.shape) == (LABELS, (1, FRAMES, 3, *SIZE))


SHORT = "--backbone none --epochs 2 --batch-size 3 --frames 4 --size 32 --device cpu".split()


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tiemcli.samples.fine_tune", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_mistakes_end_with_their_code(tmp_path: Path) -> None:
    """One line, and 2 for what was typed, 3 for a backbone or a device that is not there."""
    done = command(tmp_path, "--network", "resnet50-lstm", *SHORT)
    assert done.returncode == 2
    assert done.stderr.startswith("tiem: ")
    assert len(done.stderr.splitlines()) == 1
    assert command(tmp_path, "--network", "i3d").returncode == 2

    with pytest.raises(UsageError, match="--device gpu"):
        device_of("gpu")
    with pytest.raises(DeviceError, match="cuda:99"):
        device_of("cuda:99")
    assert device_of("cpu") == torch.device("cpu")
