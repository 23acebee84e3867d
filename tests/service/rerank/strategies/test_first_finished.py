"""What is left to do when the reward model has gone."""

import pytest

from service.rerank.strategies.adaptive import Adaptive
from service.rerank.strategies.base import (
    Candidate,
    Clock,
    Failed,
    Finished,
    Progress,
    RewardLost,
    Scored,
    Stop,
    Strategy,
)
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.first_finished import FirstFinished
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.prior import NORMAL_KINDS
from service.rerank.strategies.prune import Prune
from tests.service.rerank.strategies.test_base import ABORTED, FAILED, FINISHED, RUNNING

INNER = [BestOfN(2), Prune(2, 8, (0.5,)), Adaptive(8, 2, 0.1, NORMAL_KINDS), Limited(BestOfN(2), stop_after=2)]


@pytest.mark.parametrize("inner", INNER)
def test_it_stops_at_the_first_that_finishes_or_has(inner: Strategy) -> None:
    assert FirstFinished(inner).decide(Finished(1), [RUNNING, FINISHED]) == [Stop("reward_unavailable")]
    assert FirstFinished(inner).decide(RewardLost(), [FINISHED, ABORTED]) == [Stop("reward_unavailable")]


@pytest.mark.parametrize("inner", INNER)
def test_it_waits_for_the_one_that_was_left_and_scores_and_samples_nothing(inner: Strategy) -> None:
    strategy = FirstFinished(inner)
    assert strategy.start() == []
    growing = Candidate(0, prefix_rewards=((8, 1.0),))
    for event in (RewardLost(), Progress(0), Scored(0)):
        assert strategy.decide(event, [growing, ABORTED]) == []


def test_failures_are_passed_over() -> None:
    assert FirstFinished(BestOfN(2)).decide(Failed(0), [FAILED, RUNNING]) == []


def test_it_stops_when_nothing_can_finish() -> None:
    assert FirstFinished(BestOfN(2)).decide(Failed(0), [FAILED, FAILED]) == [Stop("reward_unavailable")]


def test_as_many_as_are_returned_have_to_finish() -> None:
    strategy = FirstFinished(BestOfN(3), 2)
    assert strategy.decide(Finished(0), [FINISHED, RUNNING, RUNNING]) == []
    assert strategy.decide(Finished(1), [FINISHED, FINISHED, RUNNING]) == [Stop("reward_unavailable")]


def test_it_goes_by_the_name_of_its_strategy_and_keeps_its_deadline() -> None:
    strategy = FirstFinished(Limited(BestOfN(2, checkpoint_tokens=4), 0.5))
    assert (strategy.name, strategy.checkpoint_tokens, strategy.alarm_s) == ("best_of_n", None, 0.5)
    assert strategy.decide(Clock(), [RUNNING, RUNNING]) == [Stop("deadline")]
