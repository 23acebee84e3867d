"""Counting."""

from service.rerank.selection.picks.votes import vote
from tests.service.rerank.selection.crowds import scored


def test_an_answer_has_the_votes_of_all_who_give_it() -> None:
    standing = scored(3.0, 2.0, 1.0, texts=["5", "4", "4"])
    ranking = vote(standing, {0: 1.0, 1: 0.5, 2: 1.5}, "last_line")
    assert [one.index for one in ranking.order] == [1, 0, 2]
    assert ranking.weights == {0: 1 / 3, 1: 2 / 3, 2: 2 / 3}


def test_without_votes_candidates_stay_as_they_stand() -> None:
    standing = scored(3.0, 2.0, texts=["5", "4"])
    ranking = vote(standing, {0: 0.0, 1: 0.0}, "last_line")
    assert (list(ranking.order), ranking.weights) == (standing, {0: 0.0, 1: 0.0})
