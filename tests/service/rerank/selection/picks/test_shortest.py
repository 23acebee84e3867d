"""By length alone."""

from service.rerank.selection import Selection, select
from service.rerank.selection.picks import Shortest
from tests.service.rerank.selection.crowds import likely


def test_the_fewest_tokens_win_whatever_the_rewards() -> None:
    candidates = likely((None, 5), (None, 2), (None, 9), rewards=(3.0, 1.0, 2.0))
    assert select(candidates, 3, Selection(pick=Shortest())).selected == (1, 0, 2)
