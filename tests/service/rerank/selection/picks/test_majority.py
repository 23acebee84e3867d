"""One vote for every candidate."""

from dataclasses import replace

from service.rerank.selection import Selection, select
from service.rerank.selection.picks import Majority, WeightedVote
from tests.service.rerank.selection.crowds import likely, scored


def test_the_most_frequent_answer_wins_with_its_best_candidate() -> None:
    candidates = scored(3.0, 1.0, 2.0, 0.0, texts=["so\n5", "so\n4", "thus\n4", "or 6"])
    choice = select(candidates, 4, Selection(pick=Majority()))
    assert choice.selected == (2, 0, 3, 1)  # the best 4, then 5 and 6 as the best of their groups, then the other 4
    assert choice.weights == {0: 0.25, 1: 0.5, 2: 0.5, 3: 0.25}


def test_without_an_answer_a_candidate_has_its_own_vote_only() -> None:
    candidates = scored(3.0, 2.0, 1.0, 0.0, texts=["none", "none", "\\boxed{4}", "\\boxed{ 4}"])
    choice = select(candidates, 4, Selection(pick=Majority(answer="boxed")))
    assert choice.selected == (2, 0, 1, 3)
    assert choice.weights == {0: 0.25, 1: 0.25, 2: 0.5, 3: 0.5}


def test_unscored_candidates_vote_in_a_majority_but_come_last() -> None:
    first, *others = scored(1.0, 2.0, 0.0, 0.0, texts=["4", "5", "4", "6"])
    candidates = [first, others[0], *(replace(one, reward=None, unscored=True) for one in others[1:])]
    choice = select(candidates, 4, Selection(pick=Majority()))
    assert choice.selected == (0, 1, 3, 2)
    assert choice.weights[0] == choice.weights[2] == 0.5
    assert select(candidates, 1, Selection(pick=WeightedVote())).selected == (1,)


def test_equal_votes_go_to_the_better_answer() -> None:
    assert select(scored(0.0, 1.0, texts=["4", "5"]), 2, Selection(pick=Majority())).selected == (1, 0)


def test_without_any_reward_equal_votes_go_to_the_likelier_answer_in_its_likeliest_form() -> None:
    candidates = likely((-3.0, 1), (-2.0, 1), (-1.0, 1), (-0.5, 1), texts=["4", "5", "4", "5"])
    assert select(candidates, 4, Selection(pick=Majority())).selected == (3, 2, 1, 0)
    more = [*candidates, replace(candidates[0], index=4, finish_rank=4)]
    assert select(more, 1, Selection(pick=Majority())).selected == (2,)
