"""What `export` writes answers as the original does, says how it is fed, or is not written."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn

from tiemcli.errors import ModelError, OutputError
from tiemcli.exporters import finish, registry
from tiemcli.exporters.export import Exported, export
from tiemcli.exporters.finish import Finish
from tiemcli.exporters.original import Form, Wanted
from tiemcli.exporters.torch_original import TorchOriginal, write_by_first
from tiemcli.facts import Facts
from tiemcli.model import load_model

SHAPE = (1, 3, 4, 12, 16)
LABELS = ("run", "jump", "wave")
FACTS = Facts(
    layout="NCTHW",
    frames=4,
    stride=2,
    size=(12, 16),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
    scale=1 / 255,
    color="bgr",
    resize="crop",
    output="logits",
    labels=LABELS,
)


class Net(nn.Module):
    """A small 3-D CNN, its weights seeded."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv, self.head = nn.Conv3d(3, 8, 3), nn.Linear(8, 3)

    def forward(self, clips: Tensor) -> Tensor:
        answer: Tensor = self.head(torch.relu(self.conv(clips)).mean((2, 3, 4)))
        return answer


class Untraceable(nn.Module):
    """What it does leads out of torch, where no tracer follows."""

    def forward(self, clips: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
            raise RuntimeError("no converter follows me\nand here is page two")
        return clips.mean((2, 3, 4))


class Answering(nn.Module):
    """A network that answers something else than one tensor, or fails."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, clips: Tensor) -> object:
        return self.answer(clips)


Give = Callable[[TorchOriginal], None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Make every source this network."""

    def give(original: TorchOriginal) -> None:
        monkeypatch.setattr(registry, "load", lambda source, wanted: original)

    give(TorchOriginal(Net(), FACTS, SHAPE))
    return give


def write(
    out: Path,
    form: Form | None = None,
    done: Finish | None = None,
    wanted: Wanted | None = None,
    tolerance: float | None = None,
) -> Exported:
    return export(
        "test:net",
        wanted or Wanted(),
        form or Form("torchscript"),
        out=out,
        finish=done or Finish(),
        tolerance=tolerance,
    )


def answer(path: Path, clips: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: clips})[0]
    return found


def noise(batch: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(batch, *SHAPE[1:])).astype(np.float32)


@pytest.mark.usefixtures("give")
def test_the_file_answers_as_the_original_and_leaves_nothing_to_assume(tmp_path: Path) -> None:
    """Any batch, every fact, and an honest account of the agreement."""
    exported = write(tmp_path / "net.onnx", Form())
    model = load_model(tmp_path / "net.onnx", Facts())
    assert model.assumed == ()
    assert model.batch is None
    assert model.shape == SHAPE[1:]
    assert (model.layout, model.stride, model.labels) == ("NCTHW", 2, LABELS)
    pixels = model.preprocessing
    assert (pixels.color, pixels.resize, pixels.scale) == ("bgr", "crop", 1 / 255)
    assert (pixels.mean, pixels.std) == ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert model.output_kind == "logits"
    for batch in (1, 3):
        with torch.no_grad():
            expected = Net()(torch.from_numpy(noise(batch))).numpy()
        np.testing.assert_allclose(answer(model.path, noise(batch)), expected, atol=1e-5)
    assert exported.converter == "dynamo"
    assert exported.notes == ()
    assert exported.agreement.batch is None
    assert exported.bytes == (tmp_path / "net.onnx").stat().st_size
    assert 0 <= exported.agreement.random < 1e-5
    assert 0 <= exported.agreement.clip < 1e-5
    assert os.listdir(tmp_path) == ["net.onnx"]


@pytest.mark.usefixtures("give")
def test_no_path_of_this_machine_is_written(tmp_path: Path) -> None:
    """Converters note where in the code each node comes from."""
    write(tmp_path / "net.onnx", Form("dynamo"))
    assert b"forward" not in (tmp_path / "net.onnx").read_bytes()
    assert __file__.encode() not in (tmp_path / "net.onnx").read_bytes()


@pytest.mark.usefixtures("give")
def test_what_the_user_says_wins(tmp_path: Path) -> None:
    """Over what the source says of itself."""
    said = Wanted(facts=Facts(labels=("a", "b", "c"), color="rgb"))
    exported = write(tmp_path / "net.onnx", wanted=said)
    model = load_model(tmp_path / "net.onnx", Facts())
    assert (model.labels, model.preprocessing.color) == (("a", "b", "c"), "rgb")
    assert exported.agreement.facts.labels == ("a", "b", "c")


def test_what_nobody_says_is_assumed_noted_and_written(give: Give, tmp_path: Path) -> None:
    """The next reader of the file has nothing to assume; the answers tell their kind."""
    network = nn.Sequential(Net(), nn.Softmax(dim=1))
    give(TorchOriginal(network, Facts(layout="NCTHW", frames=4, size=(12, 16)), SHAPE))
    exported = write(tmp_path / "net.onnx")
    assert any("color rgb" in note for note in exported.notes)
    assert any("probabilities" in note for note in exported.notes)
    model = load_model(tmp_path / "net.onnx", Facts())
    assert model.assumed == ()
    assert model.output_kind == "probabilities"


@pytest.mark.usefixtures("give")
@pytest.mark.parametrize(("opset", "converter"), [(17, "torchscript"), (21, "dynamo")])
def test_the_opset_is_the_one_asked_for(opset: int, converter: str, tmp_path: Path) -> None:
    """Dynamo's converter writes none below 18, TorchScript's does."""
    exported = write(tmp_path / "net.onnx", Form("auto", opset))
    assert exported.converter == converter
    versions = {entry.domain: entry.version for entry in onnx.load(exported.path).opset_import}
    assert versions[""] == exported.opset == opset


@pytest.mark.usefixtures("give")
def test_an_opset_that_was_not_written_is_an_error(tmp_path: Path) -> None:
    """Dynamo's converter writes a higher one and says nothing."""
    with pytest.raises(ModelError, match="opset 18 was written where 17 is asked for"):
        write(tmp_path / "net.onnx", Form("dynamo", opset=17))
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("give")
@pytest.mark.parametrize("converter", ["dynamo", "torchscript"])
def test_a_batch_can_be_fixed(converter: str, tmp_path: Path) -> None:
    """The file then takes that many clips and no others."""
    exported = write(tmp_path / "net.onnx", Form(converter, batch=3))
    assert exported.agreement.shape == (3, *SHAPE[1:])
    assert load_model(exported.path, Facts()).batch == 3


def test_frames_folded_into_the_batch_stay_free(give: Give, tmp_path: Path) -> None:
    """A network of (N·T, C, H, W) is written for any N."""

    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, frames: Tensor) -> Tensor:
            answer: Tensor = self.net(frames.reshape(-1, 4, 3, 12, 16).transpose(1, 2))
            return answer

    give(TorchOriginal(Folded(), Facts(layout="TCHW").over(FACTS), (4, 3, 12, 16)))
    exported = write(tmp_path / "net.onnx", Form("dynamo"))
    assert exported.agreement.shape == (None, 3, 12, 16)
    clips = noise(2)
    frames = clips.transpose(0, 2, 1, 3, 4).reshape(8, 3, 12, 16)
    with torch.no_grad():
        expected = Net()(torch.from_numpy(clips)).numpy()
    np.testing.assert_allclose(answer(exported.path, frames), expected, atol=1e-5)


@pytest.mark.usefixtures("give")
def test_half_precision_is_inside_alone(tmp_path: Path) -> None:
    """Weights are float16, what goes in and comes out float32, the difference small but there."""
    exported = write(tmp_path / "net.onnx", done=Finish("fp16"))
    graph = onnx.load(exported.path).graph
    assert {w.data_type for w in graph.initializer if len(w.dims) > 1} == {TensorProto.FLOAT16}
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert 1e-6 < exported.agreement.random < exported.tolerance == 2e-2


def test_simplifying_folds_what_depends_on_nothing(give: Give, tmp_path: Path) -> None:
    """And the file still answers the same."""
    pytest.importorskip("onnxslim", reason="onnxslim is not installed")

    class Roundabout(Net):
        def forward(self, clips: Tensor) -> Tensor:
            shape = clips.flatten(1).reshape(clips.shape)
            return super().forward(shape.transpose(3, 4).transpose(3, 4))

    give(TorchOriginal(Roundabout(), FACTS, SHAPE))
    plain = write(tmp_path / "plain.onnx", Form("torchscript"))
    slim = write(tmp_path / "slim.onnx", Form("torchscript"), Finish(simplify=True))
    nodes = [len(onnx.load(exported.path).graph.node) for exported in (plain, slim)]
    assert nodes[1] < nodes[0]
    assert slim.agreement.random < 1e-5


@pytest.mark.usefixtures("give")
def test_large_weights_lie_in_a_file_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under the network's own name, so that the two can be moved together."""
    monkeypatch.setattr(finish, "LARGEST_FILE", 1000)
    (tmp_path / "net.onnx.data").write_bytes(b"of an earlier network")
    exported = write(tmp_path / "net.onnx")
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "net.onnx.data"]
    assert exported.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    with torch.no_grad():
        expected = Net()(torch.from_numpy(noise(2))).numpy()
    np.testing.assert_allclose(answer(exported.path, noise(2)), expected, atol=1e-5)


class Wrong(TorchOriginal):
    """Its dynamo converter writes another network."""

    def write(self, path: Path, form: Form) -> str:
        if form.converter == "torchscript":
            return super().write(path, form)
        other = TorchOriginal(Net(seed=1), self.facts, self.shape)
        return other.write(path, form)


def test_a_file_that_answers_differently_is_not_written(give: Give, tmp_path: Path) -> None:
    """What stood there before still does."""
    give(Wrong(Net(), FACTS, SHAPE))
    (tmp_path / "net.onnx").write_text("an earlier file")
    with pytest.raises(ModelError, match="answers differently from the original"):
        write(tmp_path / "net.onnx", Form("dynamo"))
    assert os.listdir(tmp_path) == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_text() == "an earlier file"


def test_the_other_converter_steps_in(give: Give, tmp_path: Path) -> None:
    """Where the choice is free, and the notes say why."""
    give(Wrong(Net(), FACTS, SHAPE))
    exported = write(tmp_path / "net.onnx", Form())
    assert exported.converter == "torchscript"
    assert exported.agreement.random < 1e-5
    (note,) = exported.notes
    assert note.startswith("dynamo's file was refused: the file answers differently")
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_a_tolerance_may_be_given(give: Give, tmp_path: Path) -> None:
    """In units of the answers' range."""
    give(Wrong(Net(), FACTS, SHAPE))
    exported = write(tmp_path / "net.onnx", Form("dynamo"), tolerance=100)
    assert exported.converter == "dynamo"
    assert exported.agreement.random > 1e-3


def test_a_network_that_cannot_be_traced_is_one_clear_line(give: Give, tmp_path: Path) -> None:
    """Each converter's own reason, and no file."""
    give(TorchOriginal(Untraceable(), FACTS, SHAPE))
    with pytest.raises(ModelError) as raised:
        write(tmp_path / "net.onnx", Form())
    message = raised.value.message
    assert message == (
        "the network cannot be traced (dynamo: no converter follows me; "
        "torchscript: no converter follows me)"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda clips: {"logits": clips, "boxes": clips}, "answers dict, not one tensor"),
        (lambda clips: clips @ clips.new_zeros(3, 3), "does not run on input of shape"),
        (lambda clips: sys.exit(), "does not run on input of shape"),
    ],
)
def test_a_network_that_fails_by_itself_is_told_before_it_is_traced(
    answer: Callable[[Tensor], object], said: str, give: Give, tmp_path: Path
) -> None:
    """What a converter would make of it says less."""
    give(TorchOriginal(Answering(answer), FACTS, SHAPE))
    with pytest.raises(ModelError, match=said):
        write(tmp_path / "net.onnx", Form())
    assert os.listdir(tmp_path) == []


def test_an_interrupt_leaves_nothing(give: Give, tmp_path: Path) -> None:
    """Not even while the file is being written."""

    class Interrupted(TorchOriginal):
        def write(self, path: Path, form: Form) -> str:
            super().write(path, form)
            assert path.exists()
            raise KeyboardInterrupt

    give(Interrupted(Net(), FACTS, SHAPE))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "net.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("give")
def test_a_wrong_number_of_labels_is_told_at_once(tmp_path: Path) -> None:
    """Not when somebody explains by the file."""
    with pytest.raises(ModelError, match="2 labels for 3 outputs"):
        write(tmp_path / "net.onnx", wanted=Wanted(facts=Facts(labels=("a", "b"))))
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("give")
def test_a_place_that_is_none_is_an_error(tmp_path: Path) -> None:
    """Before anything is loaded."""
    with pytest.raises(OutputError, match="is a folder"):
        write(tmp_path)
    with pytest.raises(OutputError, match="no such folder"):
        write(tmp_path / "nowhere" / "net.onnx")


@pytest.mark.usefixtures("give")
def test_facts_beside_the_file_are_noted(tmp_path: Path) -> None:
    """For they win over what the file says."""
    (tmp_path / "net.toml").write_text("frames = 8")
    exported = write(tmp_path / "net.onnx")
    assert exported.notes == ("net.toml beside it wins over what the file says",)


def test_uint8_input_is_compared_in_its_own_range(give: Give, tmp_path: Path) -> None:
    """A network that scales its own pixels is fed whole numbers of 0 to 255."""

    class Bytes(Net):
        def forward(self, clips: Tensor) -> Tensor:
            return super().forward(clips.float() / 255)

    facts = Facts(layout="NCTHW", frames=4, size=(12, 16), output="logits")
    give(TorchOriginal(Bytes(), facts, SHAPE, np.dtype(np.uint8)))
    exported = write(tmp_path / "net.onnx")
    model = load_model(exported.path, Facts())
    assert model.element_type == TensorProto.UINT8
    assert model.preprocessing.scale == 1
    assert exported.agreement.clip < 1e-5


@pytest.mark.parametrize("converter", ["dynamo", "torchscript"])
def test_a_transformer_is_written_by_either_converter(
    converter: str, give: Give, tmp_path: Path
) -> None:
    """Torch's fast path for inference, which ONNX does not have, is left; it is there afterwards."""

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)
            self.head = nn.Linear(12, 3)

        def forward(self, clips: Tensor) -> Tensor:
            tokens = clips.mean((3, 4)).transpose(1, 2).repeat(1, 1, 4)
            answer: Tensor = self.head(self.layer(tokens).mean(1))
            return answer

    give(TorchOriginal(Transformer(), FACTS, SHAPE))
    exported = write(tmp_path / "net.onnx", Form(converter))
    assert exported.converter == converter
    assert exported.agreement.random < 1e-5
    assert torch.backends.mha.get_fastpath_enabled()


def test_nodes_of_inner_graphs_lose_their_notes_too() -> None:
    """Of an If inside of a Loop, which converters note as they do others."""
    inner, outer = (onnx.helper.make_node(kind, [], []) for kind in ("If", "Loop"))
    leaf = onnx.helper.make_node("Identity", ["a"], ["b"])
    for name, node, graph in (("then_branch", inner, [leaf]), ("body", outer, [inner])):
        inside = onnx.helper.make_graph(graph, name, [], [])
        node.attribute.append(onnx.helper.make_attribute(name, inside))
    leaf_inside = outer.attribute[0].g.node[0].attribute[0].g.node[0]
    leaf_inside.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=__file__)
    model = onnx.helper.make_model(onnx.helper.make_graph([outer], "outer", [], []))
    assert __file__.encode() in model.SerializeToString()
    assert __file__.encode() not in finish.rework(model, Finish()).SerializeToString()


@pytest.mark.parametrize("answer", [lambda answers: answers[0], torch.sum])
def test_clips_must_be_answered_each_by_itself(
    answer: Callable[[Tensor], Tensor], give: Give, tmp_path: Path
) -> None:
    """A file for any batch that answers for the first clip alone, or for all of them together."""

    class Together(Net):
        def forward(self, clips: Tensor) -> Tensor:
            return answer(super().forward(clips))

    give(TorchOriginal(Together(), FACTS.model_copy(update={"labels": None}), SHAPE))
    with pytest.raises(ModelError, match=r"for a clip, \[3?\] for two"):
        write(tmp_path / "net.onnx")
    assert write(tmp_path / "net.onnx", Form("torchscript", batch=1)).agreement.batch == 1


def test_a_batch_beyond_the_memory_is_one_line(give: Give, tmp_path: Path) -> None:
    """Not numpy's own error."""
    give(TorchOriginal(Net(), FACTS, SHAPE))
    with pytest.raises(ModelError, match="Unable to allocate"):
        write(tmp_path / "net.onnx", Form("torchscript", batch=10**12))


def test_a_full_disk_is_no_fault_of_the_network(give: Give, tmp_path: Path) -> None:
    """Whatever the converter makes of it."""

    class Full(TorchOriginal):
        def write(self, path: Path, form: Form) -> str:
            def writer() -> None:
                try:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError as error:
                    raise RuntimeError("ONNX program cannot be serialised") from error

            return write_by_first({"dynamo": writer}, form)

    give(Full(Net(), FACTS, SHAPE))
    with pytest.raises(OutputError, match=r"net\.onnx cannot be written: No space left"):
        write(tmp_path / "net.onnx")
    assert os.listdir(tmp_path) == []
