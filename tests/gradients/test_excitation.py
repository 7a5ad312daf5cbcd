"""Excitation backprop, compared with the papers' formulas in loops."""

import numpy as np
import pytest
import torch

from tiemcli.gradients.convolutions import with_normalisations_folded
from tiemcli.gradients.excitation import classifier, contrastive, excite
from tiemcli.gradients.excitation_cells import Unexcitable
from tiemcli.gradients.load import load

random = np.random.default_rng(0)


def ran(model, *clips):
    """The graph, and every value that it computes of the clips."""
    graph = load(model, "cpu", fold=False)
    values = {}
    inputs = [torch.from_numpy(np.asarray(clip, np.float32)) for clip in clips]
    graph.run(inputs, outer={}, seen=lambda node, made: values.update(made))
    return graph, values


def contrast_of(model, clip, layer, target=0):
    """P of a layer for a class, less that of the negated class."""
    graph, values = ran(model, clip)
    slope = torch.zeros_like(values["scores"])
    slope[0, target] = 1
    top = classifier(graph, layer, "scores")
    return contrastive(graph, values, top, slope, layer).numpy()


def excited(model, clip, layer):
    """P of a layer where what the last node reads begins with equal parts of 1."""
    graph, values = ran(model, clip)
    top = graph.steps[-1][0]
    name = top.inputs[0]
    beginning = {name: torch.full_like(values[name], 1 / values[name].numel())}
    return excite(graph, values, top, beginning, layer).numpy()


def in_loops(values, weights, sums, excitation):
    """P(a_j) = Σ_i P(a_i) · (a_j w_ij of the sum's sign) / Σ_j' of the same; weights: (I, J)."""
    found = np.zeros(len(values))
    for i, row in enumerate(weights):
        sign = 1 if sums[i] >= 0 else -1
        parts = [max(0, sign * a * w) for a, w in zip(values, row, strict=True)]
        for j, part in enumerate(parts):
            if sum(parts) > 0:
                found[j] += excitation[i] * part / sum(parts)
    return found


def test_two_layers_are_as_by_explicit_loops(parsed) -> None:
    """A ReLU network's P for each class, negated weights contrasted."""
    first, second, last = (random.normal(size=shape) for shape in ((6, 5), (4, 6), (3, 4)))
    clip = random.normal(size=5)
    model = parsed(
        """g (float[1,5] x) => (float[1,3] scores) {
            a = Gemm<transB=1>(x, first)  b = Relu(a)
            c = Gemm<transB=1>(b, second) d = Relu(c)
            scores = Gemm<transB=1>(d, last, bias)
        }""",
        first=first.astype(np.float32),
        second=second.astype(np.float32),
        last=last.astype(np.float32),
        bias=np.ones(3, np.float32),
    )
    b = np.maximum(first @ clip, 0)
    d = np.maximum(second @ b, 0)
    for target in range(3):
        row = last[target : target + 1]
        excitation = in_loops(d, row, [1], [1.0]) - in_loops(d, -row, [1], [1.0])
        expected = in_loops(b, second, [1] * 4, excitation)
        found = contrast_of(model, clip[None], "b", target)
        np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU, reset after", "RNN", "reverse LSTM"])
def test_recurrent_layers_are_as_by_explicit_loops(parsed, kind) -> None:
    """P of an input over time, gates constant, from the cells' equations."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
    name = next(known for known in gates if known in kind)
    options = "hidden_size=3"
    options += ", linear_before_reset=1" if "after" in kind else ""
    options += ', direction="reverse"' if "reverse" in kind else ""
    w, r = (random.normal(size=(1, gates[name] * 3, size)).astype(np.float32) for size in (2, 3))
    head = random.normal(size=(3, 2)).astype(np.float32)
    clip = random.normal(size=(4, 1, 2))
    model = parsed(
        f"""g (float[4,1,2] clip) => (float[1,2] scores) {{
            x = Relu(clip)
            y, h = {name}<{options}>(x, w, r)
            l = Squeeze(h, zeroth)
            scores = MatMul(l, head)
        }}""",
        w=w,
        r=r,
        head=head,
        zeroth=np.array([0]),
    )
    x = np.maximum(clip[:, 0], 0)
    x = x[::-1] if "reverse" in kind else x
    expected = np.zeros((4, 2))
    for sign in (1, -1):
        expected += sign * through_time(name, "after" in kind, x, w[0], r[0], sign * head[:, 0])
    expected = expected[::-1] if "reverse" in kind else expected
    np.testing.assert_allclose(contrast_of(model, clip, "x")[:, 0], expected, atol=1e-5)


def through_time(name, after, x, w, r, head):
    """The P of x (T, F), written for one clip from the cells' equations."""

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    h, c, past = np.zeros(3), np.zeros(3), []
    for row in x:
        if name == "LSTM":
            i, o, f, g = np.split(w @ row + r @ h, 4)
            g = np.tanh(g)
            past.append((h, g, sigmoid(i) * g, sigmoid(f) * c, w[9:], r[9:]))
            c = sigmoid(i) * g + sigmoid(f) * c
            h = sigmoid(o) * np.tanh(c)
        elif name == "GRU":
            z = sigmoid(w[:3] @ row + r[:3] @ h)
            reset = sigmoid(w[3:6] @ row + r[3:6] @ h)
            recurrence = reset[:, None] * r[6:] if after else r[6:] * reset
            n = np.tanh(w[6:] @ row + recurrence @ h)
            past.append((h, n, (1 - z) * n, z * h, w[6:], recurrence))
            h = (1 - z) * n + z * h
        else:
            n = np.tanh(w @ row + r @ h)
            past.append((h, n, n, np.zeros(3), w, r))
            h = n
    found = np.zeros_like(x)
    p = in_loops(h, head[None], [1], [1.0])
    for t, (before, new, written, kept, weights, recurrence) in reversed(list(enumerate(past))):
        total = written + kept
        shares = [np.maximum(0, np.sign(total) * part) for part in (written, kept)]
        to_new, to_kept = (p * share / np.maximum(sum(shares), 1e-30) for share in shares)
        both = np.concatenate([x[t], before])
        parts = in_loops(both, np.hstack([weights, recurrence]), new, to_new)
        found[t] = parts[:2]
        p = parts[2:] + to_kept
    return found


CONSERVING = {
    "convolution": "b = Conv<pads=[1,1,1,1]>(a, positive)",
    "normalisation": "c = Conv<pads=[1,1,1,1]>(a, positive) "
    "b = BatchNormalization(c, two, two, two, two)",
    "largest": "b = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)",
    "average": "b = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(a)",
    "sum": "c = Conv<pads=[1,1,1,1]>(a, positive)  b = Add(a, c)",
    "running sum": "b = CumSum(a, axis)",
    "parts": "c = Concat<axis=0>(a, a)  d = Transpose<perm=[1,0,3,2]>(c)  b = ReduceMean<axes=[2]>(d)",
    "gate": "c = Conv(a, point)  d = Sigmoid(c)  b = Mul(d, a)",
    "squeeze and excite": "c = GlobalAveragePool(a) d = Conv(c, point) e = Tanh(d) b = Mul(a, e)",
    "activations": "c = Add(a, bias)  d = Mul(c, bias)  e = Tanh(d)  b = Clip(e, low)",
}


@pytest.mark.parametrize("middle", CONSERVING.values(), ids=CONSERVING)
def test_what_arrives_is_handed_on_in_full(parsed, middle) -> None:
    """P stays 1 in sum and nowhere below 0 where no sum is without a part that excites it."""
    model = parsed(
        f"g (float[1,2,6,6] x) => (float[S] y) {{ a = Relu(x)  {middle}  y = Relu(b) }}",
        positive=random.random((2, 2, 3, 3)).astype(np.float32),
        point=random.normal(size=(2, 2, 1, 1)).astype(np.float32),
        two=np.array([1, 2], np.float32),
        bias=np.full((1, 1, 1), 0.5, np.float32),
        low=np.array(-1, np.float32),
        axis=np.array(2),
    )
    found = excited(model, random.random((1, 2, 6, 6)) + 0.1, "a")
    assert found.shape == (1, 2, 6, 6)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-5)


def test_what_a_branch_has_of_a_sum_is_in_proportion(parsed) -> None:
    """A positive sum of 1 + 3 is shared 1 : 3; a negative one is all of the part below 0."""
    model = parsed(
        "g (float[2] x) => (float[2] y) { a = Relu(x) b = Mul(a, three) c = Add(a, b) y = Relu(c) }",
        three=np.array([3.0, -3.0], np.float32),
    )
    graph, values = ran(model, np.array([1.0, 2.0]))
    top = graph.steps[-1][0]
    found = excite(graph, values, top, {"c": torch.tensor([0.6, 0.4])}, "b")
    # The second sum is 2 − 6 < 0, which b alone makes so.
    np.testing.assert_allclose(found, [0.45, 0.4], rtol=1e-6)


def test_what_speaks_for_and_against_a_class_alike_cancels(parsed) -> None:
    """Equal weights of both signs on the same values leave a contrast of 0."""
    weights = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    model = parsed(
        """g (float[1,3] x) => (float[1,3] scores) {
            a = Relu(x)  b = Concat<axis=1>(a, a)  scores = MatMul(b, weights)
        }""",
        weights=weights,
    )
    assert not contrast_of(model, np.array([[1.0, 2.0, 3.0]]), "a").any()


def test_a_folded_normalisation_turns_the_weights_that_it_negates(parsed) -> None:
    """A scale below 0 makes a weight below 0 the one that excites."""
    model = parsed(
        """g (float[1,2,1,1] x) => (float[1,1,1,1] scores) {
            a = Relu(x)  c = Conv(a, kernel)  n = BatchNormalization(c, minus, zero, zero, one)
            b = Relu(n)  scores = Conv(b, one4)
        }""",
        kernel=np.array([1, -2], np.float32).reshape(1, 2, 1, 1),
        minus=np.array([-1], np.float32),
        zero=np.zeros(1, np.float32),
        one=np.ones(1, np.float32),
        one4=np.ones((1, 1, 1, 1), np.float32),
    )
    graph, values = ran(model, np.ones((1, 2, 1, 1)))
    folded = with_normalisations_folded(graph)
    top = classifier(folded, "a", "scores")
    found = contrastive(folded, values, top, torch.ones(1, 1, 1, 1), "a")
    np.testing.assert_allclose(found.flatten(), [0, 1])


def test_an_operator_without_a_rule_is_named(parsed) -> None:
    """The error says which operator it is."""
    model = parsed(
        """g (float[1,4] x) => (float[1,4] scores) {
            a = Relu(x) b = Softmax<axis=1>(a) scores = MatMul(b, w)
        }""",
        w=np.eye(4, dtype=np.float32),
    )
    with pytest.raises(Unexcitable, match="Softmax"):
        contrast_of(model, np.ones((1, 4)), "a")


def test_no_classifier_is_found_where_no_weights_follow_the_layer(parsed) -> None:
    """Weights before the layer do not count."""
    model = parsed(
        "g (float[1,4] x) => (float[1,4] scores) { a = MatMul(x, w)  scores = Relu(a) }",
        w=np.eye(4, dtype=np.float32),
    )
    graph, _ = ran(model, np.ones((1, 4)))
    assert classifier(graph, "a", "scores") is None
