"""A network's front in tables, compared with the network's own tensors."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper, parser

from tiemcli.kernels.fuse import Port
from tiemcli.kernels.schedule import front_work, groups, schedule
from tiemcli.kernels.split import ROWS_OF, TABLE
from tiemcli.kernels.subgraph import subnetwork
from tiemcli.kernels.tables import MOVE, Front, fronts, segment_model
from tiemcli.kernels.unroll import find_unrolling
from tiemcli.kernels.work import multiply_adds, value_shapes

SIZES = {"C": 3, "T": 7, "H": 6, "W": 5}
RESIDUAL = """
    a = Conv<pads = [0, 1, 1, 0, 1, 1], strides = [1, 2, 1]>(x, spatial, bias)
    b = Relu(a)
    c = Conv<pads = [1, 0, 0, 1, 0, 0]>(b, temporal)
    d = Conv<pads = [1, 0, 0, 1, 0, 0]>(c, temporal)
    e = Add(d, b)
    f = Sigmoid(e)
    g = Mul(f, e)
    h = Conv<strides = [2, 1, 1]>(g, pointwise, bias)
"""
INCEPTION = """
    a = Conv<pads = [1, 1, 1, 1, 1, 1], dilations = [1, 1, 1]>(x, both, bias)
    b = MaxPool<kernel_shape = [3, 2, 2], strides = [2, 1, 2], pads = [1, 0, 0, 1, 0, 0]>(a)
    c = Conv<pads = [1, 0, 0, 1, 0, 0]>(b, temporal)
    d = Conv(b, pointwise)
    e = Concat<axis = 1>(c, d, b)
    f = BatchNormalization(e, twelve, twelve, twelve, twelve)
    h = Clip(f, zero, six)
"""
DEPTHWISE = """
    a = Conv(x, pixel)
    b = Conv<group = 4, pads = [2, 1, 1, 2, 1, 1], dilations = [2, 1, 1]>(a, depthwise, bias)
    c = Mul(b, scale)
    d = Add(c, a)
    h = AveragePool<kernel_shape = [1, 2, 2], strides = [1, 1, 1]>(d)
"""
UNPADDED = "a = Conv(x, both) b = Relu(a) h = Conv<strides = [2, 1, 1]>(b, temporal)"
BODIES = {"residual": RESIDUAL, "inception": INCEPTION, "depthwise": DEPTHWISE, "plain": UNPADDED}


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    shapes = {
        "spatial": (4, 3, 1, 3, 3),
        "both": (4, 3, 3, 3, 3),
        "pixel": (4, 3, 1, 1, 1),
        "temporal": (4, 4, 3, 1, 1),
        "pointwise": (4, 4, 1, 1, 1),
        "depthwise": (4, 1, 3, 3, 3),
        "scale": (4, 1, 1, 1),
        "bias": (4,),
    }
    floats = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    twelve = random.random(12, dtype=np.float32) + 0.5
    return floats | {"twelve": twelve, "zero": np.float32(0), "six": np.float32(6)}


def network(body: str, layout: str = "NCTHW", opset: int = 17) -> onnx.ModelProto:
    """From `clip` of this layout to `logits`, the mean of `h` over time and space."""
    order = ", ".join(str(layout.index(axis)) for axis in "NCTHW")
    sizes = ",".join(str(SIZES.get(axis, "N")) for axis in layout)
    model = parser.parse_model(
        f'<ir_version: 9, opset_import: ["": {opset}]> '
        f"net (float[{sizes}] clip) => (float[N, K] logits) {{ x = Transpose<perm = [{order}]>(clip) {body}"
        " mean = GlobalAveragePool(h) logits = Flatten(mean) }"
    )
    read = {name for node in model.graph.node for name in node.input}
    for name, array in weights().items():
        if name in read:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def run(model: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {"clip": value}) for value in inputs]


def shapes_of(model: onnx.ModelProto, layout: str) -> dict[str, tuple[int, ...]]:
    still = np.zeros([SIZES.get(axis, 1) for axis in layout], np.float32)
    return value_shapes(model, still, run)


def fronts_of(model: onnx.ModelProto, layout: str = "NCTHW") -> list[Front]:
    port = Port("clip", layout, SIZES, TensorProto.FLOAT, "logits", "logits", 4)
    shapes = shapes_of(model, layout)
    unrolling = find_unrolling(model, port, shapes)
    return [] if unrolling is None else list(fronts(model, "logits", unrolling, shapes))


def tables(model: onnx.ModelProto, front: Front, clips: np.ndarray) -> dict[str, np.ndarray]:
    """All tables for clips (N, C, T, H, W), nothing shared: (N, P, C, H, W), NaN where not needed."""
    unrolling, count = front.unrolling, len(clips)
    filled = {
        table: np.full(
            (count, len(needed), *unrolling.slices[table].shape), np.nan, dtype=np.float32
        )
        for table, needed in front.needed.items()
    }
    for segment in front.segments:
        part = segment_model(model, unrolling, segment)
        session = ort.InferenceSession(part.SerializeToString())
        for place in segment.places:
            fed = {}
            for name in segment.reads:
                read = unrolling.reads[name]
                there = read.places[place]
                source = filled[read.source][:, max(there, 0)]
                fed[TABLE.format(name)] = source if there >= 0 else 0 * np.nan_to_num(source)
                fed[ROWS_OF.format(name)] = np.arange(count)
            if segment.level == 0:
                fed["clip"] = np.ascontiguousarray(clips[:, :, place])
            answers = session.run([f"tiem.{table}" for table in segment.tables], fed)
            for table, answer in zip(segment.tables, answers, strict=True):
                filled[table][:, place] = answer
    return filled


def check_tables(model: onnx.ModelProto, layout: str = "NCTHW") -> None:
    """Wherever the network is cut, what the rest reads is what the network computes there."""
    clips = np.random.default_rng(0).normal(size=(2, *SIZES.values())).astype(np.float32)
    found = fronts_of(model, layout)
    assert found
    for front in found:
        fed = clips.transpose(["NCTHW".index(axis) for axis in layout])
        (own,) = run(subnetwork(model, front.crossing), [np.ascontiguousarray(fed)])
        filled = tables(model, front, clips)
        for table, tensor in zip(front.crossing, own, strict=True):
            assert front.unrolling.slices[table].axes == "NCTHW"
            np.testing.assert_allclose(filled[table], tensor.swapaxes(1, 2), atol=1e-4)


@pytest.mark.parametrize("layout", ["NCTHW", "NTHWC", "NCHWT"])
@pytest.mark.parametrize("name", BODIES)
def test_tables_hold_the_networks_own_tensors(name: str, layout: str) -> None:
    """Of any form of convolution and whatever joins them, in any layout."""
    check_tables(network(BODIES[name], layout), layout)


@pytest.mark.parametrize("opset", [7, 8, 10, 13, 21])
def test_every_version_of_the_operators_will_do(opset: int) -> None:
    """Where each tap falls on padding somewhere the bias is added by itself, for want of a sum that
    broadcasts in the oldest version."""
    body = "a = Conv<pads = [2, 1, 1, 2, 1, 1]>(x, both, bias) b = Relu(a) h = Conv(b, temporal)"
    check_tables(network(body, opset=opset))


def test_a_rest_that_reads_the_clip_itself_leaves_no_front() -> None:
    """Also where weights are inputs of the graph, in front of the clip."""
    body = "a = Conv<pads = [1, 0, 0, 1, 0, 0]>(x, both) b = ReduceMean<axes = [2]>(clip) h = Add(a, b)"
    model = network(body.replace("both", "pixel3"))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(kernel, "pixel3"))
    weight = onnx.helper.make_tensor_value_info("pixel3", TensorProto.FLOAT, kernel.shape)
    model.graph.input.insert(0, weight)
    assert fronts_of(model) == []


def test_work_is_the_networks_own_where_nothing_is_shared() -> None:
    """The multiply-adds of all rows and of the rest are those of the network, where no tap falls on
    padding."""
    model = network("a = Conv(x, both) b = Relu(a) h = Conv(b, temporal)")
    shapes = shapes_of(model, "NCTHW")
    whole = sum(multiply_adds(node, shapes) for node in model.graph.node)
    found = fronts_of(model)
    assert len(found) == 2
    for front in found:
        done = sum(segment.work * len(segment.places) for segment in front.segments)
        assert done + front.rest == front.whole == whole


def test_a_stride_in_time_leaves_out_what_nobody_reads() -> None:
    """Slices that a strided convolution steps over are not computed for it: each tap is applied to
    those it falls on."""
    (front, *_) = fronts_of(network(UNPADDED))[-1:]
    by_tap = {table: front.needed[table] for table in front.needed if table.startswith("h.tap")}
    # Five slices of b, of which h takes 0 1 2 and 2 3 4.
    assert {table: np.flatnonzero(needed).tolist() for table, needed in by_tap.items()} == {
        "h.tap0": [0, 2],
        "h.tap1": [1, 3],
        "h.tap2": [2, 4],
    }


def test_levels_reach_what_convolutions_reach() -> None:
    """A level's places are decided by the frames of their receptive fields, a sum's by both its
    branches'."""
    (front, *_) = fronts_of(network(RESIDUAL))[-1:]
    unrolling = front.unrolling
    reach = {name: unrolling.levels[unrolling.slices[name].level].reach for name in "bceh"}
    width = {"b": 0, "c": 1, "e": 2}
    for name, most in width.items():
        apart = abs(np.arange(7)[:, None] - np.arange(7)) <= most
        np.testing.assert_array_equal(reach[name], apart)
    np.testing.assert_array_equal(reach["h"], reach["e"][::2])
    assert unrolling.slices["d"].level == unrolling.slices["e"].level


@pytest.mark.parametrize(
    "body",
    [
        "a = Softmax<axis = 2>(x) h = Conv(a, both)",
        "a = Mul(x, every) h = Conv(a, both)",
        'h = Conv<auto_pad = "SAME_UPPER">(x, both)',
        "h = Conv(x, whole)",
        "h = AveragePool<kernel_shape = [2, 1, 1]>(x)",
        "h = MaxPool<kernel_shape = [2, 1, 1], strides = [2, 1, 1], ceil_mode = 1>(x)",
    ],
)
def test_what_is_not_known_slice_by_slice_ends_the_front(body: str) -> None:
    """A softmax over time, numbers that change in time, a form of padding that is not understood, a
    convolution over the whole clip, a mean over frames: none is put into tables."""
    model = network(body)
    random = np.random.default_rng(0)
    every = random.normal(size=(1, 7, 1, 1)).astype(np.float32)
    whole = random.normal(size=(4, 3, 7, 1, 1)).astype(np.float32)
    for name, array in {"every": every, "whole": whole}.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    assert fronts_of(model) == []


def test_the_front_ends_where_time_is_mixed() -> None:
    """What comes before a mean over time is put into tables, what follows is left to the rest."""
    body = "a = Conv(x, both) b = ReduceMean<axes = [2]>(a) c = Add(a, b) h = Relu(c)"
    (front,) = fronts_of(network(body))
    assert front.crossing == ("a",)
    assert {node.node.op_type for s in front.segments for node in s.nodes} == {
        "Conv",
        "Identity",
        "Sum",
    }


def test_slots_are_given_to_one_row_at_a_time() -> None:
    """No row is written over before its last reader has read it, and every read finds its row."""
    model = network(RESIDUAL)
    ids = np.random.default_rng(0).integers(0, 3, (9, 7)) * 7 + np.arange(7)
    for front in fronts_of(model):
        rows = front.rows(ids)
        plan = schedule(front, rows)
        held: dict[tuple, tuple[str, int]] = {}
        for unit in plan.units:
            segment = front.segments[unit.segment]
            own = rows[segment.level]
            for name, slots in unit.reads.items():
                read = front.unrolling.reads[name]
                known = front.unrolling.slices[read.source]
                for row, slot in zip(unit.rows, slots, strict=True):
                    there = read.places[own.place[row]]
                    if there < 0:
                        assert slot == 0
                        continue
                    wanted = rows[known.level].index[own.clip[row], there]
                    assert held[known.shape, slot] == (read.source, wanted)
            for table, first in unit.writes.items():
                shape = front.unrolling.slices[table].shape
                assert 0 < first <= plan.slots[shape] - len(unit.rows)
                for offset, row in enumerate(unit.rows):
                    held[shape, first + offset] = (table, row)
        for table in front.crossing:
            known = front.unrolling.slices[table]
            for clip, place in np.ndindex(plan.index[table].shape):
                wanted = rows[known.level].index[clip, place]
                assert held[known.shape, plan.index[table][clip, place]] == (table, wanted)


def test_predicted_time_counts_rows_and_what_is_moved() -> None:
    """Each distinct row costs its multiply-adds and the numbers that are moved for it; clips that are
    all alike cost the tables of one."""
    front = fronts_of(network(UNPADDED))[-1]
    once = np.arange(7)[None]
    alone, alike = front_work(front, front.rows(once), 1), 5 * (once * 0) + once.repeat(5, 0)
    shared = front_work(front, front.rows(alike), 5)
    handed = sum(front.row_bytes(name) * len(front.needed[name]) for name in front.crossing)
    assert shared - alone == pytest.approx(4 * (front.rest + MOVE * handed / 2))
    found = groups(front, alike, 1 << 30, np.inf)
    assert found is not None
    assert (len(found[0]), found[1]) == (1, pytest.approx(shared))
    assert groups(front, alike, 1 << 30, shared - 1) is None
