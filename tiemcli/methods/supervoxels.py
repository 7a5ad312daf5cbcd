"""Supervoxels: a clip cut into small regions of like values (SLIC, Achanta et al., TPAMI 2012)."""

from itertools import product

import numpy as np

from tiemcli.kernels.arrays import Floats, Ints

# "We have found that 10 iterations suffices for most images" (Section 3.1).
ITERATIONS = 10


def supervoxels(features: Floats, cells: tuple[int, int, int], compactness: float) -> Ints:
    """Which of the regions every voxel is of: (T, H, W) int64, less than the number of cells.

    features: (F, T, H, W). cells: how many regions along T, H and W to start from; some may end
    empty. compactness: what the distance of a cell weighs beside a feature's distance of 1.

    k-means of features and place, where a voxel may join the region of its own cell or of the 26 about
    it: all voxels at once, as in gSLIC (Ren and Reid 2011). Achanta's last step, that gives strays to
    a neighbour, is left out: a region may be in a few pieces, all of them within those cells.
    """
    shape = features.shape[1:]
    along = [
        np.arange(size) * count // size for size, count in zip(shape, cells, strict=True)
    ]  # the cell of each row
    places = [
        compactness * count / size * np.arange(size)
        for size, count in zip(shape, cells, strict=True)
    ]
    points = np.stack(
        [values.ravel() for values in (*features, *np.meshgrid(*places, indexing="ij"))]
    ).astype(np.float32)
    homes = np.stack([axis.ravel() for axis in np.meshgrid(*along, indexing="ij")])
    labels = np.ravel_multi_index(tuple(homes), cells)
    for _ in range(ITERATIONS):
        labels = _nearest(points, means(points, labels, int(np.prod(cells))), homes, cells)
    found: Ints = labels.reshape(shape)
    return found


def means(values: Floats, labels: Ints, count: int) -> Floats:
    """The mean of values (..., V) in each of `count` regions: (..., count) float32, 0 where empty."""
    sizes = np.maximum(np.bincount(labels, minlength=count), 1)
    rows = [np.bincount(labels, row, count) / sizes for row in values.reshape(-1, len(labels))]
    return np.asarray(rows, dtype=np.float32).reshape(*values.shape[:-1], count)


def _nearest(points: Floats, centres: Floats, homes: Ints, cells: tuple[int, int, int]) -> Ints:
    """The region, of those about each point's home, whose centre is nearest.

    points: (D, V). centres: (D, number of cells). homes: (3, V), a cell's place in the grid.
    """
    last = np.array(cells)[:, None] - 1
    best = np.full(points.shape[1], np.inf, dtype=np.float32)
    labels = np.zeros(points.shape[1], dtype=np.int64)
    for step in product((-1, 0, 1), repeat=3):
        # At the border a cell within comes twice, which changes nothing.
        near = np.ravel_multi_index(tuple(np.clip(homes + np.array(step)[:, None], 0, last)), cells)
        distance = np.zeros_like(best)
        for row, centre in zip(points, centres, strict=True):
            distance += (row - centre[near]) ** 2
        closer = distance < best
        best[closer], labels[closer] = distance[closer], near[closer]
    return labels
