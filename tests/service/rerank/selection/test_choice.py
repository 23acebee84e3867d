"""Which candidates are returned, and in which order."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection import PICKS, Selection, select
from service.rerank.selection.heads import Worst
from service.rerank.selection.picks import Argmax, Majority, Soft, Uniform
from service.rerank.strategies import Candidate
from tests.service.rerank.selection.crowds import answered, crowds, likely, scored

FEW = settings(max_examples=40, deadline=None)
EVERY = st.sampled_from([Selection(pick=pick()) for pick in PICKS])
BY_REWARD = st.sampled_from([Selection(pick=pick()) for pick in PICKS if pick.reads_reward])


def beats(one: Candidate, other: Candidate) -> bool:
    """The order, spelt out: whole before cut off, scored before unscored, higher before lower, earlier before later."""
    if one.cut_off != other.cut_off:
        return other.cut_off
    if (one.reward is None) != (other.reward is None):
        return one.reward is not None
    if one.reward is not None and other.reward is not None and one.reward != other.reward:
        return one.reward > other.reward
    if one.reward is None:
        return one.index < other.index
    assert one.finish_rank is not None
    assert other.finish_rank is not None
    return one.finish_rank < other.finish_rank


@FEW
@given(crowds(), st.integers(1, 9))
def test_the_selected_are_the_n_best_that_finished_best_first(candidates: list[Candidate], n: int) -> None:
    selected = [candidates[index] for index in select(candidates, n).selected]
    others = [one for one in candidates if one.state == "finished" and one not in selected]
    assert all(one.state == "finished" for one in selected)
    assert len(selected) == min(n, len(selected) + len(others))
    assert all(beats(one, other) for one, other in pairwise(selected))
    assert all(beats(one, other) for one in selected for other in others)


@FEW
@given(crowds(), st.integers(1, 9))
def test_the_order_of_the_candidates_does_not_matter(candidates: list[Candidate], n: int) -> None:
    assert select(candidates[::-1], n) == select(candidates, n)


@FEW
@given(crowds())
def test_fewer_are_a_prefix_of_more(candidates: list[Candidate]) -> None:
    assert select(candidates, 2).selected == select(candidates, 8).selected[:2]


def test_equal_rewards_go_to_the_first_that_finished() -> None:
    tied = [Candidate(index, "finished", finish_rank=1 - index, reward=0.5) for index in range(2)]
    assert select(tied, 2).selected == (1, 0)


def test_zero_and_minus_zero_are_equal() -> None:
    tied = [Candidate(0, "finished", finish_rank=1, reward=0.0), Candidate(1, "finished", finish_rank=0, reward=-0.0)]
    assert select(tied, 1).selected == (1,)


def test_a_bad_score_beats_no_score() -> None:
    candidates = [Candidate(0, "finished", finish_rank=0), Candidate(1, "finished", finish_rank=1, reward=-1e30)]
    assert select(candidates, 1).selected == (1,)


def test_a_vote_is_among_the_whole_ones_where_there_are_any() -> None:
    cut_off, whole = scored(9.0, 8.0, texts=["4", "4"]), scored(0.0, texts=["5"])
    candidates = [*(replace(one, cut_off=True) for one in cut_off), replace(whole[0], index=2, finish_rank=2)]
    choice = select(candidates, 3, Selection(pick=Majority()))
    assert (choice.selected, choice.weights) == ((2, 0, 1), {2: 1.0})


def test_nothing_finished_is_nothing_selected() -> None:
    assert select([Candidate(0), Candidate(1, "aborted"), Candidate(2, "failed")], 1).selected == ()


# -- any pick


@FEW
@given(answered(), st.integers(1, 9), EVERY, st.integers(0, 2**31))
def test_every_pick_returns_distinct_candidates_that_finished_the_whole_first(
    candidates: list[Candidate], n: int, selection: Selection, seed: int
) -> None:
    choice = select(candidates, n, selection, seed=seed)
    picked = [candidates[index] for index in choice.selected]
    finished = [one for one in candidates if one.state == "finished"]
    assert len(set(choice.selected)) == len(picked) == min(n, len(finished))
    assert all(one in finished for one in picked)
    assert [one.cut_off for one in picked] == sorted(one.cut_off for one in picked)


@FEW
@given(answered(), st.integers(1, 9), BY_REWARD, st.integers(0, 2**31))
def test_a_pick_that_reads_rewards_returns_the_scored_first(
    candidates: list[Candidate], n: int, selection: Selection, seed: int
) -> None:
    picked = [candidates[index] for index in select(candidates, n, selection, seed=seed).selected]
    groups = [(one.cut_off, one.reward is None) for one in picked]
    assert groups == sorted(groups)


def test_the_combined_worth_is_the_reward_and_so_many_times_the_mean_log_probability() -> None:
    candidates = likely((-4.0, 2), (-1.0, 4), (None, 4), rewards=(1.0, 0.5, 0.7))
    choice = select(candidates, 3, Selection(likelihood_weight=0.5))
    assert choice.utilities == {0: 0.0, 1: 0.375}
    assert choice.selected == (1, 0, 2)  # without its log-probability a candidate has no combined worth
    assert select(candidates, 3, Selection(likelihood_weight=0.1)).utilities == {0: 0.8, 1: 0.475}


@FEW
@given(answered(), EVERY, st.integers(1, 9))
def test_where_only_whole_ones_will_do_it_is_as_if_the_others_were_not_there(
    candidates: list[Candidate], selection: Selection, n: int
) -> None:
    picked = select(candidates, n, selection, whole_only=True).selected
    assert not any(one.cut_off for one in candidates if one.index in picked)
    assert len(picked) == min(n, sum(one.state == "finished" and not one.cut_off for one in candidates))


@FEW
@given(answered(), EVERY, st.integers(0, 2**31), st.data())
def test_no_pick_minds_the_order_of_the_candidates(
    candidates: list[Candidate], selection: Selection, seed: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(candidates))
    assert select(shuffled, 9, selection, seed=seed) == select(candidates, 9, selection, seed=seed)


@FEW
@given(answered(), EVERY)
def test_probabilities_add_up_to_1_and_shares_to_that_in_each_group(
    candidates: list[Candidate], selection: Selection
) -> None:
    weights = select(candidates, 1, selection).weights
    finished = [one for one in candidates if one.state == "finished"]
    group = [one for one in finished if not one.cut_off] or finished
    standing = [one for one in group if one.reward is not None or isinstance(selection.pick, Uniform)]
    if isinstance(selection.pick, Argmax) or not (standing or selection.pick.votes):
        assert not any(weights.values())
    elif selection.draws:
        assert sum(weights.values()) == pytest.approx(1.0)
        assert set(weights) == {one.index for one in standing}
    else:
        assert all(0 <= weight <= 1 + 1e-12 for weight in weights.values())


# -- the least reward


def test_below_the_least_reward_nobody_takes_part() -> None:
    candidates = [*scored(0.0, 1.0, 2.0, texts=["4", "4", "5"]), Candidate(3, "finished", finish_rank=3, text="4")]
    assert select(candidates, 4, min_reward=1.0).selected == (2, 1)
    assert select(candidates, 4, Selection(pick=Majority()), min_reward=1.0).weights == {1: 0.5, 2: 0.5}
    assert select(candidates, 4, Selection(pick=Soft()), min_reward=2.0).weights == {2: 1.0}
    assert select(candidates, 4, min_reward=2.5).selected == ()


# -- utilities


def test_the_pick_is_by_utility_which_is_told_where_it_is_not_the_reward() -> None:
    heads = [{"a": 4.0, "b": 0.0}, {"a": 1.5, "b": 2.0}, {"a": 0.5, "b": 1.0}]  # each head's mean: 2 and 1
    candidates = [replace(one, rewards=rewards) for one, rewards in zip(scored(2.0, 1.75, 0.75), heads, strict=True)]
    assert select(candidates, 1).selected == (0,)
    assert select(candidates, 1).utilities == {}
    choice = select(candidates, 1, Selection(heads=Worst()))
    assert choice.selected == (1,)
    assert choice.utilities == pytest.approx({0: 1.5 - 1.0, 1: 1.5 - 0.5, 2: 1.5 - 1.5})


def test_the_least_reward_is_one_of_rewards_and_the_utility_is_that_among_all() -> None:
    candidates = [replace(one, tokens=10 * one.index) for one in scored(0.0, 1.0, 2.0, 3.5)]
    calibrated = Selection(length_calibrated=True)
    everybody = select(candidates, 4, calibrated)
    assert select(candidates, 4, calibrated, min_reward=2.0).utilities == everybody.utilities
    assert sorted(select(candidates, 4, calibrated, min_reward=2.0).selected) == [2, 3]
