"""The paper's networks have the layers of its Tables 4 and 5, and travel through weights files."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tiemcli.errors import ModelError, OutputError, UsageError
from tiemcli.exporters.original import Form, Wanted
from tiemcli.exporters.paper import (
    KINDS,
    load,
    read_weights,
    untrained,
    write_weights,
)
from tiemcli.facts import Facts

NAMES = ("r2plus1d-18", "resnet50-lstm")
SMALL = Facts(frames=4, size=(32, 32))

# (layer, output of one clip as the tables print it), the time axis of Table 5 in front.
TABLE_4 = [
    ("stem.0", (64, 16, 64, 64)),
    ("stem.1", (64, 16, 64, 64)),
    ("stem.2", (64, 16, 64, 64)),
    ("stem.3", (64, 16, 32, 32)),
    ("blocks.0", (64, 16, 32, 32)),
    ("blocks.1", (128, 8, 16, 16)),
    ("blocks.2", (256, 4, 8, 8)),
    ("blocks.3", (512, 2, 4, 4)),
    ("pool", (512, 1, 1, 1)),
    ("fc1", (400,)),
    ("fc2", (128,)),
    ("fc3", (28,)),
]
TABLE_5 = [
    ("stem.0", (64, 64, 64)),
    ("stem.1", (64, 64, 64)),
    ("stem.2", (64, 64, 64)),
    ("stem.3", (64, 32, 32)),
    ("blocks.1", (512, 16, 16)),
    ("blocks.2", (1024, 8, 8)),
    ("blocks.3", (2048, 4, 4)),
    ("pool", (2048, 1, 1)),
    ("fc1", (1024,)),
    ("fc2", (512,)),
    ("lstm", (256,)),
    ("fc3", (28,)),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch computes on one thread, as quickly for so little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random(name: str, facts: Facts = SMALL, **wanted: object) -> object:
    return load(name, Wanted(weights="none", facts=facts, **wanted))


def clips(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, *shape[1:])).astype(np.float32)


@pytest.mark.parametrize(("name", "table"), [(NAMES[0], TABLE_4), (NAMES[1], TABLE_5)])
def test_every_layer_has_the_output_of_the_table(
    name: str, table: list[tuple[str, tuple[int, ...]]]
) -> None:
    """A clip of 16 frames of 128×128 leaves each row of the table in the shape printed there."""
    kind = KINDS[name]
    network = kind.build(kind.backbone(), 28).eval()
    seen: dict[str, tuple[int, ...]] = {}
    for row, _ in table:

        def keep(_: object, __: object, output: object, row: str = row) -> None:
            steps = output[0][:, -1] if row == "lstm" else output
            seen[row] = tuple(steps.shape[1:])

        network.get_submodule(row).register_forward_hook(keep)
    axes = {"N": 1, "C": 3, "T": 16, "H": 128, "W": 128}
    with torch.no_grad():
        network(torch.zeros([axes[letter] for letter in kind.layout]))
    assert seen == dict(table)


def test_the_kernels_of_table_4() -> None:
    """The stem is one 1×7×7 convolution; blocks factorise into 1×3×3 and 3×1×1, two a row."""
    network = random(NAMES[0]).module
    assert network.stem[0].kernel_size == (1, 7, 7)
    assert network.stem[3].kernel_size == (1, 3, 3)
    for row in network.blocks:
        assert len(row) == 2
        for block in row:
            for part in (block.conv1, block.conv2):
                assert [part[0][i].kernel_size for i in (0, 3)] == [(1, 3, 3), (3, 1, 1)]


@pytest.mark.parametrize(
    ("name", "parts", "expected"),
    [
        # A matrix and a bias each: 512·400 + 400, 400·128 + 128, 128·28 + 28.
        (NAMES[0], ("fc1", "fc2", "fc3"), 205_200 + 51_328 + 3_612),
        # 2048·1024 + 1024, 1024·512 + 512; four gates of 256 with two matrices and two biases,
        # 4·(512·256 + 256·256 + 256 + 256); 256·28 + 28.
        (NAMES[1], ("fc1", "fc2", "lstm", "fc3"), 2_098_176 + 524_800 + 788_480 + 7_196),
    ],
)
def test_the_heads_have_as_many_weights_as_by_hand(
    name: str, parts: tuple[str, ...], expected: int
) -> None:
    """The fully connected layers and the LSTM have the sizes of the tables and nothing more."""
    network = random(name).module
    layers = [network.get_submodule(part) for part in parts]
    assert sum(w.numel() for layer in layers for w in layer.parameters()) == expected


def test_no_weight_of_the_resnets_own_classifier_is_left() -> None:
    """Outside its head the second network has ResNet-50's 25,557,032 weights less 2048·1000+1000."""
    network = random(NAMES[1]).module
    body = sum(w.numel() for part in (network.stem, network.blocks) for w in part.parameters())
    assert body == 25_557_032 - 2_049_000


def test_the_lstm_is_read_after_the_last_frame() -> None:
    """The answer is FC3 of a recurrence written out by hand over the frames' features."""
    original = random(NAMES[1])
    network, clip = original.module, clips(original.shape)
    with torch.no_grad():
        frames = torch.from_numpy(clip).flatten(0, 1)
        body = network.pool(network.blocks(network.stem(frames))).flatten(1)
        words = network.fc2(torch.clamp(network.fc1(body), min=0)).unflatten(0, (2, 4))
        hidden, cell = torch.zeros(2, 256), torch.zeros(2, 256)
        lstm = network.lstm
        for step in range(4):
            gates = words[:, step] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0
            gates = gates + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
            enter, forget, fresh, leave = gates.chunk(4, 1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(fresh)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
        expected = hidden @ network.fc3.weight.T + network.fc3.bias
    np.testing.assert_allclose(original.answer(clip), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_come_from_the_seed_alone(name: str) -> None:
    """One seed gives one network, whatever was drawn before; another seed another one."""
    torch.manual_seed(99)
    first, second, third = (random(name, seed=seed) for seed in (3, 3, 4))
    clip = clips(first.shape)
    np.testing.assert_array_equal(first.answer(clip), second.answer(clip))
    assert np.abs(first.answer(clip) - third.answer(clip)).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_answer_two_clips_differently(name: str) -> None:
    """Batch statistics are such that a signal comes through all layers, no larger than it was."""
    original = random(name)
    answers = original.answer(clips(original.shape))
    assert 1e-3 < np.abs(answers[0] - answers[1]).max() < 10
    assert np.abs(answers).max() < 10


@pytest.mark.parametrize("name", NAMES)
def test_the_facts_are_those_of_the_paper_unless_the_user_says_otherwise(name: str) -> None:
    """16 frames of 128×128 and 28 classes; what the user says of the input wins."""
    original = random(name, Facts(size=(32, 48)), classes=5)
    layout = {"r2plus1d-18": "NCTHW", "resnet50-lstm": "NTCHW"}[name]
    assert original.facts.layout == layout
    assert (original.facts.frames, original.facts.size) == (16, (32, 48))
    sizes = {"N": 1, "C": 3, "T": 16, "H": 32, "W": 48}
    assert original.shape == tuple(sizes[letter] for letter in layout)
    assert original.facts.output == "logits"
    assert original.module.fc3.out_features == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_from_a_file_is_in_the_network(name: str, tmp_path: Path) -> None:
    """torchvision's file fills the residual blocks, and FC1 where that is its classifier."""
    kind = KINDS[name]
    body = kind.backbone()
    torch.save(body.state_dict(), tmp_path / "body.pth")
    network = untrained(name, str(tmp_path / "body.pth"), 28, 1, Facts())
    inside, outside = network.state_dict(), body.state_dict()
    for row in range(4):
        own = {key: inside[key] for key in inside if key.startswith(f"blocks.{row}.")}
        assert own
        for key, value in own.items():
            assert torch.equal(value, outside[key.replace(f"blocks.{row}", f"layer{row + 1}")])
    if name == NAMES[0]:
        assert torch.equal(network.fc1.weight, body.fc.weight)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_file_come_out_as_onnx_with_their_labels(name: str, tmp_path: Path) -> None:
    """What was fine-tuned answers alike before the file, after it, and as ONNX."""
    before = random(name, classes=3, seed=5)
    labels = ("crawl", "dive", "jump")
    facts = Facts(labels=labels, frames=4, size=(32, 32))
    write_weights(tmp_path / "weights.pt", before.module, facts)

    after = load(name, Wanted(weights=str(tmp_path / "weights.pt")))
    assert (after.facts.labels, after.facts.frames, after.facts.size) == (labels, 4, (32, 32))
    clip = clips(after.shape)
    np.testing.assert_array_equal(after.answer(clip), before.answer(clip))

    after.write(tmp_path / "net.onnx", Form(converter="torchscript"))
    session = onnxruntime.InferenceSession(
        tmp_path / "net.onnx", providers=["CPUExecutionProvider"]
    )
    (answer,) = session.run(None, {session.get_inputs()[0].name: clip})
    np.testing.assert_allclose(answer, after.answer(clip), atol=1e-4)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    """A wrong name or number of classes is a UsageError; unusable weights are a ModelError."""
    name = NAMES[0]
    with pytest.raises(UsageError, match="no network of the paper"):
        load("r2plus1d-34", Wanted())

    with pytest.raises(UsageError, match="--layout NTCHW"):
        random(name, Facts(layout="NTCHW"))
    with pytest.raises(UsageError, match="takes clips"):
        load(name, Wanted(weights="none", per_frame="mean"))

    with pytest.raises(ModelError, match="No such file"):
        load(name, Wanted(weights=str(tmp_path / "absent.pt")))
    other = tmp_path / "other.pt"
    torch.save({"fc.weight": torch.zeros(1)}, other)
    with pytest.raises(ModelError, match=r"it lacks stem\.0\.weight"):
        load(name, Wanted(weights=str(other)))
    with pytest.raises(ModelError, match=r"fc\.weight is \[1\], not \[400, 512\]"):
        untrained(name, str(other), 28, 0, SMALL)

    write_weights(other, random(name, classes=2).module, Facts(labels=("a", "b")))
    with pytest.raises(ModelError, match=r"fc3\.weight is \[2, 128\], not \[28, 128\]"):
        load(name, Wanted(weights=str(other), classes=28))


def test_a_plain_state_dict_is_enough(tmp_path: Path) -> None:
    """Without anything beside the weights, the classes are counted and the facts the paper's."""
    before = random(NAMES[0], classes=5)
    path = tmp_path / "plain.pt"
    torch.save(before.module.state_dict(), path)
    state, told = read_weights(path)
    assert (set(state), told) == (set(before.module.state_dict()), Facts())
    after = load(NAMES[0], Wanted(weights=str(path), facts=SMALL))
    clip = clips(after.shape)
    np.testing.assert_array_equal(after.answer(clip), before.answer(clip))
    assert after.facts.labels is None


def test_facts_that_are_none_are_left(tmp_path: Path) -> None:
    """Somebody else's file may hold anything under their name."""
    for told in (3, torch.zeros(2)):
        torch.save({"state_dict": {"fc3.bias": torch.tensor(1.0)}, "tiem": told}, tmp_path / "w.pt")
        assert read_weights(tmp_path / "w.pt")[1] == Facts()
    with pytest.raises(ModelError, match=r"fc3\.bias is \[\], not"):
        load(NAMES[0], Wanted(weights=str(tmp_path / "w.pt")))


def test_a_full_disk_is_an_output_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And nothing is left of the file."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_weights(tmp_path / "w.pt", torch.nn.Linear(1, 1), Facts())
    assert os.listdir(tmp_path) == []


def test_weights_that_cannot_be_downloaded_say_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a network, the address and what to do instead are the error."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(ModelError, match=r"r2plus1d_18-\w+\.pth.*unreachable.*--backbone FILE"):
        load(NAMES[0], Wanted())
