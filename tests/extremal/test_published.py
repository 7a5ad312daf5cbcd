import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiemcli.extremal.pyramid import BlurPyramid
from tiemcli.extremal.smooth_max import SmoothMax
from tiemcli.extremal.smoothness import Smoothness, ellipsoid
from tiemcli.kernels.blend import gaussian_blur

CPU = torch.device("cpu")


def smooth_maximum(cells: np.ndarray, masks: SmoothMax) -> np.ndarray:
    """The canvas pixel by pixel; of the 49 cells about it those that are not there are 0."""
    step, sigma, margin = masks.step, masks.sigma, masks.margin
    height, width = masks.canvas_size
    canvas = np.zeros((len(cells), height, width))
    for y in range(height):
        for x in range(width):
            rows = (np.arange(cells.shape[1]) + 0.5) * step - (y + 0.5 - margin)
            columns = (np.arange(cells.shape[2]) + 0.5) * step - (x + 0.5 - margin)
            away = np.hypot(rows[:, None], columns[None]) / sigma
            spread = np.exp(-2 * np.maximum(away - 0.5, 0) ** 2) * cells
            powers = np.exp(20 * spread)
            total = 49 + (powers - 1).sum(axis=(1, 2))
            canvas[:, y, x] = (spread * powers).sum(axis=(1, 2)) / total
    return canvas


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (48, 70), (112, 112)])
def test_the_grid_and_the_canvas_are_those_of_112_pixels_in_proportion(
    size: tuple[int, int],
) -> None:
    """A cell every seventh pixel, and a margin of eleven on all sides, at 112."""
    masks = SmoothMax(*size, CPU)
    short = min(size)
    assert masks.step == max(1, round(7 * short / 112))
    assert masks.margin == round(11 * short / 112)
    assert masks.grid == tuple(int(np.ceil(side / masks.step)) for side in size)
    canvas = masks(torch.ones(2, *masks.grid))
    assert canvas.shape == (2, *(side + 2 * masks.margin for side in size))
    assert masks.frame(canvas).shape == (2, *size)
    assert masks.frame(canvas).min() > 0.97


def test_one_cell_spreads_by_its_kernel() -> None:
    """At its middle a cell of 1 shows as 1; far from it, by a term of 49 that is k·e^(20k)."""
    masks = SmoothMax(112, 112, CPU)
    cells = torch.zeros(1, *masks.grid)
    cells[0, 8, 8] = 1
    frame = masks.frame(masks(cells))[0].numpy()
    middle = 8 * 7 + 3  # pixel 59, whose centre is the cell's own
    for away in (0, 4, 8, 12, 16):
        kernel = np.exp(-2 * max(away / 11 - 0.5, 0) ** 2)
        expected = kernel * np.exp(20 * kernel) / (np.exp(20 * kernel) + 48)
        assert frame[middle, middle + away] == pytest.approx(expected, abs=1e-4)
        assert frame[middle - away, middle] == pytest.approx(expected, abs=1e-4)
    assert frame[middle, middle + 30] < 1e-3


@pytest.mark.parametrize("size", [(32, 32), (32, 45)])
def test_masks_are_the_smooth_maximum_of_what_spreads(size: tuple[int, int]) -> None:
    """Every pixel of the canvas is that of the formula, for cells of any size and of many zeros."""
    masks = SmoothMax(*size, CPU)
    cells = torch.rand(2, *masks.grid, generator=torch.Generator().manual_seed(0))
    cells[1] *= cells[1] > 0.8
    expected = smooth_maximum(cells.numpy(), masks)
    np.testing.assert_allclose(masks(cells).numpy(), expected, atol=1e-3)


def test_the_smooth_maximums_gradient_is_a_difference_quotient() -> None:
    """Along any direction of the cells."""
    masks = SmoothMax(32, 32, CPU)
    draw = torch.Generator().manual_seed(1)
    cells = 0.1 + 0.8 * torch.rand(2, *masks.grid, generator=draw)
    cells.requires_grad_()
    weights = torch.randn(2, *masks.canvas_size, generator=draw)
    (gradient,) = torch.autograd.grad((masks(cells) * weights).sum(), cells)
    for _ in range(5):
        direction = torch.randn(cells.shape, generator=draw)
        with torch.no_grad():
            up, down = (
                (masks(cells + sign * 1e-3 * direction).double() * weights).sum()
                for sign in (1, -1)
            )
        expected = float(up - down) / 2e-3
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=0.02, abs=0.5)


def test_the_pyramid_is_a_line_between_two_blurs() -> None:
    """Keep m shows level 7m of eight, the base at 0 and the clip at 1; its slope is their distance."""
    clip = np.random.default_rng(0).random((3, 2, 28, 40), dtype=np.float32)
    pyramid = BlurPyramid(clip, CPU)

    def level(number: int) -> np.ndarray:
        return clip if number == 7 else gaussian_blur(clip, (1 - number / 7) * 20 * 28 / 112)

    for keep in (0.0, 0.3, 0.5, 6 / 7, 1.0):
        mask = torch.full((2, 28, 40), keep, requires_grad=True)
        below = min(6, int(np.floor(np.float32(keep) * 7)))
        share = keep * 7 - below
        shown = pyramid(mask)
        expected = (1 - share) * level(below) + share * level(below + 1)
        np.testing.assert_allclose(shown.detach(), expected, atol=1e-5)
        (slope,) = torch.autograd.grad(shown.sum(), mask)
        np.testing.assert_allclose(
            slope, 7 * (level(below + 1) - level(below)).sum(axis=0), atol=1e-3
        )


@pytest.mark.parametrize("shape", [(9, 112, 112), (8, 64, 70), (4, 40, 32)])
def test_steps_term_is_a_convolution_with_an_ellipsoid(shape: tuple[int, int, int]) -> None:
    """Seven frames, or all of fewer, by 11 of 112 pixels, a frame at a time and side by side: the
    fullest, as many as the area has room for, are pulled to 1 and the others to 0."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    term = Smoothness(shape, 300.0, CPU)
    frames, height, width = shape
    long, across = min(7, frames), round(11 * min(height, width) / 112)
    inside = [
        (t, y, x)
        for t in range(long)
        for y in range(across)
        for x in range(across)
        if sum(
            ((place + 0.5 - size / 2) / (size / 2)) ** 2
            for place, size in ((t, long), (y, across), (x, across))
        )
        <= 1
    ]
    assert ellipsoid(long, across).sum() == len(inside)
    filled = sorted(
        (
            np.mean([mask[t + dt, y + dy, x + dx] for dt, dy, dx in inside])
            for t in range(frames - long + 1)
            for y in range(0, height - across + 1, across)
            for x in range(0, width - across + 1, across)
        ),
        reverse=True,
    )
    pixels = round(0.1 * mask.numel())
    count = int(np.ceil(pixels / int(long * across**2 * np.pi / 6)))
    expected = np.mean([(1 - share) ** 2 for share in filled[:count]])
    expected += np.mean([share**2 for share in filled[count:]])
    got = term(mask, pixels, np.random.default_rng(0))
    assert float(got) == pytest.approx(300 * expected, rel=1e-3)


def test_the_ellipsoid_at_112_has_the_published_size() -> None:
    """443 pixels by its volume, of which k = ceil(a·T·S²/443) find room."""
    assert Smoothness((16, 112, 112), 1.0, CPU).volume == 443


def test_ellipsoids_of_a_constant_mask_are_chosen_by_lot() -> None:
    """Not those of the first frames: the gradient of the term reaches all of the clip."""
    mask = torch.full((16, 40, 40), 0.5, requires_grad=True)
    term = Smoothness((16, 40, 40), 1.0, CPU)
    term(mask, 2560, np.random.default_rng(0)).backward()
    assert mask.grad is not None
    rising = (mask.grad < 0).any(dim=2).any(dim=1)
    assert rising.tolist().count(True) >= 12
