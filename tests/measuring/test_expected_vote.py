"""The expected vote against every subset counted by hand."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measuring.expected_vote import expected_vote

ANSWERS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.floats(-1, 1)), min_size=1, max_size=8)


def voted(answers: tuple[str | None, ...], values: tuple[float, ...]) -> float:
    """What one subset's vote gets, written as a person would count it."""
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return float(np.mean(values))
    most = max(votes.values())
    winners = [answer for answer, number in votes.items() if number == most]
    of_each = [[v for a, v in zip(answers, values, strict=True) if a == winner] for winner in winners]
    return float(np.mean([np.mean(those) for those in of_each]))


@given(ANSWERS)
@settings(deadline=None)
def test_it_is_the_mean_over_all_subsets(samples: list[tuple[str | None, float]]) -> None:
    answers, values = zip(*samples, strict=True)
    sizes = range(1, len(samples) + 1)
    by_hand = [np.mean([voted(*zip(*subset, strict=True)) for subset in combinations(samples, n)]) for n in sizes]
    assert expected_vote(answers, values, sizes).tolist() == pytest.approx(by_hand, abs=1e-12)


def test_a_common_mistake_outvotes_the_truth_the_more_the_more_are_asked() -> None:
    answers = ["10"] * 40 + ["5"] * 24
    values = [0.0] * 40 + [1.0] * 24
    found = expected_vote(answers, values, [1, 2, 4, 16, 64])
    assert found[0] == pytest.approx(24 / 64)
    assert (np.diff(found)[1:] < 0).all()
    assert found[-1] == 0


def test_many_different_answers_are_as_good_as_one() -> None:
    values = np.arange(256.0)
    found = expected_vote([str(number) for number in range(256)], values, [1, 8, 256])
    assert found.tolist() == pytest.approx([127.5] * 3)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="1 <= n <= N"):
        expected_vote(["a", "b"], [1.0, 2.0], [3])
    with pytest.raises(ValueError, match="1 answers, 2 values"):
        expected_vote(["a"], [1.0, 2.0], [1])
