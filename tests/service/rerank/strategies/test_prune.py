"""Speculative rejection: who is aborted, who never is, and what does not matter."""

import random
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.strategies.base import (
    Abort,
    Aborted,
    AskForScore,
    Candidate,
    Commit,
    Failed,
    Progress,
    Scored,
    Stop,
)
from service.rerank.strategies.prune import Prune
from tests.service.rerank.strategies.play import LIVES, STEP, Life, Play

SHARES = st.lists(st.floats(0.05, 1), min_size=1, max_size=4).map(tuple)


def at(index: int, *rewards: float, **changes: object) -> Candidate:
    prefixes = tuple((STEP * place, reward) for place, reward in enumerate(rewards, start=1))
    return replace(Candidate(index, tokens=STEP * len(rewards), prefix_rewards=prefixes), **changes)  # type: ignore[arg-type]


def survivors_by_waiting(strategy: Prune, rewards: list[list[float]]) -> set[int]:
    """Sun et al. 2024: every candidate comes to a checkpoint, then the worst go."""
    left = list(range(len(rewards)))
    for checkpoint in range(1, len(rewards[0]) + 1):
        order = sorted(left, key=lambda index: (-rewards[index][checkpoint - 1], index))
        left = order[: strategy.places(checkpoint)]
    return set(left)


def survivors(strategy: Prune, rewards: list[list[float]], order: list[tuple[int, int]]) -> set[int]:
    """Scores arrive as (checkpoint, candidate); an aborted candidate ends at once."""
    views = [Candidate(index) for index in range(len(rewards))]
    for checkpoint, index in order:
        if views[index].state == "aborted":
            continue
        prefixes = (*views[index].prefix_rewards, (checkpoint * STEP, rewards[index][checkpoint - 1]))
        views[index] = replace(views[index], tokens=checkpoint * STEP, prefix_rewards=prefixes)
        for action in strategy.decide(Scored(index), views):
            if isinstance(action, Abort):
                views[action.index] = replace(views[action.index], state="aborted")
    return {view.index for view in views if view.state == "running"}


# -- who is left


def test_half_of_those_left_are_kept_at_each_checkpoint() -> None:
    strategy = Prune(8, STEP, (0.5,))
    assert [strategy.places(checkpoint) for checkpoint in range(5)] == [8, 4, 2, 1, 1]


def test_a_list_of_shares_ends_in_the_one_that_holds_on() -> None:
    assert [Prune(10, STEP, (1.0, 0.5)).places(checkpoint) for checkpoint in range(1, 5)] == [10, 5, 3, 2]


def test_rounding_does_not_cost_a_place() -> None:
    assert Prune(10, STEP, (0.7,)).places(1) == 7
    assert Prune(3, STEP, (1 / 3,)).places(1) == 1


@given(st.integers(1, 64), SHARES, st.integers(1, 8))
def test_places_fall_and_never_below_what_is_returned(best_of: int, keep: tuple[float, ...], n: int) -> None:
    n = min(n, best_of)
    places = [Prune(best_of, STEP, keep, n).places(checkpoint) for checkpoint in range(80)]
    assert places == sorted(places, reverse=True)
    assert places[0] == best_of
    assert min(places) >= n
    assert n < best_of or set(places) == {n}


def test_the_worst_at_a_checkpoint_is_aborted_as_soon_as_enough_are_ahead_of_it() -> None:
    strategy = Prune(4, STEP, (0.5,))
    views = [at(0, 1.0), at(1), at(2, 3.0), at(3)]
    assert strategy.decide(Scored(2), views) == []
    views[3] = at(3, 2.0)
    assert strategy.decide(Scored(3), views) == [Abort(0)]


def test_of_equal_rewards_the_earlier_candidate_stays() -> None:
    assert Prune(3, STEP, (0.3,)).decide(Scored(0), [at(0, 1.0), at(1, 1.0), at(2, 1.0)]) == [Abort(2), Abort(1)]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_the_scores_of_a_checkpoint_arrive_changes_nothing(seed: int) -> None:
    draw = random.Random(seed)
    rewards = [[draw.choice([0.0, 1.0, 2.0, 3.0]) for _ in range(2)] for _ in range(4)]
    strategy = Prune(4, STEP, (0.5,))
    expected = survivors_by_waiting(strategy, rewards)
    for first in permutations(range(4)):
        for second in permutations(range(4)):
            order = [(1, index) for index in first] + [(2, index) for index in second]
            assert survivors(strategy, rewards, order) == expected


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 7), st.integers(1, 4), SHARES, st.integers(1, 3))
def test_where_candidates_keep_step_the_same_are_left_as_by_waiting(
    data: st.DataObject, best_of: int, checkpoints: int, keep: tuple[float, ...], n: int
) -> None:
    lengths = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=checkpoints, max_size=checkpoints)
    rewards = data.draw(st.lists(lengths, min_size=best_of, max_size=best_of))
    order = [(c, i) for c in range(1, checkpoints + 1) for i in data.draw(st.permutations(range(best_of)))]
    strategy = Prune(best_of, STEP, keep, min(n, best_of))
    assert survivors(strategy, rewards, order) == survivors_by_waiting(strategy, rewards)


def test_a_late_score_counts_for_the_checkpoint_that_was_missed() -> None:
    views = [at(0, 1.0), Candidate(1, tokens=17, prefix_rewards=((17, 3.0),))]
    assert Prune(2, STEP, (0.5,)).decide(Scored(1), views) == [Abort(0)]


# -- who is not aborted


@settings(max_examples=200, deadline=None)
@given(st.lists(LIVES, min_size=1, max_size=8), SHARES, st.integers(1, 3), st.booleans(), st.integers(0, 2**32))
def test_whatever_happens_it_stops_and_leaves_enough(
    lives: list[Life], keep: tuple[float, ...], n: int, live: bool, seed: int
) -> None:
    n = min(n, len(lives))
    play = Play(lives, Prune(len(lives), STEP, keep, n, live=live and n == 1), seed, n).run()
    assert play.stopped == "complete"
    for index in play.aborts:
        worst = [one for one in play.candidates if one.prefix_rewards or one.reward is not None]
        assert len(worst) > n
        assert play.candidates[index].prefix_rewards
    failed = sum(candidate.state == "failed" for candidate in play.candidates)
    assert sum(candidate.state == "finished" for candidate in play.candidates) >= n - failed


@settings(max_examples=100, deadline=None)
@given(st.lists(LIVES, min_size=2, max_size=6), st.integers(0, 2**32))
def test_without_a_score_nobody_is_aborted(lives: list[Life], seed: int) -> None:
    blind = [replace(life, prefixes=(None,) * len(life.prefixes)) for life in lives]
    assert not Play(blind, Prune(len(blind), STEP, (0.1,)), seed).run().aborts


def test_one_that_has_finished_is_never_aborted_but_competes() -> None:
    ended = at(0, state="finished", tokens=5, reward=-1.0)
    assert Prune(2, STEP, (0.5,)).decide(Scored(1), [ended, at(1, 1.0)]) == []
    better = replace(ended, reward=2.0)
    assert Prune(2, STEP, (0.5,)).decide(Scored(1), [better, at(1, 1.0)]) == [Abort(1)]
    assert Prune(2, STEP, (0.5,)).decide(Scored(0), [better, at(1, 1.0)]) == [Abort(1)]


def test_where_others_failed_as_many_are_spared_as_are_returned() -> None:
    views = [at(0, 3.0, state="failed"), at(1, 2.0), at(2, 1.0)]
    assert Prune(3, STEP, (0.4,), 2).decide(Scored(2), views) == []


def test_who_was_told_to_stop_counts_as_gone() -> None:
    """The best fails while the abort of the second is under way: the third is all there is."""
    views = [at(0, 3.0, state="failed"), at(1, 2.0, aborting=True), at(2, 1.0)]
    strategy = Prune(3, STEP, (0.3,))
    assert strategy.decide(Scored(2), views) == []
    assert strategy.decide(Progress(1), views) == []
    assert strategy.decide(Progress(2), views) == []


def test_a_growing_candidate_is_scored_only_while_something_is_to_be_decided() -> None:
    strategy = Prune(2, STEP, (0.5,))
    assert strategy.decide(Progress(0), [at(0), at(1)]) == [AskForScore(0)]
    assert strategy.decide(Progress(0), [at(0, scores_pending=1), at(1)]) == []
    assert strategy.decide(Progress(0), [at(0), at(1, state="aborted")]) == []


# -- the last one


@pytest.mark.parametrize("event", [Aborted(1), Failed(1), Scored(0)])
def test_the_last_one_left_is_committed_to(event: Aborted | Failed | Scored) -> None:
    ended = at(1, state="failed" if isinstance(event, Failed) else "aborted")
    assert Prune(2, STEP, (0.5,)).decide(event, [at(0, 1.0), ended]) == [Commit(0)]
    assert Prune(2, STEP, (0.5,), live=False).decide(event, [at(0, 1.0), ended]) == []


def test_nobody_is_committed_to_while_another_may_still_finish() -> None:
    strategy = Prune(3, STEP, (0.5,))
    views = [at(0, 2.0), at(1, 1.0, aborting=True), at(2, state="aborted")]
    assert strategy.decide(Aborted(2), views) == []
    assert strategy.decide(Aborted(2), [views[0], replace(views[1], state="finished"), views[2]]) == []


def test_it_stops_when_all_are_settled() -> None:
    views = [at(0, state="finished", reward=1.0), at(1, state="aborted")]
    assert Prune(2, STEP, (0.5,)).decide(Scored(0), views) == [Stop("complete")]


def test_an_answer_that_was_cut_off_costs_no_other_its_place() -> None:
    prune = Prune(2, STEP, (0.5,))
    growing = Candidate(1, tokens=STEP, prefix_rewards=((STEP, 0.0),))
    ended = Candidate(0, "finished", tokens=STEP, reward=5.0, prefix_rewards=((STEP, 5.0),))
    assert prune.decide(Scored(0), [ended, growing]) == [Abort(1)]
    assert prune.decide(Scored(0), [replace(ended, cut_off=True), growing]) == []
    assert prune.decide(Progress(1), [replace(ended, cut_off=True), growing]) == []
