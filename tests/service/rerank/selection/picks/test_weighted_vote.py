"""Votes that count what their candidates are worth."""

import pytest

from service.rerank.selection import Selection, select
from service.rerank.selection.picks import Majority, WeightedVote
from tests.service.rerank.selection.crowds import scored


def test_a_weighted_vote_counts_what_each_candidate_is_worth() -> None:
    candidates = scored(1.0, 0.0, 0.0, texts=["5", "4", "4"])
    assert select(candidates, 1, Selection(pick=Majority())).selected == (1,)
    assert select(candidates, 1, Selection(pick=WeightedVote(temperature=2.0))).selected == (1,)  # e^.5 < 2
    choice = select(candidates, 1, Selection(pick=WeightedVote(temperature=1.0)))  # e > 2
    assert choice.selected == (0,)
    assert choice.weights[0] == pytest.approx(2.718281828 / 4.718281828)
    assert choice.weights[1] == choice.weights[2] == pytest.approx(2 / 4.718281828)
