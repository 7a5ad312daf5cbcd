"""Choosing frames: segment centres, strides, spans, and clips that are too short."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.errors import ClipError, UsageError
from tiemcli.sampling import choose


def steady(frames: int, rate: float = 10) -> np.ndarray:
    """Time stamps of a clip of constant rate."""
    return np.arange(frames) / rate


@st.composite
def stamps(draw: st.DrawFn) -> np.ndarray:
    """Time stamps of a clip of variable rate, of 1 to 60 frames."""
    gaps = draw(st.lists(st.integers(1, 2000), max_size=59))
    return np.concatenate([[0], np.cumsum(gaps, dtype=float)]) / 1000


@given(source=st.integers(1, 500), frames=st.integers(1, 64))
def test_uniform_takes_segment_centres(source: int, frames: int) -> None:
    """Frame k holds the centre of the k-th of T equal segments of [0, n)."""
    if source < frames:
        return
    indices, warnings = choose(steady(source), frames)
    assert warnings == ()
    for k, index in enumerate(indices):
        assert index * 2 * frames <= (2 * k + 1) * source < (index + 1) * 2 * frames


def test_uniform_by_hand() -> None:
    """Four of 16: segments of four, each giving its third frame; one of five is the middle."""
    assert choose(steady(16), 4)[0] == (2, 6, 10, 14)
    assert choose(steady(5), 1)[0] == (2,)
    assert choose(steady(6), 6)[0] == (0, 1, 2, 3, 4, 5)


def test_stride_and_center_by_hand() -> None:
    """Strided frames and consecutive ones both sit in the middle of the clip."""
    assert choose(steady(20), 4, stride=3)[0] == (5, 8, 11, 14)
    assert choose(steady(20), 4, mode="center")[0] == (8, 9, 10, 11)
    assert choose(steady(20), 4, mode="center", stride=3) == choose(steady(20), 4, stride=3)


@given(
    timestamps=stamps(),
    frames=st.integers(1, 40),
    stride=st.none() | st.integers(1, 9),
    mode=st.sampled_from(["uniform", "center"]),
    bounds=st.tuples(st.none() | st.floats(0, 200), st.none() | st.floats(0, 200)),
)
def test_whatever_is_chosen_is_in_the_clip_and_in_order(
    timestamps: np.ndarray,
    frames: int,
    stride: int | None,
    mode: str,
    bounds: tuple[float | None, float | None],
) -> None:
    """T indices, never decreasing, on the screen in the span; repeats only with a warning."""
    start, end = bounds
    try:
        indices, warnings = choose(
            timestamps, frames, mode=mode, stride=stride, start=start, end=end
        )
    except UsageError:
        assert end is not None
        assert end <= (start or 0)
        return
    except ClipError:
        assert start is not None
        assert start > timestamps[-1]
        return
    assert len(indices) == frames
    assert all(0 <= index < len(timestamps) for index in indices)
    steps = np.diff(indices)
    assert (steps >= 0).all()
    if any("places" in warning for warning in warnings):
        chosen = indices[: indices.index(indices[-1]) + 1]
        assert set(np.diff(chosen)[:-1]) <= {stride or 1}
    else:
        assert (steps >= 1).all()
    shown_until = [*timestamps[1:], np.inf]
    for index in set(indices):
        assert start is None or shown_until[index] > start
        assert end is None or timestamps[index] < end


def test_a_span_holds_the_frames_that_it_shows() -> None:
    """[0.25, 0.6) of ten frames a second shows frames 2 to 5; a moment shows one frame."""
    assert choose(steady(20), 4, start=0.25, end=0.6) == ((2, 3, 4, 5), ())
    assert choose(steady(20), 1, start=0.31, end=0.32) == ((3,), ())
    assert choose(steady(20), 2, start=1.8) == ((18, 19), ())
    assert choose(steady(20), 2, end=0.2) == ((0, 1), ())


def test_a_short_clip_repeats_its_last_frame_and_says_so() -> None:
    """Ten frames where 16 are needed fill ten places; the last one fills six more."""
    indices, (warning,) = choose(steady(10), 16)
    assert indices == (*range(10), *[9] * 6)
    assert "10 frames" in warning
    assert "16" in warning
    indices, (warning,) = choose(steady(10), 4, stride=4)
    assert indices == (0, 4, 8, 9)
    assert "13 are needed" in warning
    indices, (warning,) = choose(steady(1), 3)
    assert indices == (0, 0, 0)
    assert "1 frame " in warning
    assert "span" in choose(steady(50), 4, end=0.2)[1][0]


def test_a_span_past_the_end_is_cut_with_a_warning() -> None:
    """The warning names how long the clip lasts; its own end is no reason to warn."""
    indices, (warning,) = choose(steady(20), 2, start=1.0, end=9.0)
    assert indices == (12, 17)
    assert "2.00 s" in warning
    assert choose(steady(20), 2, start=1.0, end=2.0) == ((12, 17), ())


@pytest.mark.parametrize("start", [2.0, 2.5, 100.0])
def test_a_span_after_the_clip_is_a_clip_error(start: float) -> None:
    """It names the clip's duration: 20 frames at ten a second are two seconds."""
    with pytest.raises(ClipError, match=r"lasts 2\.00 s"):
        choose(steady(20), 4, start=start)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 0},
        {"stride": -2},
        {"start": -0.1},
        {"end": -1.0},
        {"start": float("nan")},
        {"end": float("inf")},
        {"start": 1.0, "end": 1.0},
        {"start": 1.0, "end": 0.5},
        {"end": 0.0},
    ],
)
def test_nonsense_is_a_usage_error(options: dict[str, float]) -> None:
    """Each is refused with a hint that says what to type."""
    with pytest.raises(UsageError) as caught:
        choose(steady(20), 4, **options)
    assert caught.value.hint
    with pytest.raises(UsageError):
        choose(steady(20), 0)
