"""Every operator of ours against the cases that ONNX itself keeps for it."""

import warnings
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from tiemcli.gradients import Differentiable, Unsupported
from tiemcli.gradients.registry import OPERATORS

OURS = sorted(op_type for domain, op_type in OPERATORS if domain == "")

# ONNX has no case of one node for these; those of several nodes reach all but the last two.
WITHOUT_CASES = {
    "ConcatFromSequence",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceLength",
    "GlobalLpPool",
    "Optional",
}

# Operators of which some forms are refused at load; any other refusal fails its test.
REFUSED = {
    "Attention": "forms with padded keys or a past, whose function bodies ONNX's inliner rejects",
    "BatchNormalization": "training",
    "Cast": "strings, 8-bit floats, 4-bit and 2-bit integers",
    "CastLike": "strings, 8-bit floats, 4-bit and 2-bit integers",
    "DequantizeLinear": "8-bit floats, and 4-bit and 2-bit integers as network inputs",
    "Dropout": "training",
    "Equal": "strings",
    "MaxPool": "with the positions of the maxima",
    "QuantizeLinear": "8-bit floats, 4-bit and 2-bit integers",
    "Resize": "tf_crop_and_resize",
    "Scan": "its form of opset 8",
}

NO_UINT16 = "torch does no arithmetic on uint16"
REFUSAL = "refused"
DEVIATIONS = {
    "test_add_uint16": NO_UINT16,
    "test_bitwise_not_3d": NO_UINT16,
    "test_div_uint16": NO_UINT16,
    "test_greater_equal_uint16": NO_UINT16,
    "test_greater_equal_uint16_expanded": NO_UINT16,
    "test_greater_uint16": NO_UINT16,
    "test_less_equal_uint16": NO_UINT16,
    "test_less_equal_uint16_expanded": NO_UINT16,
    "test_less_uint16": NO_UINT16,
    "test_max_uint16": NO_UINT16,
    "test_min_uint16": NO_UINT16,
    "test_mod_uint16": NO_UINT16,
    "test_sub_uint16": NO_UINT16,
}


@pytest.fixture(scope="module")
def cases() -> Mapping[str, list]:
    """ONNX's cases by the type of their node, those of several nodes under ""."""
    grouped = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the arithmetic of the reference, not ours
        for case in collect_testcases(None):
            if case.model is not None:
                nodes = case.model.graph.node
                grouped[nodes[0].op_type if len(nodes) == 1 else ""].append(case)
    return grouped


def plain(value) -> np.ndarray:
    """A case's value, which some cases keep as ONNX's own tensor."""
    return (
        numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    )


def given(value):
    """A case's input as a tensor, a list of them for a sequence, None for an empty optional."""
    if value is None or isinstance(value, list):
        return value if value is None else [given(element) for element in value]
    array = plain(value)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(np.array(array))


def agree(ours, expected) -> None:
    """Equal shapes and, within the precision of the expected type, equal values."""
    if isinstance(expected, list):
        assert len(ours) == len(expected)
        for one, other in zip(ours, expected, strict=True):
            agree(one, other)
        return
    expected = plain(expected)
    half = expected.dtype.name in ("float16", "bfloat16")
    tolerance = 2e-2 if half else 1e-3
    assert tuple(ours.shape) == expected.shape
    np.testing.assert_allclose(
        ours.numpy().astype(np.float64),
        expected.astype(np.float64),
        rtol=tolerance,
        atol=tolerance,
    )


def outcomes(cases) -> dict[str, str]:
    """What went wrong, by the name of the case, where something did that is not a known deviation."""
    found = {case.name: outcome(case) for case in cases if case.name not in DEVIATIONS}
    return {name: what for name, what in found.items() if what}


def outcome(case) -> str:
    """'' if the case passes, REFUSAL if its network is refused, else what went wrong."""
    try:
        network = Differentiable(case.model)
    except Unsupported:
        return REFUSAL
    try:
        for inputs, outputs in case.data_sets:
            for ours, expected in zip(network(*map(given, inputs)), outputs, strict=False):
                agree(ours, expected)
    except Unsupported:
        return REFUSAL
    except (RuntimeError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("op_type", OURS)
def test_an_operator_computes_what_onnx_says(cases, op_type):
    """Each of ONNX's cases passes, unless a form of the operator is refused that we know of."""
    wrong = outcomes(cases.get(op_type, []))
    if op_type in REFUSED:
        wrong = {name: what for name, what in wrong.items() if what != REFUSAL}
    assert wrong == {}


def test_only_the_listed_operators_have_no_case_of_one_node(cases):
    """An operator that the other tests skip over in silence is on the list above."""
    assert {op_type for op_type in OURS if op_type not in cases} == WITHOUT_CASES


# Of the deviations, what torch 2.15 computes and 2.13 did not.
NEWER_TORCH = {"test_max_uint16", "test_min_uint16"}


def test_known_deviations_still_deviate(cases):
    """A deviation that no longer is one has to leave the list."""
    listed = [case for group in cases.values() for case in group if case.name in DEVIATIONS]
    deviating = {case.name for case in listed if outcome(case)}
    assert deviating | NEWER_TORCH == DEVIATIONS.keys()


def test_operators_in_company_compute_what_onnx_says(cases):
    """ONNX's cases of several nodes pass or are refused: sequences, and function bodies expanded."""
    wrong = outcomes(cases[""])
    assert {name: what for name, what in wrong.items() if what != REFUSAL} == {}
    assert len(wrong) < len(cases[""]) / 4


@pytest.mark.parametrize(
    "op_type", ["AffineGrid", "CenterCropPad", "RotaryEmbedding", "SequenceMap", "SwiGLU"]
)
def test_an_operator_that_is_not_ours_is_expanded_into_ours(cases, op_type):
    """An operator with a function body in ONNX's schema needs no function of our own."""
    assert op_type not in OURS
    assert outcomes(cases[op_type]) == {}
