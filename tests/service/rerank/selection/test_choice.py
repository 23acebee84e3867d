"""Which candidates are returned, and in which order."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection import Pick, Selection, select
from service.rerank.strategies import Candidate

FEW = settings(max_examples=40, deadline=None)
REWARDS = st.none() | st.sampled_from([-1.0, -0.0, 0.0, 0.5]) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def crowds(draw: st.DrawFn) -> list[Candidate]:
    """Candidates in all states; those that finished did so in a random order."""
    states = draw(st.lists(st.sampled_from(["running", "aborted", "failed", "finished", "finished"]), max_size=8))
    finished = [index for index, state in enumerate(states) if state == "finished"]
    ranks = dict(zip(finished, draw(st.permutations(range(len(finished)))), strict=True))
    rewards = {index: draw(REWARDS) for index in finished}
    return [
        Candidate(index, state, finish_rank=ranks.get(index), reward=rewards.get(index))  # type: ignore[arg-type]
        for index, state in enumerate(states)
    ]


def beats(one: Candidate, other: Candidate) -> bool:
    """DESIGN's order, spelt out: scored before unscored, higher before lower, earlier before later."""
    if (one.reward is None) != (other.reward is None):
        return one.reward is not None
    if one.reward is not None and other.reward is not None and one.reward != other.reward:
        return one.reward > other.reward
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


def test_nothing_finished_is_nothing_selected() -> None:
    assert select([Candidate(0), Candidate(1, "aborted"), Candidate(2, "failed")], 1).selected == ()


# -- picks

EVERY = [Selection(pick) for pick in ("argmax", "soft", "pessimistic", "majority", "weighted_vote")]
TEXTS = st.sampled_from(["4", "5", "", " 4 "])


@st.composite
def answered(draw: st.DrawFn) -> list[Candidate]:
    """A crowd whose finished candidates have said something."""
    crowd = draw(crowds())
    return [replace(one, text=draw(TEXTS)) if one.state == "finished" else one for one in crowd]


def scored(*rewards: float, texts: Sequence[str] = ()) -> list[Candidate]:
    """Finished in their order."""
    said = texts or [""] * len(rewards)
    return [
        Candidate(index, "finished", finish_rank=index, reward=reward, text=text)
        for index, (reward, text) in enumerate(zip(rewards, said, strict=True))
    ]


@FEW
@given(answered(), st.integers(1, 9), st.sampled_from(EVERY), st.integers(0, 2**31))
def test_every_pick_returns_distinct_candidates_that_finished_the_scored_first(
    candidates: list[Candidate], n: int, selection: Selection, seed: int
) -> None:
    choice = select(candidates, n, selection, seed=seed)
    picked = [candidates[index] for index in choice.selected]
    finished = [one for one in candidates if one.state == "finished"]
    assert len(set(choice.selected)) == len(picked) == min(n, len(finished))
    assert all(one in finished for one in picked)
    unscored = [one.reward is None for one in picked]
    assert unscored == sorted(unscored)


@FEW
@given(answered(), st.sampled_from(EVERY), st.integers(0, 2**31), st.data())
def test_no_pick_minds_the_order_of_the_candidates(
    candidates: list[Candidate], selection: Selection, seed: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(candidates))
    assert select(shuffled, 9, selection, seed=seed) == select(candidates, 9, selection, seed=seed)


@FEW
@given(answered(), st.sampled_from(EVERY))
def test_probabilities_add_up_to_1_and_shares_to_that_in_each_group(
    candidates: list[Candidate], selection: Selection
) -> None:
    weights = select(candidates, 1, selection).weights
    rewarded = [one for one in candidates if one.state == "finished" and one.reward is not None]
    if selection.pick == "argmax" or not (rewarded or selection.pick == "majority"):
        assert not any(weights.values())
    elif selection.draws:
        assert sum(weights.values()) == pytest.approx(1.0)
        assert set(weights) == {one.index for one in rewarded}
    else:
        assert all(0 <= weight <= 1 + 1e-12 for weight in weights.values())


@pytest.mark.parametrize("pick", ["soft", "pessimistic"])
def test_candidates_are_drawn_as_often_as_their_weight_says(pick: Pick) -> None:
    candidates, selection = scored(0.0, 0.3, 0.5, -2.0), Selection(pick, beta=0.2)
    weights = select(candidates, 1, selection).weights
    draws = [select(candidates, 1, selection, seed=seed).selected[0] for seed in range(4000)]
    for index, weight in weights.items():
        assert draws.count(index) / 4000 == pytest.approx(weight, abs=0.03)


def test_a_draw_is_repeated_by_its_seed_and_leaves_candidates_without_weight_for_the_end() -> None:
    candidates, selection = scored(-9.0, 1.0, 1.01, -8.0), Selection("pessimistic", beta=0.1)
    choices = [select(candidates, 4, selection, seed=seed).selected for seed in range(20)]
    assert choices == [select(candidates, 4, selection, seed=seed).selected for seed in range(20)]
    assert {choice[:2] for choice in choices} == {(1, 2), (2, 1)}
    assert {choice[2:] for choice in choices} == {(3, 0)}


@FEW
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8, unique=True), st.integers(0, 99))
def test_draws_become_argmax_without_temperature_or_beta(rewards: list[float], seed: int) -> None:
    candidates = scored(*rewards)
    best = select(candidates, 1).selected
    for selection in (Selection("soft", temperature=5e-324), Selection("pessimistic", beta=5e-324)):
        assert select(candidates, 1, selection, seed=seed).selected == best


# -- votes


def test_the_most_frequent_answer_wins_with_its_best_candidate() -> None:
    candidates = scored(3.0, 1.0, 2.0, 0.0, texts=["so\n5", "so\n4", "thus\n4", "or 6"])
    choice = select(candidates, 4, Selection("majority"))
    assert choice.selected == (2, 0, 3, 1)  # the best 4, then 5 and 6 as the best of their groups, then the other 4
    assert choice.weights == {0: 0.25, 1: 0.5, 2: 0.5, 3: 0.25}


def test_a_weighted_vote_counts_what_each_candidate_is_worth() -> None:
    candidates = scored(1.0, 0.0, 0.0, texts=["5", "4", "4"])
    assert select(candidates, 1, Selection("majority")).selected == (1,)
    assert select(candidates, 1, Selection("weighted_vote", temperature=2.0)).selected == (1,)  # e^.5 < 2
    choice = select(candidates, 1, Selection("weighted_vote", temperature=1.0))  # e > 2
    assert choice.selected == (0,)
    assert choice.weights[0] == pytest.approx(2.718281828 / 4.718281828)
    assert choice.weights[1] == choice.weights[2] == pytest.approx(2 / 4.718281828)


def test_without_an_answer_a_candidate_has_its_own_vote_only() -> None:
    candidates = scored(3.0, 2.0, 1.0, 0.0, texts=["none", "none", "\\boxed{4}", "\\boxed{ 4}"])
    choice = select(candidates, 4, Selection("majority", answer="boxed"))
    assert choice.selected == (2, 0, 1, 3)
    assert choice.weights == {0: 0.25, 1: 0.25, 2: 0.5, 3: 0.5}


def test_unscored_candidates_vote_in_a_majority_but_come_last() -> None:
    first, *others = scored(1.0, 2.0, 0.0, 0.0, texts=["4", "5", "4", "6"])
    candidates = [first, others[0], *(replace(one, reward=None, unscored=True) for one in others[1:])]
    choice = select(candidates, 4, Selection("majority"))
    assert choice.selected == (0, 1, 3, 2)
    assert choice.weights[0] == choice.weights[2] == 0.5
    assert select(candidates, 1, Selection("weighted_vote")).selected == (1,)


def test_equal_votes_go_to_the_better_answer() -> None:
    assert select(scored(0.0, 1.0, texts=["4", "5"]), 2, Selection("majority")).selected == (1, 0)


# -- the least reward


def test_below_the_least_reward_nobody_takes_part() -> None:
    candidates = [*scored(0.0, 1.0, 2.0, texts=["4", "4", "5"]), Candidate(3, "finished", finish_rank=3, text="4")]
    assert select(candidates, 4, min_reward=1.0).selected == (2, 1)
    assert select(candidates, 4, Selection("majority"), min_reward=1.0).weights == {1: 0.5, 2: 0.5}
    assert select(candidates, 4, Selection("soft"), min_reward=2.0).weights == {2: 1.0}
    assert select(candidates, 4, min_reward=2.5).selected == ()


# -- utilities


def test_the_pick_is_by_utility_which_is_told_where_it_is_not_the_reward() -> None:
    heads = [{"a": 4.0, "b": 0.0}, {"a": 1.5, "b": 2.0}, {"a": 0.5, "b": 1.0}]  # each head's mean: 2 and 1
    candidates = [replace(one, rewards=rewards) for one, rewards in zip(scored(2.0, 1.75, 0.75), heads, strict=True)]
    assert select(candidates, 1).selected == (0,)
    assert select(candidates, 1).utilities == {}
    choice = select(candidates, 1, Selection(heads="worst"))
    assert choice.selected == (1,)
    assert choice.utilities == pytest.approx({0: 1.5 - 1.0, 1: 1.5 - 0.5, 2: 1.5 - 1.5})


def test_the_least_reward_is_one_of_rewards_and_the_utility_is_that_among_all() -> None:
    candidates = [replace(one, tokens=10 * one.index) for one in scored(0.0, 1.0, 2.0, 3.5)]
    calibrated = Selection(length_calibrated=True)
    everybody = select(candidates, 4, calibrated)
    assert select(candidates, 4, calibrated, min_reward=2.0).utilities == everybody.utilities
    assert sorted(select(candidates, 4, calibrated, min_reward=2.0).selected) == [2, 3]
