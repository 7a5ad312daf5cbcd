import cv2
import numpy as np

from tiemcli.kernels.blend import blend, gaussian_blur
from tiemcli.kernels.upsample import gaussian_upsampling, nearest_upsampling


def test_blend_keeps_the_clip_where_the_mask_is_one() -> None:
    """M⊗X = M∘X + (1−M)∘base, pixel by pixel, the mask shared by the channels."""
    random = np.random.default_rng(0)
    clip, base = random.random((2, 3, 4, 5, 6), dtype=np.float32)
    keep = random.random((2, 4, 5, 6), dtype=np.float32)
    mixed = blend(clip, base, keep)
    for n, c, t, y, x in np.ndindex(2, 3, 4, 5, 6):
        m = keep[n, t, y, x]
        expected = m * clip[c, t, y, x] + (1 - m) * base[c, t, y, x]
        assert abs(mixed[n, c, t, y, x] - expected) < 1e-6


def test_blur_is_opencvs() -> None:
    """The blur equals OpenCV's Gaussian with repeated edges."""
    frame = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    expected = cv2.GaussianBlur(frame, (25, 25), 4.0, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(gaussian_blur(frame[None], 4.0)[0], expected, atol=1e-5)


def test_upsampling_keeps_constants_and_places_cells() -> None:
    """Constant cells give a constant image; a cell's weight is largest at its own centre."""
    smooth = gaussian_upsampling(32, 48, 4.0, 3.0)
    assert smooth.cells == (8, 12)
    np.testing.assert_allclose(smooth(np.ones((8, 12), np.float32)), 1, atol=1e-6)
    cells = np.zeros((8, 12), np.float32)
    cells[3, 5] = 1
    y, x = np.unravel_index(smooth(cells).argmax(), (32, 48))
    assert abs(y + 0.5 - 14) <= 1
    assert abs(x + 0.5 - 22) <= 1


def test_nearest_upsampling_is_rectangles() -> None:
    """Every pixel takes the cell that it lies in."""
    sharp = nearest_upsampling(4, 6, (2, 3))
    cells = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(sharp(cells), np.kron(cells, np.ones((2, 2))))
