import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiemcli.kernels.area import frame_areas, hard_top, pixel_counts, soft_top, sorted_template

importances = hnp.arrays(
    np.float64, st.integers(1, 20), elements=st.integers(0, 10**6).map(lambda n: n / 10**6)
).filter(lambda x: x.sum() > 0)


@given(importances, st.floats(0.01, 1))
def test_areas_follow_importance_and_share_what_overflows(raw: np.ndarray, area: float) -> None:
    """Areas are in [0, 1], proportional to importance where not full, and meet the total unless
    every frame that matters is full."""
    importance = raw / raw.sum()
    areas = frame_areas(importance, area)
    assert (areas >= 0).all()
    assert (areas <= 1).all()
    assert (areas[importance == 0] == 0).all()
    matters = importance > 0
    reachable = min(area * len(areas), matters.sum())
    assert areas.sum() == pytest.approx(reachable, rel=1e-6)
    part = matters & (areas < 1 - 1e-9)
    if part.sum() > 1:
        ratio = areas[part] / importance[part]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


def test_without_overflow_areas_are_equation_5() -> None:
    """a_t = a·T·l_t."""
    importance = np.array([0.5, 0.3, 0.2, 0.0])
    np.testing.assert_allclose(frame_areas(importance, 0.2), 0.2 * 4 * importance)


def test_one_decisive_frame_shrinks_the_total() -> None:
    """Where one frame alone matters it is kept whole, and the effective area is below the asked."""
    assert frame_areas(np.array([1.0, 0, 0, 0]), 0.5).tolist() == [1, 0, 0, 0]


def bisected(values: np.ndarray, count: float, temperature: float) -> np.ndarray:
    """The soft mask by its definition: find τ, a frame at a time, in plain Python."""
    low, high = values.min() - 100 * temperature, values.max() + 100 * temperature
    for _ in range(200):
        middle = (low + high) / 2
        total = (1 / (1 + np.exp(-np.clip((values - middle) / temperature, -500, 500)))).sum()
        low, high = (middle, high) if total > count else (low, middle)
    return 1 / (1 + np.exp(-np.clip((values - low) / temperature, -500, 500)))


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.02])
def test_a_soft_mask_holds_the_area(temperature: float) -> None:
    """Σm_t equals the wanted count in every frame, and the mask is the sigmoid about τ."""
    values = np.random.default_rng(0).normal(size=(3, 9, 7)).astype(np.float32)
    counts = np.array([1.0, 20.0, 50.0])
    mask = soft_top(values, counts, temperature)
    np.testing.assert_allclose(mask.sum(axis=(1, 2)), counts, rtol=1e-4)
    for frame in range(3):
        expected = bisected(values[frame].astype(np.float64), counts[frame], temperature)
        np.testing.assert_allclose(mask[frame], expected, atol=1e-5)


def test_a_soft_mask_of_nothing_or_all_is_flat() -> None:
    """A frame of no pixels is hidden, a frame of all of them kept."""
    values = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    mask = soft_top(values, np.array([0, 16]), 0.1)
    assert (mask[0] == 0).all()
    assert (mask[1] == 1).all()


@given(
    hnp.arrays(np.float32, (2, 3, 4, 5), elements=st.integers(-3, 3).map(float)),
    hnp.arrays(np.int64, 3, elements=st.integers(0, 20)),
)
def test_a_hard_mask_is_exact_whatever_the_ties(values: np.ndarray, counts: np.ndarray) -> None:
    """Exactly counts_t pixels are kept, and none outside is larger than one inside."""
    mask = hard_top(values, counts)
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert (mask.sum(axis=(2, 3)) == counts).all()
    for kept, frame in zip(mask.reshape(-1, 20), values.reshape(-1, 20), strict=True):
        if 0 < kept.sum() < 20:
            assert frame[kept == 1].min() >= frame[kept == 0].max()


def test_counts_and_template() -> None:
    """Areas become whole pixels, and the template has that many ones in front."""
    counts = pixel_counts(np.array([0.0, 0.26, 1.0]), 2, 5)
    assert counts.tolist() == [0, 3, 10]
    assert sorted_template(counts, 10).sum(axis=1).tolist() == [0, 3, 10]
