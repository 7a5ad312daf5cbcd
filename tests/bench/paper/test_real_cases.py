"""Cases from real clips and networks, whose truth is recomputed here in another way."""

from itertools import islice, permutations
from pathlib import Path

import numpy as np
import pytest

from tiemcli.bench.paper.case import Case, data_folder
from tiemcli.bench.paper.real_clips import real_cases
from tiemcli.bench.paper.silhouettes import ACTIONS, silhouette_cases
from tiemcli.errors import UsageError


def test_without_the_data_folder_one_is_told_how_to_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$TIEM_DATA says where it is; a folder that is not there is the user's error."""
    monkeypatch.setenv("TIEM_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv("TIEM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="nowhere"):
        data_folder()


@pytest.fixture(scope="module")
def silhouettes(shared_data: Path) -> list[Case]:
    return list(silhouette_cases(shared_data, 24))


@pytest.mark.shared
def test_silhouettes_change_their_action_at_the_signature(silhouettes: list[Case]) -> None:
    """24 different splices; the signature is one end of the clip, of 6 to 10 frames, whose action is
    the target, which the network sees with p above .3."""
    assert len({case.name for case in silhouettes}) == 24
    for case in silhouettes:
        assert case.clip.shape == (1, 16, 64, 80)
        assert case.clip.dtype == np.float32
        assert 0 <= case.clip.min() < case.clip.max() <= 1
        assert np.count_nonzero(np.diff(case.signature.astype(int))) == 1
        assert 6 <= case.signature.sum() <= 10
        first, _, second = case.name.partition(" | ")
        part = first.partition("_")[2] if case.signature[0] else second.split()[0]
        assert part.startswith(ACTIONS[case.target])
        assert case.network.outputs(case.clip)[case.target] > 0.3


@pytest.mark.shared
def test_silhouettes_are_always_the_same(shared_data: Path, silhouettes: list[Case]) -> None:
    """The first of few cases are the first of many."""
    for one, same in zip(silhouette_cases(shared_data, 3), silhouettes[:3], strict=True):
        assert one.name == same.name
        np.testing.assert_array_equal(one.clip, same.clip)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[Case]:
    return list(real_cases(shared_data, 20))


@pytest.mark.shared
@pytest.mark.slow
def test_real_cases_are_neither_all_signature_nor_without(real: list[Case]) -> None:
    """20 different clips, the network's answer above .1, 2 to 14 signature frames, which weigh at
    least half of what the heaviest weighs."""
    assert len({case.name for case in real}) == 20
    for case in real:
        answers = case.network.outputs(case.clip)
        assert answers.argmax() == case.target
        assert answers[case.target] > 0.1
        assert 2 <= case.signature.sum() <= 14
        assert case.weights is not None
        heavy = case.weights >= case.weights.max() / 2
        np.testing.assert_array_equal(case.signature, heavy)


@pytest.mark.shared
@pytest.mark.slow
def test_the_weights_are_what_the_frames_answer_alone(real: list[Case]) -> None:
    """The log-probabilities of a clip of one frame's copies, the target's less their mean: nought or
    more of it is the frame's weight. The mean over frames is that of the whole clip."""
    for case in islice(real, 2):
        assert case.weights is not None
        for frame in (0, 8, 15):
            alone = np.log(case.network.outputs(np.repeat(case.clip[:, frame : frame + 1], 16, 1)))
            wanted = max(0, alone[case.target] - alone.mean())
            assert case.weights[frame] == pytest.approx(wanted, abs=1e-3)
        whole = np.log(case.network.outputs(case.clip))
        if np.all(case.weights > 0):
            mean = case.weights.mean()
            assert whole[case.target] - whole.mean() == pytest.approx(mean, abs=1e-3)


@pytest.mark.shared
@pytest.mark.slow
def test_the_signature_of_a_splice_is_of_one_of_its_clips(real: list[Case]) -> None:
    """Where one clip is put into another at frames a to b, the signature lies within them or without,
    in four fifths of the splices: in archery and weightlifting alike the network sees bars."""
    splices = [case for case in real if " with " in case.name]
    names = {tuple(case.name.split()[:3:2]) for case in splices}
    assert names <= set(permutations(("archery", "weightlifting", "bottle", "cockatoo"), 2))
    pure = 0
    for case in splices:
        first, last = map(int, case.name.split()[-1].split("-"))
        inside = (np.arange(16) >= first) & (np.arange(16) <= last)
        pure += not (case.signature & inside).any() or not (case.signature & ~inside).any()
    assert pure >= 0.8 * len(splices)
