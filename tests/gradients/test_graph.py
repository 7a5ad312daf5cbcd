"""Small graphs in ONNX's text form: types, rounding, names, errors, folding, branches and loops."""

import numpy as np
import onnx
import pytest
import torch
from onnx import parser
from torch import nn

from tiemcli.gradients import Differentiable, Unsupported
from tiemcli.gradients.graph import OperatorError
from tiemcli.gradients.load import load


def gradient(function, x):
    """The gradient of the sum over the batch of one logit."""
    return torch.autograd.grad(function(x)[:, 1].sum(), x)[0]


def test_an_integer_input_is_fed_as_floats(parsed, reference):
    """A uint8 network gives a float clip a gradient: its cast is the identity."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    model = parsed(
        """g (uint8[2,8,8,3] clip) => (float[2,4] logits) {
            pixels = Cast<to=1>(clip)
            scaled = Div(pixels, top)
            first = Transpose<perm=[0,3,1,2]>(scaled)
            maps = Conv(first, weight)
            logits = ReduceMean<axes=[2,3], keepdims=0>(maps)
        }""",
        weight=weight,
        top=np.float32(255),
    )
    clip = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    x = torch.from_numpy(clip).float().requires_grad_()
    network = Differentiable(model)
    np.testing.assert_allclose(network(x)[0].detach().numpy(), reference(model, clip)[0], atol=1e-5)

    def native(x):
        maps = nn.functional.conv2d((x / 255).permute(0, 3, 1, 2), torch.from_numpy(weight))
        return maps.mean((2, 3))

    torch.testing.assert_close(gradient(lambda x: network(x)[0], x), gradient(native, x))


@pytest.mark.parametrize("operator", ["Round", "Floor", "Ceil"])
def test_rounding_is_straight_through(parsed, operator):
    """Rounding rounds, exactly, and has the gradient of the identity."""
    network = Differentiable(parsed(f"g (float[3] x) => (float[3] y) {{ y = {operator}(x) }}"))
    x = torch.tensor([-1.6, 0.1, 0.5], requires_grad=True)
    (y,) = network(x)
    function = {"Round": torch.round, "Floor": torch.floor, "Ceil": torch.ceil}[operator]
    assert torch.equal(y, function(x))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones(3))


def test_a_quantised_network_has_nearly_the_float_gradient(parsed, reference):
    """Quantisation before a convolution: onnxruntime's values, the float gradient's direction."""
    rng = np.random.default_rng(6)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    steps = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    levels = np.round(weight / steps[:, None, None, None]).astype(np.int8)
    model = parsed(
        """g (float[2,3,8,8] clip) => (float[2,4] logits) {
            coarse = QuantizeLinear(clip, step, zero)
            fine = DequantizeLinear(coarse, step, zero)
            weight = DequantizeLinear<axis=0>(levels, steps, zeros)
            maps = Conv(fine, weight)
            bent = Tanh(maps)
            logits = ReduceMean<axes=[2,3], keepdims=0>(bent)
        }""",
        levels=levels,
        steps=steps,
        zeros=np.zeros(4, np.int8),
        step=np.float32(0.05),
        zero=np.uint8(128),
    )
    clip = rng.uniform(-3, 3, (2, 3, 8, 8)).astype(np.float32)
    x = torch.from_numpy(clip).requires_grad_()
    network = Differentiable(model)
    np.testing.assert_allclose(network(x)[0].detach().numpy(), reference(model, clip)[0], atol=1e-5)

    def native(x):
        return nn.functional.conv2d(x, torch.from_numpy(weight)).tanh().mean((2, 3))

    ours, floats = gradient(lambda x: network(x)[0], x), gradient(native, x)
    assert torch.cosine_similarity(ours.flatten(), floats.flatten(), dim=0) > 0.99


def test_names_follow_the_file(parsed):
    """Input and output names are the file's, an input with a stored value left out."""
    text = "g (float[2] a, float[2] w, float[2] b) => (float[2] p, float[2] q) "
    model = parsed(text + "{ p = Add(a, w)\n q = Mul(b, w) }", w=np.float32([2, 3]))
    network = Differentiable(model)
    assert network.input_names == ("a", "b")
    assert network.output_names == ("p", "q")
    p, q = network(torch.tensor([1.0, 1.0]), torch.tensor([5.0, 7.0]))
    assert p.tolist() == [3, 4]
    assert q.tolist() == [10, 21]


def test_unsupported_operators_are_named_at_load(parsed):
    """Operators that nothing computes are listed, sorted, those of a branch too."""
    text = """g (float[2] x, bool c) => (float[2] y) {
        y = If (c) <
            then_branch = t () => (float[2] a) { a = Unique(x) },
            else_branch = e () => (float[2] b) { b = Warp(x) }
        >
    }"""
    with pytest.raises(Unsupported) as caught:
        Differentiable(parsed(text))
    assert caught.value.operators == ("Unique", "Warp")
    assert "Unique, Warp" in caught.value.message
    assert "\n" not in str(caught.value)


def test_another_domain_is_named_with_its_operator():
    """An operator of another domain keeps the domain in front."""
    node = onnx.helper.make_node("Conv", ["x"], ["y"], domain="com.microsoft.nchwc")
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    with pytest.raises(Unsupported) as caught:
        Differentiable(onnx.helper.make_model(graph))
    assert caught.value.operators == ("com.microsoft.nchwc::Conv",)
    assert "ORT_ENABLE_ALL" in caught.value.message
    assert "ORT_ENABLE_EXTENDED" in caught.value.hint


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_an_empty_tensor_is_looked_up_and_written(parsed, reference, shape):
    """GatherND and ScatterND with nothing to do, as a shift by 0 leaves them, do nothing."""
    first = 2 if shape[0] else 0
    model = parsed(
        f"""g (float[{shape[0]},{shape[1]}] x) => (float[n,m] y, float[k,m] z) {{
            y = ScatterND(x, places, updates)
            z = GatherND(x, places)
        }}""",
        places=np.arange(first)[:, None],
        updates=np.ones((first, shape[1]), np.float32),
    )
    x = np.ones(shape, np.float32)
    for found, expected in zip(
        Differentiable(model)(torch.from_numpy(x)), reference(model, x), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_nodes_may_come_in_any_order(parsed, reference):
    """A file whose nodes read what later ones make, in a branch too, runs as onnxruntime runs it."""
    model = parsed(
        """g (float[3] x, bool c) => (float[3] y) {
            y = If (c) <
                then_branch = t () => (float[3] a) { a = Mul(late, x) },
                else_branch = e () => (float[3] b) { b = Identity(late) }
            >
            late = Add(later, x)
            later = Tanh(x)
        }"""
    )
    x = np.float32([-1, 0.5, 2])
    for taken in (True, False):
        condition = np.array(taken)
        (expected,) = reference(model, x, condition)
        (found,) = Differentiable(model)(torch.from_numpy(x), torch.from_numpy(condition))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("text", ["y = MatMul(x, x)", "y = Add(x, nowhere)"])
def test_a_failure_names_operator_and_node(parsed, text):
    """Wrong shapes and missing values raise a RuntimeError that says where."""
    model = parsed(f"g (float[2,3] x) => (float[2,3] y) {{ {text} }}")
    model.graph.node[0].name = "block/here"
    network = Differentiable(model)
    with pytest.raises(OperatorError, match=f"{model.graph.node[0].op_type} 'block/here'"):
        network(torch.zeros(2, 3))


def test_a_missing_output_is_named(parsed):
    """An output that no node computes raises the same error."""
    network = Differentiable(parsed("g (float[2] x) => (float[2] absent) { y = Neg(x) }"))
    with pytest.raises(OperatorError, match="nothing computes the output 'absent'"):
        network(torch.zeros(2))


def test_local_functions_are_inlined():
    """A function that the file defines is computed as its body."""
    model = parser.parse_model(
        """<ir_version: 9, opset_import: ["": 17, "own": 1]>
        g (float[2] x) => (float[2] y) { y = own.twice(x) }
        <domain: "own", opset_import: ["": 17]> twice (a) => (b) { b = Add(a, a) }"""
    )
    assert Differentiable(model)(torch.tensor([1.0, 2.0]))[0].tolist() == [2, 4]


def test_constants_are_folded_and_dead_values_freed(parsed):
    """What constants alone decide is computed at load; a value is dropped after its last reader."""
    model = parsed(
        """g (float[2] x) => (float[2] y) {
            three = Add(one, two)
            six = Add(three, three)
            a = Mul(x, six)
            b = Neg(a)
            y = Add(b, six)
        }""",
        one=np.float32(1),
        two=np.float32(2),
    )
    graph = load(model, "cpu")
    assert list(graph.constants) == ["six"]
    assert [dead for _, dead in graph.steps] == [("x",), ("a",), ("b", "six")]
    assert graph.run([torch.tensor([1.0, 2.0])], outer={})[0].tolist() == [0, -6]


def slope(model, x):
    """The gradient of the sum of the first output."""
    return torch.autograd.grad(Differentiable(model)(x)[0].sum(), x)[0]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_branch_follows_its_condition_and_sees_outer_names(parsed, reference, sign):
    """If runs one branch, on values of the graph around it, and the gradient goes through that."""
    model = parsed(
        """g (float[3] x) => (float[3] y) {
            total = ReduceSum<keepdims=0>(x)
            rising = Greater(total, zero)
            y = If (rising) <
                then_branch = t () => (float[3] a) { a = Mul(x, x) },
                else_branch = e () => (float[3] b) { b = Mul(x, factor) }
            >
        }""",
        zero=np.float32(0),
        factor=np.float32(3),
    )
    x = torch.tensor([1.0, 2.0, 4.0]).mul(sign).requires_grad_()
    (y,) = Differentiable(model)(x)
    np.testing.assert_allclose(y.detach().numpy(), reference(model, x.detach().numpy())[0])
    expected = 2 * x.detach() if sign > 0 else torch.full((3,), 3.0)
    assert torch.equal(slope(model, x), expected)


def test_a_loop_carries_its_state_and_stacks_its_outputs(parsed, reference):
    """Loop multiplies by an outer value until its condition fails; the gradient is the power's."""
    model = parsed(
        """g (float[2] x) => (float[2] last, float[n,2] every) {
            last, every = Loop (limit, , one) <
                body = b (int64 turn, bool going, float[2] state)
                    => (bool on, float[2] next, float[2] seen) {
                    on = Less(turn, three)
                    next = Mul(state, x)
                    seen = Identity(next)
                }
            >
        }""",
        limit=np.int64(9),
        three=np.int64(3),
        one=np.ones(2, np.float32),
    )
    x = torch.tensor([2.0, -3.0], requires_grad=True)
    last, every = Differentiable(model)(x)
    for ours, theirs in zip((last, every), reference(model, x.detach().numpy()), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs)
    assert every.shape == (4, 2)
    assert torch.equal(slope(model, x), 4 * x.detach() ** 3)


def test_a_scan_walks_an_axis_backwards(parsed, reference):
    """Scan sums along the second axis from its end, and stacks its outputs in the same order."""
    model = parsed(
        """g (float[2,3] x) => (float[2] total, float[2,3] running) {
            total, running = Scan (start, x) <
                num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
                scan_output_axes = [1], scan_output_directions = [1],
                body = b (float[2] state, float[2] slice) => (float[2] sum, float[2] copy) {
                    sum = Add(state, slice)
                    copy = Identity(sum)
                }
            >
        }""",
        start=np.zeros(2, np.float32),
    )
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    total, running = Differentiable(model)(x)
    for ours, theirs in zip((total, running), reference(model, x.detach().numpy()), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs)
    assert running.tolist() == [[3, 3, 2], [12, 9, 5]]
    (along,) = torch.autograd.grad(running[:, 0].sum(), x)
    assert torch.equal(along, torch.ones(2, 3))
