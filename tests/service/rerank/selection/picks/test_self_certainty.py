"""Kang et al.'s self-certainty, from whole distributions and from their tops."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection import Selection, select
from service.rerank.selection.picks import SelfCertainty
from service.rerank.selection.picks.self_certainty import from_top
from tests.service.rerank.selection.crowds import likely

DISTRIBUTIONS = st.lists(st.floats(0.01, 1), min_size=2, max_size=30).map(
    lambda masses: sorted((mass / math.fsum(masses) for mass in masses), reverse=True)
)


def divergence(p: list[float]) -> float:
    """KL(uniform || p)."""
    return math.fsum(math.log(1 / len(p) / each) for each in p) / len(p)


def test_the_most_certain_is_chosen() -> None:
    candidates = likely((-1.0, 1), (-9.0, 1), (-2.0, 1), certainties=(1.0, 3.0, None))
    choice = select(candidates, 3, Selection(pick=SelfCertainty()))
    assert (choice.selected, choice.utilities) == ((1, 0, 2), {0: 1.0, 1: 3.0})


def test_values_by_hand() -> None:
    half = [math.log(0.5), math.log(0.5)]
    assert from_top(half, 2) == pytest.approx(0.0)
    # -(log(3 * .5) + 2 log(3 * .25)) / 3, of which the last two are known by what the first leaves.
    assert from_top([math.log(0.5)], 3) == pytest.approx(-(math.log(1.5) + 2 * math.log(0.75)) / 3)


@settings(max_examples=60, deadline=None)
@given(DISTRIBUTIONS)
def test_the_whole_distribution_gives_the_divergence_itself(p: list[float]) -> None:
    assert from_top([math.log(each) for each in p], len(p)) == pytest.approx(divergence(p), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(DISTRIBUTIONS, st.integers(1, 29))
def test_a_top_gives_too_little_by_the_divergence_of_what_it_leaves(p: list[float], k: int) -> None:
    k = min(k, len(p) - 1)
    rest = [each / math.fsum(p[k:]) for each in p[k:]]
    missing = len(rest) / len(p) * divergence(rest)
    assert from_top([math.log(each) for each in p[:k]], len(p)) + missing == pytest.approx(divergence(p), abs=1e-6)


def test_a_top_that_leaves_nothing_that_can_be_seen_stays_finite() -> None:
    assert 0 < from_top([0.0, -20.0], 1000) < 30
