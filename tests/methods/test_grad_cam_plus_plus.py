"""Grad-CAM with slopes weighted cell by cell."""

import math

import numpy as np
import pytest

from tiemcli.methods import grad_cam_plus_plus

torch = pytest.importorskip("torch")

from tiemcli.methods.layer import to_clip


def map_by_loops(maps: np.ndarray, slopes: np.ndarray, score: float) -> np.ndarray:
    """The paper's map of (C, h, w), cell by cell, with Y = exp(S) and its derivatives written out."""
    channels, height, width = maps.shape
    found = np.zeros((height, width))
    for k in range(channels):
        total = sum(maps[k, a, b] for a in range(height) for b in range(width))
        weight = 0.0
        for i in range(height):
            for j in range(width):
                g = slopes[k, i, j]
                first = math.exp(score) * g
                second, third = math.exp(score) * g**2, math.exp(score) * g**3
                below = 2 * second + total * third
                alpha = second / below if below != 0 else 0.0
                weight += alpha * max(first, 0.0)
        found += weight * maps[k]
    return np.maximum(found, 0)


@pytest.mark.parametrize("by_frame", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_papers_but_for_a_common_factor(seed: int, by_frame: bool) -> None:
    """Maps are those of the double loop over cells: of each frame, or of the volume as one image.

    Of Y = exp(S) the loop's are larger by exp(S), alike everywhere."""
    random = np.random.default_rng(seed)
    maps = np.maximum(random.normal(size=(3, 2, 4, 5)), 0)
    slopes = random.normal(size=(3, 2, 4, 5))
    slopes[0, :, 1] = 0
    weights = grad_cam_plus_plus.weighted_slopes(
        torch.from_numpy(maps), torch.from_numpy(slopes), by_frame
    )
    found = (weights * torch.from_numpy(maps)).sum(0).relu().numpy() * math.exp(0.7)
    if by_frame:
        expected = [map_by_loops(maps[:, t], slopes[:, t], 0.7) for t in range(2)]
    else:
        flat = map_by_loops(maps.reshape(3, 8, 5), slopes.reshape(3, 8, 5), 0.7)
        expected = flat.reshape(2, 4, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "layer", "by_frame"),
    [
        ("cnn", "a", False),
        ("cnn-rnn", "a", True),
        ("transformer, place by place, mean", "n", False),
        ("transformer, frame by frame, class token", "v", False),
    ],
)
def test_a_network_of_any_make_is_explained(
    name: str, layer: str, by_frame: bool, network_scene
) -> None:
    """Its map is that of its last layer's values and of their slopes."""
    scene = network_scene(name)
    evidence = grad_cam_plus_plus.find(scene)
    clip = scene.torch_clip()
    scores, inner = clip.activations([layer])
    (slope,) = clip.slopes(scores[scene.target], inner[layer])
    value = inner[layer].detach()
    if by_frame:
        volume, slopes = value.transpose(0, 1), slope.transpose(0, 1)
    elif name == "cnn":
        volume, slopes = value[0], slope[0]
    elif name.startswith("transformer, frame"):
        volume, slopes = (v[0, 1:].reshape(2, 3, 4, 8).permute(3, 0, 1, 2) for v in (value, slope))
    else:
        volume, slopes = (v[0, 1:].reshape(3, 4, 2, 8).permute(3, 2, 0, 1) for v in (value, slope))
    volume, slopes = volume.double().numpy(), slopes.double().numpy()
    if by_frame:
        expected = np.stack([map_by_loops(volume[:, t], slopes[:, t], 0.0) for t in range(4)])
    else:
        channels, *grid = volume.shape
        flat = (channels, grid[0] * grid[1], grid[2])
        expected = map_by_loops(volume.reshape(flat), slopes.reshape(flat), 0.0).reshape(grid)
    assert expected.any()
    np.testing.assert_allclose(
        evidence.saliency,
        to_clip(torch.from_numpy(expected), scene.shape),
        rtol=2e-3,
        atol=1e-3 * expected.max(),
    )
