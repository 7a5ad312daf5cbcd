"""SWAG-V: supervoxels weighted by their average gradients."""

from pathlib import Path

import numpy as np
import pytest

from tiemcli.facts import Facts
from tiemcli.methods.class_score import class_score
from tiemcli.methods.supervoxels import means, supervoxels
from tiemcli.methods.swag_v import cells_of, find
from tiemcli.model import load_model
from tiemcli.pipeline import explain, read_clip
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings


def test_every_voxel_has_a_supervoxel_of_its_own_cell_or_of_one_beside_it() -> None:
    """A label is a cell of the grid at most one step from the voxel's own, along each axis."""
    random = np.random.default_rng(0)
    cells, shape = (2, 3, 4), (8, 12, 16)
    labels = supervoxels(random.random((3, *shape), dtype=np.float32), cells, 0.1)
    assert labels.shape == shape
    home = [index * c // s for index, c, s in zip(np.indices(shape), cells, shape, strict=True)]
    found = np.unravel_index(labels, cells)
    apart = [np.abs(a - b).max() for a, b in zip(home, found, strict=True)]
    assert max(apart) == 1


def test_supervoxels_of_a_grey_clip_are_the_cells_of_the_grid() -> None:
    """Where all is alike, place alone decides, and the first cut is the last."""
    labels = supervoxels(np.full((1, 4, 6, 6), 0.5, np.float32), (2, 3, 3), 0.1)
    blocks = np.arange(18).reshape(2, 3, 3)
    np.testing.assert_array_equal(labels, np.kron(blocks, np.ones((2, 2, 2), int)))


def test_supervoxels_keep_to_the_edges_of_what_a_clip_shows() -> None:
    """No region holds both a bright rectangle's voxels and those around it."""
    clip = np.zeros((1, 4, 24, 24), np.float32)
    clip[:, :, 5:15, 9:20] = 1
    labels = supervoxels(clip, (2, 6, 6), 0.1).ravel()
    share = means(clip[0].ravel(), labels, 72)
    filled = np.bincount(labels, minlength=72) > 0
    assert np.isin(share[filled].round(3), (0, 1)).all()


def test_the_mean_of_a_region_is_that_of_its_voxels() -> None:
    """An empty region has 0."""
    labels = np.array([0, 2, 0, 2, 2])
    np.testing.assert_allclose(means(np.arange(5, dtype=np.float32), labels, 4), [1, 0, 8 / 3, 0])


def test_the_saliency_is_the_mean_size_of_the_gradient_in_each_supervoxel(network_scene) -> None:
    """All voxels of a value have it as the mean of |∂S/∂x|, and there are about as many as cells."""
    scene = network_scene("cnn")
    saliency = find(scene).saliency
    clip = scene.torch_clip()
    pixels = clip.pixels
    scores, _ = clip.activations([], pixels)
    (slope,) = clip.slopes(class_score(scene, scores), pixels)
    size = np.abs(slope.numpy()).mean(axis=0)
    for level in np.unique(saliency):
        assert level == pytest.approx(size[saliency == level].mean(), rel=1e-4)
    assert 1 < len(np.unique(saliency)) <= np.prod(cells_of(scene.shape))


def test_what_the_network_never_reads_is_worth_nothing(network_scene) -> None:
    """Of a clip's right half that is cropped off only regions that reach over have any."""
    crop = {"from": np.array([0, 0]), "to": np.array([12, 8]), "axes": np.array([3, 4])}
    text = """
        half = Slice(clip, from, to, axes)
        c = Conv<pads=[1,1,1,1,1,1]>(half, kernel3, bias)
        a = Relu(c)
        p = GlobalAveragePool(a)
        f = Flatten(p)
        scores = Gemm(f, dense, offset)
    """
    saliency = find(network_scene(text, weights=crop)).saliency
    assert saliency[:, :, :8].mean() > 20 * saliency[:, :, 8:].mean()


@pytest.mark.slow
def test_it_explains_the_sample_clip(root: Path) -> None:
    """The real network on the real clip, as the command runs it."""
    model = load_model(root / "samples" / "net.onnx", Facts())
    settings = Settings(method="swag-v", areas=(0.1,))
    source = read_clip(root / "samples" / "clip.mp4", model, settings)
    found = explain(source, load_network(model, "cpu"), settings)
    assert found.evidence.saliency.min() >= 0
    assert found.masks[0].hard.mean() == pytest.approx(0.1, abs=0.001)
