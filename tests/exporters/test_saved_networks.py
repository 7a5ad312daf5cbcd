"""Networks saved without their code: exported programs and TorchScript."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn

from tiemcli.errors import ModelError, UsageError
from tiemcli.exporters import exported_program, torch_script
from tiemcli.exporters.original import Form, Wanted
from tiemcli.exporters.torch_original import TorchOriginal
from tiemcli.facts import Facts

SAID = Facts(frames=4, size=(12, 12))


class Net(nn.Module):
    """A small 3-D CNN with a loop, which TorchScript alone keeps as one."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv3d(3, 6, 3, padding=1), nn.Linear(6, 5)

    def forward(self, clips: Tensor) -> Tensor:
        features = torch.relu(self.conv(clips))
        total = torch.zeros_like(features[:, :, 0])
        for frame in range(features.shape[2]):
            total = 0.5 * total + features[:, :, frame]
        answer: Tensor = self.head(total.mean((2, 3)))
        return answer


def noise(batch: int) -> Tensor:
    return torch.randn(batch, 3, 4, 12, 12, generator=torch.Generator().manual_seed(1))


def expected(batch: int) -> np.ndarray:
    with torch.no_grad():
        answer: np.ndarray = Net()(noise(batch)).numpy()
    return answer


def agrees(original: TorchOriginal, path: Path, form: Form, batches: tuple[int, ...]) -> str:
    """The converter, once the original and its file answer as the network itself."""
    converter = original.write(path, form)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in batches:
        clips = noise(batch).numpy()
        np.testing.assert_allclose(original.answer(clips), expected(batch), atol=1e-5)
        (found,) = session.run(None, {session.get_inputs()[0].name: clips})
        np.testing.assert_allclose(found, expected(batch), atol=1e-5)
    return converter


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program of any batch, and programs of one and of two clips."""
    folder = tmp_path_factory.mktemp("programs")
    dynamic = ({0: torch.export.Dim("clips", min=1, max=64)},)
    torch.export.save(
        torch.export.export(Net(), (noise(2),), dynamic_shapes=dynamic), folder / "free.pt2"
    )
    for batch in (1, 2):
        program = torch.export.export(Net(), (noise(batch),))
        torch.export.save(program, folder / f"{batch}.pt2")
    return folder


def test_a_program_tells_its_own_shape(programs: Path, tmp_path: Path) -> None:
    """Nothing need be said, and its batch stays free."""
    original = exported_program.load(str(programs / "free.pt2"), Wanted())
    assert original.shape == (1, 3, 4, 12, 12)
    assert (original.facts.layout, original.facts.frames, original.facts.size) == (
        "NCTHW",
        4,
        (12, 12),
    )
    assert agrees(original, tmp_path / "net.onnx", Form(), (1, 3)) == "dynamo"


def test_a_program_of_one_clip_is_written_for_one(programs: Path, tmp_path: Path) -> None:
    """Its batch cannot be freed any more."""
    original = exported_program.load(str(programs / "1.pt2"), Wanted())
    agrees(original, tmp_path / "net.onnx", Form(), (1,))
    session = onnxruntime.InferenceSession(
        tmp_path / "net.onnx", providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].shape == [1, 3, 4, 12, 12]


def test_what_is_no_program_of_a_clip_is_one_line(programs: Path, tmp_path: Path) -> None:
    """Another file, none, two clips at once, axes that the facts contradict."""
    (tmp_path / "text.pt2").write_text("a program")
    for path, said in (
        (tmp_path / "text.pt2", "no exported program"),
        (tmp_path / "none.pt2", "no such file"),
        (programs / "2.pt2", "takes 2 clips at once"),
    ):
        with pytest.raises(ModelError, match=said):
            exported_program.load(str(path), Wanted())
    for facts in (Facts(layout="TCHW"), Facts(frames=8)):
        with pytest.raises(ModelError):
            exported_program.load(str(programs / "free.pt2"), Wanted(facts=facts))


def test_a_program_of_numbers_that_numpy_lacks_is_one_line(tmp_path: Path) -> None:
    """Such as bfloat16."""
    clips = torch.zeros(1, 3, 4, 12, 12, dtype=torch.bfloat16)
    torch.export.save(torch.export.export(nn.Flatten(), (clips,)), tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=r"takes torch\.bfloat16"):
        exported_program.load(str(tmp_path / "net.pt2"), Wanted())


def test_what_a_file_decides_cannot_be_asked(programs: Path) -> None:
    """Weights, classes, frame by frame."""
    for wanted in (Wanted(weights="none"), Wanted(classes=3), Wanted(per_frame="max")):
        with pytest.raises(UsageError, match="an exported program decides it"):
            exported_program.load(str(programs / "free.pt2"), wanted)
        with pytest.raises(UsageError, match="a TorchScript file decides it"):
            torch_script.load("net.pt", wanted)


@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_torchscript_file_goes_through_its_own_converter(how: str, tmp_path: Path) -> None:
    """The only one that reads it; any batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch will not keep it for ever
        scripted = torch.jit.script(Net()) if how == "script" else torch.jit.trace(Net(), noise(2))
        scripted.save(str(tmp_path / "net.pt"))
    original = torch_script.load(str(tmp_path / "net.pt"), Wanted(facts=SAID))
    assert agrees(original, tmp_path / "net.onnx", Form(), (1, 3)) == "torchscript"
    with pytest.raises(UsageError, match="dynamo cannot read"):
        original.write(tmp_path / "net.onnx", Form("dynamo"))
    with pytest.raises(UsageError) as raised:
        torch_script.load(str(tmp_path / "net.pt"), Wanted())
    assert raised.value.hint == "give --frames and --size"


def test_a_state_dict_is_no_torchscript(tmp_path: Path) -> None:
    """The hint says where it belongs."""
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    with pytest.raises(ModelError, match="no TorchScript network") as raised:
        torch_script.load(str(tmp_path / "net.pt"), Wanted(facts=SAID))
    assert "--weights" in raised.value.hint
    with pytest.raises(ModelError, match="no such file"):
        torch_script.load(str(tmp_path / "none.pt"), Wanted(facts=SAID))
