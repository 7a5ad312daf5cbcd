import numpy as np
import pytest

from tiemcli.kernels.layout import check_layout, from_layout, to_layout


@pytest.mark.parametrize("layout", ["NCTHW", "NTCHW", "NTHWC", "NCHWT"])
def test_axes_are_where_the_letters_say(layout: str) -> None:
    """A pixel is found at the index that its layout spells."""
    clips = np.random.default_rng(0).random((2, 3, 4, 5, 6), dtype=np.float32)
    moved = to_layout(clips, layout)
    index = dict(zip("NCTHW", (1, 2, 3, 4, 5), strict=True))
    assert moved[tuple(index[a] for a in layout)] == clips[1, 2, 3, 4, 5]


def test_a_folded_batch_is_frames_of_clip_after_clip() -> None:
    """TCHW holds the frames of the first clip, then those of the second."""
    clips = np.random.default_rng(0).random((2, 3, 4, 5, 6), dtype=np.float32)
    folded = to_layout(clips, "TCHW")
    assert folded.shape == (8, 3, 5, 6)
    np.testing.assert_array_equal(folded[5], clips[1, :, 1])


def test_a_layout_without_channels_has_no_axis_for_one() -> None:
    """NTHW drops the single channel."""
    clips = np.random.default_rng(0).random((2, 1, 4, 5, 6), dtype=np.float32)
    np.testing.assert_array_equal(to_layout(clips, "NTHW"), clips[:, 0])


@pytest.mark.parametrize("layout", ["NCTH", "NCTHWW", "CNTHW", "HWT", "NXTHW"])
def test_a_word_that_is_no_layout_is_refused(layout: str) -> None:
    """T, H and W are needed, N first or T first, and no letter twice."""
    with pytest.raises(ValueError, match="layout"):
        check_layout(layout)


@pytest.mark.parametrize("layout", ["NCTHW", "NTCHW", "NTHWC", "TCHW", "THWC"])
def test_a_layout_is_undone(layout: str) -> None:
    """What the network was fed gives back the clips."""
    clips = np.random.default_rng(0).random((2, 3, 4, 5, 6), dtype=np.float32)
    fed = to_layout(clips, layout)
    sizes = {"C": 3, "T": 4, "H": 5, "W": 6}
    np.testing.assert_array_equal(from_layout(fed, layout, sizes), clips)
