"""Comparisons: ranks, pairs, and what is left of one."""

from hypothesis import given
from hypothesis import strategies as st

from training.data.records import Comparison, dense_ranks, user


def compared(*ranks: int, texts: str = "abcdef") -> Comparison:
    return Comparison(user("q"), tuple(texts[: len(ranks)]), ranks, {"gold": tuple(float(-rank) for rank in ranks)})


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_ranks_are_dense_and_keep_order_and_ties(values: list[int]) -> None:
    ranks = dense_ranks(values)
    assert set(ranks) == set(range(len(set(values))))
    for one, its_rank in zip(values, ranks, strict=True):
        for other, other_rank in zip(values, ranks, strict=True):
            assert (one < other) == (its_rank < other_rank)


def test_every_pair_that_is_not_tied_is_one_better_first() -> None:
    assert compared(1, 0, 1).pairs() == [(1, 0), (1, 2)]
    assert compared(0, 0).pairs() == []


def test_some_of_the_responses_keep_their_order_among_each_other() -> None:
    part = compared(3, 0, 2).only([2, 0])
    assert (part.responses, part.ranks, part.scores) == (("c", "a"), (0, 1), {"gold": (-2.0, -3.0)})


def test_equal_responses_count_once_at_their_first_place() -> None:
    once = compared(2, 1, 0, texts="aba").distinct()
    assert (once.responses, once.ranks) == (("a", "b"), (1, 0))
    whole = compared(0, 1)
    assert whole.distinct() is whole
