"""Each distinct frame encoded once: the same scores as with every clip computed whole."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from tiemcli.errors import ClipError, DeviceError, ModelError
from tiemcli.facts import Facts
from tiemcli.kernels.prefix import Prefix
from tiemcli.kernels.upsample import gaussian_upsampling
from tiemcli.kernels.windows import enumerate_windows, window_membership, window_sizes
from tiemcli.model import load_model
from tiemcli.scorers.network import Network, load_network
from tiemcli.scorers.reuse import splitting
from tiemcli.scorers.reuse.frame_wise import TOGETHER, FrameWise, FrameWiseScorer

# A bug in the search for reuse is such a warning.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

HEIGHT, WIDTH, WIDE, HIDDEN, CLASSES = 10, 12, 6, 4, 3
# What joins the frames' features (N, T, 6).
ENDINGS = {
    "mean": "h = ReduceMean<axes = [1], keepdims = 0>(features) logits = MatMul(h, dense)",
    "max": "h = ReduceMax<axes = [1], keepdims = 0>(features) logits = MatMul(h, dense)",
    "mean of answers": """
        answers = MatMul(features, dense)
        logits = ReduceMean<axes = [1], keepdims = 0>(answers)
    """,
    "lstm": """
        timed = Transpose<perm = [1, 0, 2]>(features)
        all, last, cell = LSTM<hidden_size = 4>(timed, lstm_w, lstm_r)
        h = Squeeze(last, first)
        logits = MatMul(h, wide)
    """,
    "lstm from a state as long as the batch": """
        size = Shape(clip)
        whole = Size(clip)
        pixels = Div(whole, clip_size)
        batch = Gather(size, first)
        batch_too = Unsqueeze(pixels, first)
        longer = Min(batch, batch_too)
        shape = Concat<axis = 0>(one, longer, four)
        state = ConstantOfShape(shape)
        timed = Transpose<perm = [1, 0, 2]>(features)
        all, last, cell = LSTM<hidden_size = 4>(timed, lstm_w, lstm_r, , , state, state)
        h = Squeeze(last, first)
        logits = MatMul(h, wide)
    """,
    "attention": """
        q = MatMul(features, query)
        k = MatMul(features, key)
        v = MatMul(features, value)
        turned = Transpose<perm = [0, 2, 1]>(k)
        fit = MatMul(q, turned)
        weight = Softmax<axis = 2>(fit)
        seen = MatMul(weight, v)
        joined = Add(seen, features)
        h = ReduceMean<axes = [1], keepdims = 0>(joined)
        logits = MatMul(h, dense)
    """,
    "folded attention heads": """
        timed = Transpose<perm = [1, 0, 2]>(features)
        q = MatMul(timed, query)
        heads = Reshape(q, by_head)
        turned = Transpose<perm = [1, 0, 2]>(heads)
        other = Transpose<perm = [1, 2, 0]>(heads)
        fit = MatMul(turned, other)
        weight = Softmax<axis = 2>(fit)
        seen = MatMul(weight, turned)
        back = Transpose<perm = [1, 0, 2]>(seen)
        joined = Reshape(back, from_heads)
        h = ReduceMean<axes = [0], keepdims = 0>(joined)
        logits = MatMul(h, dense)
    """,
    "convolution through time": """
        timed = Transpose<perm = [0, 2, 1]>(features)
        meeting = Conv<pads = [1, 1]>(timed, through)
        pooled = GlobalMaxPool(meeting)
        h = Flatten(pooled)
        logits = MatMul(h, dense)
    """,
}


@dataclass(frozen=True)
class Form:
    """A small network: convolutions for each frame, then what joins their features.

    own_place: an embedding of its position is added to each frame's features.
    """

    ending: str = "lstm"
    layout: str = "NCTHW"
    frames: int = 5
    convolutions: int = 1
    batch: int | None = None
    pinned: bool = False
    own_place: bool = False
    kind: int = TensorProto.FLOAT
    seed: int = 0

    def write(self, folder: Path) -> Path:
        """The path of its file."""
        model = parser.parse_model(self._text())
        read = {name for node in model.graph.node for name in node.input}
        for name, value in self._weights().items():
            if name in read:
                model.graph.initializer.append(numpy_helper.from_array(value, name))
        path = folder / "frame_wise.onnx"
        onnx.save(model, path)
        return path

    def facts(self) -> Facts:
        return Facts(layout=self.layout, frames=self.frames)

    def _text(self) -> str:
        batch = str(self.batch or "N")
        sizes = {"N": batch, "C": "3", "T": str(self.frames), "H": str(HEIGHT), "W": str(WIDTH)}
        if "N" not in self.layout:
            sizes["T"] = "NT" if self.batch is None else str(self.batch * self.frames)
        kind = {TensorProto.FLOAT: "float", TensorProto.FLOAT16: "float16"}[self.kind]
        axes = self.layout if "N" in self.layout else "N" + self.layout
        lines = ["x0 = Reshape(clip, unfolded)"]
        order = [axes.index(axis) for axis in "NTCHW"]
        lines += [f"x1 = Transpose<perm = {order}>(x0)", "y0 = Reshape(x1, images)"]
        for index in range(self.convolutions):
            lines.append(f"z{index} = Conv<pads = [1, 1, 1, 1]>(y{index}, kernel{index})")
            lines.append(f"y{index + 1} = Relu(z{index})")
        lines.append(f"pooled0 = GlobalAveragePool(y{self.convolutions})")
        alike = "alike" if self.own_place else "features"
        lines.append(f"{alike} = Reshape(pooled0, sequence)")
        if self.own_place:
            lines.append("features = Add(alike, place)")
        header = '<ir_version: 8, opset_import: ["": 13]>\n'
        header += f"net ({kind}[{','.join(sizes[axis] for axis in self.layout)}] clip) => "
        return f"{header}({kind}[{batch}, {CLASSES}] logits) {{ {' '.join(lines)} {ENDINGS[self.ending]} }}"

    def _weights(self) -> dict[str, np.ndarray]:
        random = np.random.default_rng(self.seed)
        shapes = {f"kernel{i}": (WIDE, WIDE if i else 3, 3, 3) for i in range(self.convolutions)}
        shapes |= dict.fromkeys(("query", "key", "value"), (WIDE, WIDE))
        shapes |= {
            "through": (WIDE, WIDE, 3),
            "place": (self.frames, WIDE),
            "dense": (WIDE, CLASSES),
            "wide": (HIDDEN, CLASSES),
            "lstm_w": (1, 4 * HIDDEN, WIDE),
            "lstm_r": (1, 4 * HIDDEN, HIDDEN),
        }
        kind = onnx.helper.tensor_dtype_to_np_dtype(self.kind)
        weights = {
            name: (random.normal(size=shape) / np.sqrt(np.prod(shape) / shape[0])).astype(kind)
            for name, shape in shapes.items()
        }
        clips = (self.batch or 1) if self.pinned else -1
        axes = self.layout if "N" in self.layout else "N" + self.layout
        sizes = {"N": clips, "C": 3, "T": self.frames, "H": HEIGHT, "W": WIDTH}
        whole = {
            "unfolded": [sizes[axis] for axis in axes],
            "images": [-1, 3, HEIGHT, WIDTH],
            "sequence": [clips, self.frames, WIDE],
            "by_head": [self.frames, -1, 2],
            "from_heads": [self.frames, -1, WIDE],
            "first": [0],
            "one": [1],
            "four": [HIDDEN],
        }
        weights |= {name: np.array(value) for name, value in whole.items()}
        return weights | {"clip_size": np.array(3 * self.frames * HEIGHT * WIDTH)}


def load(form: Form, folder: Path, **said: object) -> Network:
    return load_network(load_model(form.write(folder), form.facts()), "cpu", **said)


def found(network: Network) -> FrameWise:
    assert isinstance(network.reuse, FrameWise)
    return network.reuse


def clips_of(network: Network, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (2, *network.model.shape[1:], 3)).astype(np.uint8)
    clip, base = map(network.model.preprocessing.clip, frames)
    return clip, base


def scorer_of(network: Network) -> FrameWiseScorer:
    scorer = network.scorer(*clips_of(network), 1)
    assert isinstance(scorer, FrameWiseScorer)
    return scorer


def windows(frames: int) -> np.ndarray:
    sizes = range(1, frames + 1)
    return 1 - window_membership(frames, enumerate_windows(frames, sizes))


def check(network: Network, allowed: float = 1e-5) -> None:
    """Windows, grids, full masks and their combinations score as the whole network does."""
    scorer, whole = scorer_of(network), network.whole(*clips_of(network), 1)
    t, h, w = scorer.shape
    random = np.random.default_rng(2)
    grid = gaussian_upsampling(h, w, 3.0, 2.0)
    cells = random.random((3, t, *grid.cells), dtype=np.float32)
    full = (random.random((4, t, h, w)) < random.random((4, t, 1, 1))).astype(np.float32)
    full[1, 0], full[2, 0] = full[0, 0], 1
    choice = random.integers(0, 3, (9, t))
    for keep, *more in (
        (windows(t),),
        (full,),
        (cells, grid),
        (cells, grid, choice),
        (full, None, choice),
        (windows(t)[::-1],),
    ):
        told: list[int] = []
        scores = scorer.score(keep, *more, progress=told.append)
        np.testing.assert_allclose(scores, whole.score(keep, *more), atol=allowed)
        assert sum(told) == len(scores)
    np.testing.assert_allclose(scorer.outputs(full), whole.outputs(full), atol=allowed)
    assert scorer.forwards == whole.forwards


FORMS = [
    *(pytest.param(Form(ending), id=ending) for ending in ENDINGS),
    *(
        pytest.param(Form(layout=layout), id=layout)
        for layout in ("NTCHW", "NTHWC", "TCHW", "THWC")
    ),
    pytest.param(Form(batch=1), id="batch declared 1"),
    pytest.param(Form(batch=1, pinned=True), id="batch pinned at 1"),
    pytest.param(Form(batch=3, pinned=True), id="batch pinned at 3"),
    pytest.param(Form(layout="TCHW", batch=1, pinned=True), id="folded, pinned at 1"),
    pytest.param(Form(own_place=True), id="a place's own embedding"),
    pytest.param(Form("attention", own_place=True), id="attention among places"),
]


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_the_whole_network(form: Form, tmp_path: Path) -> None:
    """Whatever joins the frames, and whatever the layout and the batch."""
    network = load(form, tmp_path)
    assert found(network).encoder.uniform != form.own_place
    check(network)


def test_half_precision_is_reused_as_far_as_it_rounds_alike(tmp_path: Path) -> None:
    """Other masks than those compared at the start may fall the other way in a last digit."""
    check(load(Form("lstm", kind=TensorProto.FLOAT16), tmp_path), allowed=1e-4)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    form=st.builds(
        Form,
        ending=st.sampled_from(sorted(ENDINGS)),
        layout=st.sampled_from(["NCTHW", "NTCHW", "NTHWC", "TCHW"]),
        frames=st.integers(2, 7),
        convolutions=st.integers(1, 3),
        batch=st.sampled_from([None, 1, 2]),
        own_place=st.booleans(),
        seed=st.integers(0, 99),
    )
)
def test_scores_of_random_networks_are_those_of_the_whole(form: Form, tmp_path: Path) -> None:
    """The same for any network of this kind."""
    network = load(form, tmp_path)
    assume(network.reuse)  # by chance frames may seem to meet
    check(network)


def test_windows_cost_two_forwards(tmp_path: Path) -> None:
    """The clip's frames and the base's are encoded once, however many windows hide which."""
    network = load(Form("mean"), tmp_path)
    scorer = scorer_of(network)
    keep = windows(5)
    scorer.score(keep)
    assert scorer.computed == pytest.approx(2 * (1 - scorer.combining) + 15 * scorer.combining)
    scorer.score(keep)
    assert scorer.computed == pytest.approx(2 * (1 - scorer.combining) + 30 * scorer.combining)
    assert scorer.forwards == 30
    assert 0 < scorer.combining < 0.01


@pytest.mark.parametrize("own_place", [False, True])
def test_combinations_cost_their_candidates(own_place: bool, tmp_path: Path) -> None:
    """A hundred clips of two candidates a frame take two forwards, and those under two masks too."""
    scorer = scorer_of(load(Form(own_place=own_place), tmp_path))
    random = np.random.default_rng(0)
    keep = random.random((2, 5, HEIGHT, WIDTH), dtype=np.float32)
    choice = random.integers(0, 2, (100, 5))
    scorer.score(keep, choice=choice)
    suffix = 100 * scorer.combining
    assert scorer.computed == pytest.approx(2 * (1 - scorer.combining) + suffix)


def test_frames_of_several_clips_are_encoded_together(tmp_path: Path) -> None:
    """Ten clips that each change another frame of five are two forwards, where places are alike."""
    network = load(Form(), tmp_path)
    scorer = scorer_of(network)
    scorer.score(windows(5))
    before = scorer.computed
    keep = np.ones((10, 5, HEIGHT, WIDTH), np.float32)
    keep[np.arange(10), np.arange(10) % 5, np.arange(10)] = 0
    scorer.score(keep)
    spent = scorer.computed - before - 10 * scorer.combining
    assert spent == pytest.approx(2 * (1 - scorer.combining))


def test_a_loop_behind_the_frames_has_a_price(tmp_path: Path) -> None:
    """Its body's work is not counted but timed."""
    form = Form("mean", layout="NTCHW")
    path = form.write(tmp_path)
    model = onnx.load(path)
    real = [TensorProto.FLOAT, [None, WIDE]]
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["timed", "step"], ["now"], axis=0),
            helper.make_node("Add", ["before", "now"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["after"]),
            helper.make_node("Identity", ["going"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", *real),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", *real),
        ],
    )
    graph = model.graph
    (mean,) = (node for node in graph.node if "h" in node.output)
    looping = [
        helper.make_node("Transpose", ["features"], ["timed"], perm=[1, 0, 2]),
        helper.make_node("Loop", ["count", "", "zero"], ["h"], body=body),
    ]
    own = [node for node in graph.node if node != mean]
    del graph.node[:]
    graph.node.extend([*own[:-1], *looping, own[-1]])
    graph.initializer.append(numpy_helper.from_array(np.array(form.frames), "count"))
    zero = np.zeros((1, WIDE), np.float32)
    graph.initializer.append(numpy_helper.from_array(zero, "zero"))
    onnx.save(model, path)
    network = load_network(load_model(path, form.facts()), "cpu")
    check(network)
    plain = load(Form("mean", layout="NTCHW"), tmp_path)
    assert found(plain).combining < found(network).combining < 1


def test_codes_beyond_the_memory_are_made_in_turn(tmp_path: Path) -> None:
    """With room for fifteen codes, ten clips of three own frames are scored by fives."""
    network = load(Form(), tmp_path, memory=15 * WIDE * 4)
    scorer, whole = scorer_of(network), network.whole(*clips_of(network), 1)
    keep = np.random.default_rng(0).random((10, 5, HEIGHT, WIDTH), dtype=np.float32)
    keep[:, 2:4] = 1
    np.testing.assert_allclose(scorer.score(keep), whole.score(keep), atol=1e-5)
    # Fives and their two frames of the clip itself: 15 + 2 frames, then 15, are four and three clips.
    share = found(network).combining
    assert scorer.computed == pytest.approx(7 * (1 - share) + 10 * share)


def test_combinations_are_no_bargain_where_memory_holds_few_codes(tmp_path: Path) -> None:
    """A search that combines many masks would have them encoded again and again."""
    clips = TOGETHER * 5 * WIDE * 4
    assert scorer_of(load(Form(), tmp_path, memory=clips - 1)).combining == 1
    assert scorer_of(load(Form(), tmp_path, memory=clips)).combining < 0.5


def test_clips_that_share_too_little_are_computed_whole(tmp_path: Path) -> None:
    """One frame in five of ten clips: nothing to speak of, and a clip's price is a forward."""
    network = load(Form(), tmp_path)
    scorer, whole = scorer_of(network), network.whole(*clips_of(network), 1)
    keep = np.random.default_rng(0).random((10, 5, HEIGHT, WIDTH), dtype=np.float32)
    keep[::2, 1] = 1
    np.testing.assert_array_equal(scorer.score(keep), whole.score(keep))
    assert scorer.computed == scorer.forwards == 10


def test_too_little_memory_for_three_clips_is_no_reuse(tmp_path: Path) -> None:
    """Those of the clip, the base and one between them."""
    assert load(Form(), tmp_path, memory=3 * 5 * WIDE * 4 - 1).reuse is None
    assert load(Form(), tmp_path, memory=3 * 5 * WIDE * 4).reuse


def test_frames_that_meet_at_once_leave_nothing_to_reuse(
    build_network: Callable[..., Path],
) -> None:
    """A first convolution through time: the scorer is the whole network's, and nothing is said."""
    path = build_network()
    plain = load_network(load_model(path, Facts()), "cpu", reuse=False)
    network = load_network(load_model(path, Facts()), "cpu")
    assert network.reuse is None
    assert network.notes == plain.notes
    assert network.scorer(*clips_of(network)).combining == 1


def test_reuse_may_be_declined(tmp_path: Path) -> None:
    """Then every clip is computed whole."""
    network = load(Form(), tmp_path, reuse=False)
    assert network.reuse is None
    assert network.scorer(*clips_of(network)).combining == 1


def test_a_prefix_that_lies_is_dropped_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places that are not alike, taken for alike, change the scores; the user is told."""
    find = splitting.find_prefix

    def lying(*asked: object) -> Prefix | None:
        prefix = find(*asked)
        assert prefix is not None
        return Prefix(prefix.cuts, prefix.shapes, prefix.share, uniform=True)

    monkeypatch.setattr(splitting, "find_prefix", lying)
    network = load(Form(own_place=True, frames=4), tmp_path)
    assert any("frames are not encoded once" in note for note in network.notes)
    assert network.reuse is None


def test_a_part_that_the_runtime_refuses_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is loaded all the same, without reuse, and the user is told why."""

    def refused(*asked: object) -> None:
        raise ModelError("no such operator")

    monkeypatch.setattr(splitting, "find_prefix", refused)
    network = load(Form(), tmp_path)
    assert network.reuse is None
    assert "clips share no work: no such operator" in network.notes


@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_a_bug_in_the_search_is_seen_and_costs_the_user_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its traceback is in a warning; the network is loaded all the same, without reuse."""

    def wrong(*asked: object) -> None:
        raise KeyError("our own")

    monkeypatch.setattr(splitting, "find_prefix", wrong)
    with pytest.warns(RuntimeWarning, match=r"please report it\nTraceback(.|\n)*our own"):
        network = load(Form(), tmp_path)
    assert network.reuse is None


def test_an_answer_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    """As it is of the whole network."""
    network = load(Form("mean"), tmp_path)
    clip, base = clips_of(network)
    with pytest.raises(ClipError, match="no number"):
        network.scorer(np.full_like(clip, np.inf), base).score(np.ones((1, 5), np.float32))


@pytest.mark.parametrize("form", [Form(), Form("folded attention heads", batch=3, pinned=True)])
def test_a_clip_that_memory_does_not_hold_is_an_error(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the smallest batch too: the user is told what to do."""
    network = load(form, tmp_path)

    def full(*asked: object) -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 123")

    monkeypatch.setattr("tiemcli.scorers.reuse.encoder.run_bound", full)
    with pytest.raises(DeviceError, match="no memory"):
        scorer_of(network).score(windows(5))


def test_what_is_saved_is_said(tmp_path: Path) -> None:
    """In a line that a user understands: of 15 windows two clips' frames remain, and .1 % of each."""
    assert found(load(Form("mean"), tmp_path)).description == (
        "each frame is encoded once, which saves 86.6 % of the windows' work"
    )


@pytest.mark.shared
def test_windows_of_a_real_recurrent_network_cost_little_more_than_two_forwards(
    shared_data: Path,
) -> None:
    """Of 74 windows over 20 frames only the LSTM is run each time."""
    model = load_model(shared_data / "models" / "ucf50_lrcn.onnx", Facts())
    network = load_network(model, "cpu")
    scorer, whole = scorer_of(network), network.whole(*clips_of(network), 1)
    keep = 1 - window_membership(20, enumerate_windows(20, window_sizes(20)))
    np.testing.assert_allclose(scorer.score(keep)[::9], whole.score(keep[::9]), atol=1e-5)
    assert scorer.computed < 2.3
    assert not any("not encoded once" in note for note in network.notes)


@pytest.mark.shared
@pytest.mark.slow
def test_a_real_per_frame_network_answers_for_each_frame_once(shared_data: Path) -> None:
    """All but the mean of its answers is frame-wise."""
    model = load_model(shared_data / "models" / "efficientnet_lite0_avg16.onnx", Facts())
    network = load_network(model, "cpu")
    scorer, whole = scorer_of(network), network.whole(*clips_of(network), 1)
    keep = 1 - window_membership(16, enumerate_windows(16, [4]))
    np.testing.assert_allclose(scorer.score(keep)[::6], whole.score(keep[::6]), atol=1e-5)
    assert scorer.computed < 2.1
