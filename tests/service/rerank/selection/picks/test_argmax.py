"""The highest first."""

from service.rerank.selection.picks import Argmax, Ranking
from tests.service.rerank.selection.crowds import scored


def test_candidates_stay_as_they_stand() -> None:
    standing = scored(3.0, 2.0, 1.0)
    assert Argmax().rank(standing, {0: 3.0, 1: 2.0, 2: 1.0}, seed=7) == Ranking(standing)
