"""Drawn evenly."""

import pytest

from service.rerank.selection import Selection, select
from service.rerank.selection.picks import Uniform
from tests.service.rerank.selection.crowds import likely


def test_each_is_drawn_as_often_whatever_its_reward_and_a_seed_repeats_it() -> None:
    candidates = likely((None, 5), (None, 2), (None, 9), (None, 1), rewards=(3.0, None, 2.0, None))
    first = [select(candidates, 1, Selection(pick=Uniform()), seed=seed).selected[0] for seed in range(4000)]
    for index in range(4):
        assert first.count(index) / 4000 == pytest.approx(0.25, abs=0.03)
    again = [select(candidates, 1, Selection(pick=Uniform()), seed=seed).selected[0] for seed in range(50)]
    assert again == first[:50]
    assert select(candidates, 4, Selection(pick=Uniform()), seed=1).weights == dict.fromkeys(range(4), 0.25)
