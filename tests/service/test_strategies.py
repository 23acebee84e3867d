"""Strategies: events in, actions out."""

import pytest

from service.strategies import (
    BestOfN,
    Candidate,
    Clock,
    Failed,
    Finished,
    FirstFinished,
    Limited,
    Progress,
    Sample,
    Score,
    Scored,
    Stop,
)

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


# -- best_of_n


def test_best_of_n_samples_all_at_once() -> None:
    assert BestOfN(5).start() == [Sample(5)]


def test_best_of_n_scores_each_as_it_finishes() -> None:
    assert BestOfN(2).decide(Finished(1), [RUNNING, FINISHED]) == [Score(1)]


def test_best_of_n_scores_prefixes_one_at_a_time() -> None:
    strategy = BestOfN(1, checkpoint_tokens=8)
    assert strategy.decide(Progress(0), [RUNNING]) == [Score(0)]
    assert strategy.decide(Progress(0), [Candidate(0, scores_pending=1)]) == []


@pytest.mark.parametrize("other", [RUNNING, FINISHED])
def test_best_of_n_waits_for_every_candidate(other: Candidate) -> None:
    assert BestOfN(2).decide(Scored(0), [SCORED, other]) == []
    assert BestOfN(2).decide(Failed(0), [FAILED, other]) == []


@pytest.mark.parametrize("other", [SCORED, UNSCORED, FAILED, ABORTED])
def test_best_of_n_stops_when_all_are_settled(other: Candidate) -> None:
    assert BestOfN(2).decide(Scored(0), [SCORED, other]) == [Stop("complete")]
    assert BestOfN(2).decide(Failed(0), [FAILED, other]) == [Stop("complete")]


def test_best_of_n_never_rings() -> None:
    assert BestOfN(2).alarm_s is None


# -- deadline


def test_a_deadline_stops_whatever_the_state() -> None:
    assert Limited(BestOfN(2), 0.5).decide(Clock(0.5), [RUNNING, RUNNING]) == [Stop("deadline")]


def test_a_deadline_leaves_everything_else_to_its_strategy() -> None:
    inner = BestOfN(2, checkpoint_tokens=4)
    limited = Limited(inner, 0.5)
    assert (limited.name, limited.checkpoint_tokens, limited.alarm_s) == ("best_of_n", 4, 0.5)
    assert limited.start() == inner.start()
    assert limited.decide(Finished(1), [RUNNING, FINISHED]) == [Score(1)]
    assert limited.decide(Scored(0), [SCORED, SCORED]) == [Stop("complete")]


# -- first finished


def test_first_finished_stops_at_the_first_that_finishes() -> None:
    assert FirstFinished(BestOfN(2)).decide(Finished(1), [RUNNING, FINISHED]) == [Stop("reward_unavailable")]


def test_first_finished_passes_over_failures() -> None:
    assert FirstFinished(BestOfN(2)).decide(Failed(0), [FAILED, RUNNING]) == []


def test_first_finished_stops_when_nothing_can_finish() -> None:
    assert FirstFinished(BestOfN(2)).decide(Failed(0), [FAILED, FAILED]) == [Stop("reward_unavailable")]


def test_first_finished_never_scores_and_goes_by_the_name_of_its_strategy() -> None:
    strategy = FirstFinished(Limited(BestOfN(2, checkpoint_tokens=4), 0.5))
    assert (strategy.name, strategy.checkpoint_tokens, strategy.alarm_s) == ("best_of_n", None, 0.5)
    assert strategy.start() == []
    assert strategy.decide(Progress(0), [RUNNING]) == []


def test_the_deadline_holds_without_a_reward_model() -> None:
    strategy = FirstFinished(Limited(BestOfN(2), 0.5))
    assert strategy.decide(Clock(0.5), [RUNNING, RUNNING]) == [Stop("deadline")]
