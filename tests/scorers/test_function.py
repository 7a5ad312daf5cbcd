"""`python:FILE:FUNCTION`: somebody's function of clips, and all that can be wrong with it."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from textwrap import dedent

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tiemcli.errors import ClipError, ModelError, TiemError
from tiemcli.facts import Facts
from tiemcli.metrics.randomisation import randomised
from tiemcli.outputs.repeat import command
from tiemcli.pipeline import Explanation, explain, read_clip
from tiemcli.scorers.function import load_function
from tiemcli.scorers.loading import load
from tiemcli.scorers.network import Network
from tiemcli.settings import Settings

# A function that runs a network's file, of uint8 clips as they are.
RUNNING = """
    import onnxruntime
    session = onnxruntime.InferenceSession({path!r})
    def predict(clips):
        return session.run(None, {{"clip": clips}})[0]
    predict.tiem = {{"frames": {frames}, "size": "{height}x{width}", "labels": {labels}}}
    """
SAID = Facts(frames=4, size=(12, 16))
Write = Callable[..., str]


@pytest.fixture(autouse=True)
def _imports_forgotten() -> Iterator[None]:
    """What a test imports from a file of its own does not outlive it."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - modules.keys():
        if str(getattr(sys.modules[name], "__file__", "")).startswith("/tmp"):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function from Python code to `python:FILE:predict`."""

    def write(code: str, file: str = "net.py", name: str = "predict") -> str:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(code), encoding="utf-8")
        return f"python:{path}:{name}"

    return write


def network_of(source: str, facts: Facts = SAID) -> Network:
    return load(source, facts, "cpu", batch_size=4)


def scores(source: str) -> np.ndarray:
    """Of one clip and its black base, under three windows."""
    network = network_of(source)
    clip = np.random.default_rng(2).integers(0, 256, network.model.shape).astype(np.float32)
    return network.scorer(clip, np.zeros_like(clip), 1).score(np.eye(4, dtype=np.float32)[:3])


def test_a_function_scores_as_the_file_that_it_runs(
    build_network: Callable[..., Path], write: Write
) -> None:
    """To 1e-5, for the network takes whole pixels, and the masks here leave nothing to be rounded
    otherwise: blends are computed in the same order of the same numbers in both."""
    path = build_network(layout="NTHWC", kind=TensorProto.UINT8)
    code = RUNNING.format(path=str(path), frames=4, height=12, width=16, labels=list("abcde"))
    network = load(write(code), Facts(), "cpu")
    file = load(str(path), Facts(), "cpu", reuse=False)
    assert network.model.preprocessing == file.model.preprocessing
    assert network.model.labels == ("a", "b", "c", "d", "e")
    random = np.random.default_rng(0)
    clip, base = random.integers(0, 256, (2, *network.model.shape)).astype(np.float32)
    whole = random.integers(0, 2, (9, 4)).astype(np.float32)
    full = random.random((9, 4, 12, 16), dtype=np.float32)
    for keep in (whole, full):
        expected = file.scorer(clip, base, 3).score(keep)
        np.testing.assert_allclose(network.scorer(clip, base, 3).score(keep), expected, atol=1e-5)


def test_a_clip_is_explained_by_a_function_as_by_the_file_that_it_runs(
    tmp_path: Path, write: Write
) -> None:
    """By queries of one seed: the same importance, and the same pixels but for ties."""
    facts = Facts(frames=16, size=(64, 64), output="logits")
    with as_file(files("tiemcli.samples")) as samples:
        path = whole_pixels(samples / "net.onnx", tmp_path / "pixels.onnx")
        code = RUNNING.format(path=str(path), frames=16, height=64, width=64, labels=list("abcde"))
        settings = Settings(queries=60, backend="finite-difference")
        by_file, by_function = (
            explained(load(source, facts, "cpu"), samples / "clip.mp4", settings)
            for source in (str(path), write(code))
        )
        automatic = explained(
            load(write(code), facts, "cpu"), samples / "clip.mp4", replace(settings, backend="auto")
        )
    assert by_function.clean == pytest.approx(by_file.clean, abs=1e-5)
    np.testing.assert_allclose(
        by_function.temporal.importance, by_file.temporal.importance, atol=1e-5
    )
    np.testing.assert_array_equal(by_function.shown.hard, by_file.shown.hard)
    assert by_function.shown.score == pytest.approx(by_file.shown.score, abs=1e-5)
    assert automatic.evidence.backend == "finite-difference"
    assert "only the network's answers are known" in automatic.evidence.backend_reason
    np.testing.assert_array_equal(automatic.shown.hard, by_function.shown.hard)
    again = command(by_function, tmp_path)
    assert f"-m 'python:{tmp_path}" in again or f"-m python:{tmp_path}" in again
    assert "--layout" not in again
    assert "--frames" not in again


def whole_pixels(path: Path, target: Path) -> Path:
    """The sample network with its preprocessing in front, for clips (N, T, H, W, C) uint8."""
    proto = onnx.load(path)
    graph = proto.graph
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == "clip":
                node.input[index] = "normalised"
    for name, value in (("scale", 1 / 255), ("mean", 0.45), ("std", 0.25)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    front = [
        helper.make_node("Cast", ["clip"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["turned"], perm=[0, 4, 1, 2, 3]),
        helper.make_node("Mul", ["turned", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
    ]
    nodes = [*front, *graph.node]
    del graph.node[:], graph.input[:], proto.metadata_props[:]
    graph.node.extend(nodes)
    graph.input.append(
        helper.make_tensor_value_info("clip", TensorProto.UINT8, ["N", 16, 64, 64, 3])
    )
    onnx.save(proto, target)
    return target


def explained(network: Network, clip: Path, settings: Settings) -> Explanation:
    return explain(read_clip(clip, network.model, settings), network, settings)


def test_raw_pixels_go_in_and_lists_may_come_out(write: Write) -> None:
    """uint8 (N, T, H, W, C), blends rounded; a list of lists, whole numbers, or one number each."""
    code = """
    import numpy as np
    def predict(clips):
        assert clips.dtype == np.uint8 and clips.shape[1:] == (4, 12, 16, 3), clips.shape
        first = [int(clip[0].astype(int).sum()) for clip in clips]
        return [[value, 7] for value in first]
    def regress(clips):
        return [float(clip[0].mean()) for clip in clips]
    def votes(clips):
        return np.array([[3, 1], [3, 1]])[: len(clips)].repeat(len(clips), 0)[: len(clips)]
    """
    source = write(code)
    network = network_of(source, Facts(output="value").over(SAID))
    clip = np.full(network.model.shape, 9, np.float32)
    base = np.zeros_like(clip)
    half = np.full((1, 4), 0.5, np.float32)
    assert network.scorer(clip, base).score(half).tolist() == [5 * 12 * 16 * 3]
    regressor = network_of(source.replace("predict", "regress"))
    assert regressor.port.output_kind == "value"
    assert regressor.outputs(clip).tolist() == [9.0]
    assert network_of(source.replace("predict", "votes")).port.classes == 2


def test_what_it_prints_is_no_output_of_ours(
    write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    """It goes to stderr, both of the import and of a call."""
    code = """
    print("imported")
    def predict(clips):
        print("called")
        return [[clip.mean(), 1] for clip in clips]
    """
    scores(write(code))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("imported\ncalled")


def test_the_code_is_imported_once(write: Write, tmp_path: Path) -> None:
    """However often the network is loaded, and what lies beside it can be imported there."""
    (tmp_path / "beside_it.py").write_text("CLASSES = 3\n")
    code = f"""
    from dataclasses import dataclass
    from beside_it import CLASSES
    with open({str(tmp_path / "log")!r}, "a") as log:
        log.write("imported ")
    @dataclass
    class Network:
        classes: "int"
        def __call__(self, clips):
            return [[clip.mean()] * self.classes for clip in clips]
    predict = Network(CLASSES)
    """
    source = write(code, "once_only.py")
    assert [network_of(source).port.classes for _ in range(2)] == [3, 3]
    assert (tmp_path / "log").read_text() == "imported "


def test_a_file_may_have_any_name_and_its_module_hides_no_other(write: Write) -> None:
    """Colons, spaces, letters of any kind; a name that the standard library has."""
    code = "def predict(clips): return [[1.0 * clip.max(), 2] for clip in clips]"
    for file in ("a b: c.py", "net:predict.py", "été/ネット.py", "json.py"):
        assert network_of(write(code, file)).port.classes == 2
    assert "dumps" in vars(sys.modules["json"])


def test_its_identity_is_its_code(write: Write) -> None:
    """And which function of it; so that a result of other code is not taken for it."""
    code = "def predict(clips): return [[1.0, 2] for _ in clips]\nother = predict\n"
    found = {
        load_function(source, SAID)[0].identity
        for source in (
            write(code, "one.py"),
            write(code, "same.py"),
            write(code + "\n", "changed.py"),
            write(code, "one.py", "other"),
        )
    }
    assert len(found) == 3


def test_facts_are_said_by_flags_a_file_beside_it_or_an_attribute(
    write: Write, tmp_path: Path
) -> None:
    """In this order; without frames or a size there is a hint at each."""
    code = "def predict(clips): return [[1.0 * clip.max(), 2] for clip in clips]\n"
    with pytest.raises(ModelError) as error:
        network_of(write(code), Facts())
    assert error.value.message.startswith("nobody says how many frames python:")
    assert "--frames" in error.value.hint
    assert "predict.tiem" in error.value.hint
    with pytest.raises(ModelError, match="nobody says what size of frames") as error:
        network_of(write(code), Facts(frames=4))
    assert "--size" in error.value.hint
    carried = 'predict.tiem = {"frames": 8, "size": 20, "labels": ["no", "yes"], "stride": 2}\n'
    source = write(code + carried, "carrying.py")
    assert network_of(source, Facts()).model.shape == (3, 8, 20, 20)
    (tmp_path / "carrying.toml").write_text("frames = 5\nsize = [6, 7]\n")
    model = network_of(source, Facts(frames=3)).model
    assert model.shape == (3, 3, 6, 7)
    assert (model.labels, model.stride) == (("no", "yes"), 2)
    gray = network_of(source, Facts(color="gray")).model
    assert gray.shape[0] == 1


BROKEN = [
    (
        "def predict(clips):\n  x = 1\n  return 1 / (x - 1)",
        "line 3: ZeroDivisionError: division by",
    ),
    ("def predict(clips):\n  raise ValueError", "line 2: ValueError"),
    ("def predict(clips): import sys; sys.exit(4)", "line 1: SystemExit: 4"),
    ("import numpy as np\ndef predict(clips):\n  return np.dot(clips, 'x')", "line 3: "),
    ("def predict(clips): return 'jump'", "returns <U4, no numbers"),
    ("def predict(clips): return None", "returns NoneType, no numbers"),
    ("def predict(clips): return {'jump': 1}", "returns dict, no numbers"),
    ("def predict(clips): return [1j for _ in clips]", "returns complex128, no numbers"),
    ("def predict(clips): return 3.5", r"returns shape \[\] for 1 clip"),
    ("def predict(clips): return [1, 2, 3]", r"returns shape \[3\] for 1 clip"),
    ("def predict(clips): return [[1], [2, 3]]", "ValueError: setting an array element"),
    ("def predict(clips): return [[] for _ in clips]", "not one row of scores"),
    (
        "import numpy as np\ndef predict(clips): return np.ones((len(clips), 2, 2, 2))",
        "not one row",
    ),
    ("def predict(clips): return [[float('nan'), 1] for _ in clips]", "no number"),
    ("def predict(clips, more): return clips", "TypeError: predict.. missing 1 required"),
    ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
    ("x = 1\ndef predict(clips)\n", "line 2: SyntaxError: expected ':'"),
    ("raise SystemExit", "line 1: SystemExit"),
    ("def forecast(clips): pass", "there is no 'predict'"),
    ("predict = 3", "is int, not a function"),
    ("def predict(clips): pass\npredict.tiem = 3", "attribute tiem is int"),
    ("def predict(clips): pass\npredict.tiem = {'frames': 'x'}", "tiem: frames"),
]


@pytest.mark.parametrize(("code", "message"), BROKEN)
def test_what_is_wrong_with_somebodys_code_is_one_line(
    code: str, message: str, write: Write
) -> None:
    """With the exception and the line there, and a hint."""
    with pytest.raises(ModelError, match=message) as error:
        network_of(write(code, "broken.py"))
    assert "\n" not in error.value.message
    assert error.value.hint


def test_a_failure_under_a_mask_is_the_clips(write: Write) -> None:
    """A run over several goes on."""
    code = """
    def predict(clips):
        if clips.max() == 0:
            raise RuntimeError("too dark")
        return [[clip.mean(), 1] for clip in clips]
    """
    network = network_of(write(code))
    clip = np.full(network.model.shape, 9, np.float32)
    scorer = network.scorer(clip, np.zeros_like(clip))
    with pytest.raises(ClipError, match=r"net.py, line 4: RuntimeError: too dark"):
        scorer.score(np.zeros((1, 4), np.float32))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("python:net.py", "names no function"),
        ("python:", "names no function"),
        ("python::predict", "names no function"),
        ("python:C:\\nets\\net.py", "names no function"),
        ("python:C:\\nets\\net.py:predict", r"C:\\nets\\net.py: no such file"),
        ("python:no.py:predict", "no.py: no such file"),
        ("python:/tmp:predict", "/tmp: no such file"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(source: str, message: str) -> None:
    """And says the form that leads somewhere."""
    with pytest.raises(TiemError, match=message) as error:
        load_function(source, SAID)
    assert error.value.hint == "give python:FILE.py:FUNCTION"


def test_weights_that_are_not_known_are_not_shuffled(write: Write) -> None:
    """It is said."""
    model = network_of(
        write("def predict(clips): return [[clip.max(), 1] for clip in clips]")
    ).model
    with pytest.raises(ModelError, match="are not known"):
        randomised(model, np.random.default_rng(0))
