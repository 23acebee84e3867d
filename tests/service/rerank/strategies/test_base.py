"""What a strategy is told of a candidate."""

import math

import pytest

from service.rerank.strategies.base import Candidate, next_finish_rank

RUNNING = Candidate(0)
FINISHED = Candidate(0, "finished", finish_rank=0)
SCORED = Candidate(0, "finished", finish_rank=0, reward=1.0)
UNSCORED = Candidate(0, "finished", finish_rank=0, unscored=True)
FAILED = Candidate(0, "failed")
ABORTED = Candidate(0, "aborted")


@pytest.mark.parametrize("candidate", [SCORED, UNSCORED, FAILED, ABORTED])
def test_a_candidate_is_settled_when_nothing_more_can_be_learnt(candidate: Candidate) -> None:
    assert candidate.settled


@pytest.mark.parametrize("candidate", [RUNNING, FINISHED, Candidate(0, unscored=True)])
def test_a_candidate_that_runs_or_awaits_its_score_is_not_settled(candidate: Candidate) -> None:
    assert not candidate.settled


@pytest.mark.parametrize(
    ("candidate", "alive"),
    [(RUNNING, True), (Candidate(0, aborting=True), False), (FINISHED, True), (FAILED, False), (ABORTED, False)],
)
def test_who_is_told_to_stop_is_no_longer_alive(candidate: Candidate, alive: bool) -> None:
    assert candidate.alive is alive


def test_what_was_told_to_stop_and_finished_all_the_same_is_alive() -> None:
    assert Candidate(0, "finished", aborting=True).alive


@pytest.mark.parametrize(("tokens", "reward"), [(1, 0.5), (8, 0.5), (9, 0.7), (17, 0.7), (18, None)])
def test_the_reward_at_a_length_is_the_first_that_was_measured_there_or_later(
    tokens: int, reward: float | None
) -> None:
    assert Candidate(0, tokens=20, prefix_rewards=((8, 0.5), (17, 0.7))).reward_at(tokens) == reward


def test_a_shorter_finished_candidate_has_the_reward_of_its_end() -> None:
    ended = Candidate(0, "finished", tokens=10, reward=3.0, prefix_rewards=((8, 0.5),))
    assert [ended.reward_at(tokens) for tokens in (8, 9, 100)] == [0.5, 3.0, 3.0]


def test_a_candidate_that_ends_keeps_what_was_known_of_it() -> None:
    grown = Candidate(1, tokens=9, prefix_rewards=((8, 0.5),), scores_pending=1)
    aborted = grown.ended("aborted", "abort")
    assert (aborted.state, aborted.finish_reason, aborted.finish_rank, aborted.text) == ("aborted", "abort", None, "")
    assert (aborted.tokens, aborted.prefix_rewards, aborted.scores_pending) == (9, ((8, 0.5),), 1)
    finished = grown.ended("finished", "stop", rank=next_finish_rank([FINISHED, grown, ABORTED]), text="whole")
    assert (finished.finish_rank, finished.text, finished.settled) == (1, "whole", False)


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_what_is_no_number_is_no_reward(reward: float) -> None:
    asked = RUNNING.score_asked()
    assert asked.scored(reward, {}, prefix_tokens=8) == RUNNING
    assert asked.scored(reward, {}, prefix_tokens=None) == Candidate(0, unscored=True)


def test_quantities_grow_with_the_tokens_that_they_are_of() -> None:
    grown = Candidate(0).grown(2, -3.0, 4.0).grown(1, -1.5, 1.0)
    assert (grown.tokens, grown.logprob, grown.mean_logprob, grown.self_certainty) == (3, -4.5, -1.5, 3.0)
    assert grown.grown(0) == grown
    bare = Candidate(0).grown(4)
    assert (bare.tokens, bare.logprob, bare.mean_logprob, bare.self_certainty) == (4, None, None, None)
