"""What every pick declares of itself holds."""

import pytest

from service.rerank.selection import PICKS
from service.rerank.selection.picks import Measure, Pick
from tests.service.rerank.selection.crowds import likely


@pytest.mark.parametrize("kind", PICKS, ids=lambda kind: kind.name)
def test_what_never_reads_rewards_is_free_and_ranks_alike_whatever_they_are(kind: type[Pick]) -> None:
    pick, candidates = kind(), likely((-4.0, 2), (-6.0, 6), (-5.0, 4), texts=("4", "5", "4"))
    if not pick.reads_reward:
        assert pick.free
        orders = [pick.rank(candidates, worth, seed=3).order for worth in ({}, {0: 1.0, 1: 9.0, 2: 5.0})]
        assert orders[0] == orders[1]
    assert not (pick.draws and pick.reads)


@pytest.mark.parametrize("kind", [kind for kind in PICKS if issubclass(kind, Measure)], ids=lambda kind: kind.name)
def test_a_measure_leaves_candidates_as_they_stand_by_it(kind: type[Measure]) -> None:
    candidates = likely((-4.0, 2), (-6.0, 6))
    assert list(kind().rank(candidates, {}, seed=0).order) == candidates
