import numpy as np

from tiemcli.extremal.mask import Fit
from tiemcli.extremal.search import fit_areas


class Growing:
    """A fitter and scorer in one, whose score is four times the kept area, at most 1."""

    shape = (2, 10, 10)
    forwards = 0

    def __init__(self) -> None:
        self.starts: list[float | None] = []

    def budget(self, warm: bool) -> int:
        return 1

    def fit(self, areas: np.ndarray, start: np.ndarray | None, progress: object) -> Fit:
        self.starts.append(None if start is None else float(start.mean()))
        hard = np.zeros(self.shape, np.float32)
        hard.reshape(2, -1)[:, : round(areas[0] * 100)] = 1
        cells = np.full(self.shape, areas[0], np.float32)
        return Fit(cells, cells, hard, hard, round(areas[0] * 100))

    def score(self, keep: np.ndarray, upsampling: None = None) -> np.ndarray:
        return np.minimum(1, 4 * keep.mean(axis=(1, 2, 3))).astype(np.float64)


UNIFORM = np.array([0.5, 0.5])


def test_areas_are_fitted_from_the_largest_down_each_from_the_one_before() -> None:
    """Warm starts descend, the answer ascends, and the smallest area that is enough is marked."""
    grower = Growing()
    masks = fit_areas(grower, grower, UNIFORM, (0.1, 0.3, 0.2), lambda score: score >= 0.75)
    assert grower.starts[0] is None
    np.testing.assert_allclose(grower.starts[1:], [0.3, 0.2], rtol=1e-6)
    assert [(mask.area, mask.smallest) for mask in masks] == [
        (0.1, False),
        (0.2, True),
        (0.3, False),
    ]
    assert [round(mask.score, 6) for mask in masks] == [0.4, 0.8, 1.0]
    assert [mask.evaluations for mask in masks] == [10, 20, 30]


def test_a_search_stops_at_the_first_area_too_small() -> None:
    """Eq. 6: areas below the first that is not enough are not tried."""
    grower = Growing()
    masks = fit_areas(
        grower,
        grower,
        UNIFORM,
        (0.05, 0.1, 0.2, 0.3),
        lambda score: score >= 0.75,
        stop_when_too_small=True,
    )
    assert [mask.area for mask in masks] == [0.1, 0.2, 0.3]


def test_no_area_is_enough() -> None:
    """Where no score suffices no mask is marked."""
    grower = Growing()
    masks = fit_areas(grower, grower, UNIFORM, (0.1,), lambda score: score >= 0.75)
    assert not any(mask.smallest for mask in masks)
