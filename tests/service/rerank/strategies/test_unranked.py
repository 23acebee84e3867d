"""What is left to do without the reward model."""

from dataclasses import replace

import pytest

from service.rerank.strategies.adaptive import Adaptive
from service.rerank.strategies.base import (
    Abort,
    Candidate,
    Clock,
    Commit,
    Failed,
    Finished,
    Progress,
    RewardLost,
    Sample,
    Scored,
    Stop,
    Strategy,
)
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.pass_on import PassOn
from service.rerank.strategies.prior import NORMAL_KINDS
from service.rerank.strategies.prune import Prune
from service.rerank.strategies.unranked import Unranked
from tests.service.rerank.strategies.test_base import ABORTED, FAILED, FINISHED, RUNNING

INNER = [BestOfN(2), Prune(2, 8, (0.5,)), Adaptive(8, 2, 0.1, NORMAL_KINDS), Limited(BestOfN(2), stop_after=2)]
STOP = Stop("reward_unavailable")


def crowd(*ones: Candidate) -> list[Candidate]:
    return [replace(one, index=index) for index, one in enumerate(ones)]


@pytest.mark.parametrize("inner", INNER)
def test_from_the_start_it_samples_no_more_than_are_returned(inner: Strategy) -> None:
    assert Unranked(inner, 2, best_of=8).start() == [Sample(2)]
    assert Unranked(inner, 2, best_of=8).decide(Finished(0), crowd(FINISHED, RUNNING)) == []
    assert Unranked(inner, 2, best_of=8).decide(Finished(1), crowd(FINISHED, FINISHED)) == [STOP]


@pytest.mark.parametrize("inner", INNER)
def test_in_the_middle_the_first_by_index_is_kept_and_not_the_first_to_finish(inner: Strategy) -> None:
    strategy = Unranked(inner, best_of=3)
    assert strategy.decide(RewardLost(), crowd(RUNNING, FINISHED, RUNNING)) == [Abort(2)]
    assert strategy.decide(Finished(0), crowd(FINISHED, FINISHED, ABORTED)) == [STOP]


@pytest.mark.parametrize("inner", INNER)
def test_it_waits_for_the_one_that_was_left_and_scores_nothing(inner: Strategy) -> None:
    growing = Candidate(0, prefix_rewards=((8, 1.0),))
    for event in (RewardLost(), Progress(0), Scored(0)):
        assert Unranked(inner, best_of=2).decide(event, crowd(growing, ABORTED)) == []


def test_one_that_fails_is_replaced_while_more_may_be_sampled() -> None:
    strategy = Unranked(BestOfN(2), best_of=2)
    assert strategy.decide(Failed(0), crowd(FAILED)) == [Sample(1)]
    assert strategy.decide(Failed(1), crowd(FAILED, FAILED)) == [STOP]
    assert strategy.decide(Failed(0), crowd(FAILED, FINISHED, ABORTED)) == [STOP]


def test_one_that_was_cut_off_is_not_kept_while_another_grows() -> None:
    cut_off = replace(FINISHED, cut_off=True)
    strategy = Unranked(BestOfN(2), best_of=2)
    assert strategy.decide(RewardLost(), crowd(cut_off, RUNNING)) == []
    assert strategy.decide(Finished(1), crowd(cut_off, cut_off)) == [STOP]


def test_the_best_of_most_is_the_answer_and_of_a_few_is_not() -> None:
    scored, strategy = replace(FINISHED, reward=1.0), Unranked(BestOfN(4), best_of=4)
    assert strategy.decide(RewardLost(), crowd(RUNNING, scored, scored, scored)) == [STOP]
    assert strategy.decide(RewardLost(), crowd(RUNNING, scored, scored, RUNNING)) == [Abort(3)]
    assert not strategy.is_ranked(crowd(FINISHED, scored))
    assert not Unranked(BestOfN(4), 4, 4).is_ranked(crowd(RUNNING, scored, scored, scored))


def test_a_vote_goes_on_with_all() -> None:
    strategy = Unranked(Adaptive(8, 2, 0.1, NORMAL_KINDS), best_of=4, votes=True)
    assert strategy.start() == [Sample(4)]
    assert strategy.decide(RewardLost(), crowd(FINISHED, RUNNING)) == [Sample(2)]
    assert strategy.decide(Finished(1), crowd(FINISHED, FINISHED, RUNNING, FAILED)) == []
    assert strategy.decide(Finished(2), crowd(FINISHED, FINISHED, FINISHED, FAILED)) == [STOP]


def test_what_is_passed_on_is_passed_on_still() -> None:
    assert Unranked(PassOn(1, "best_of_n", scored=True)).start() == [Sample(1), Commit(0)]


def test_it_goes_by_the_name_of_its_strategy_keeps_its_deadline_and_gives_its_reason() -> None:
    strategy = Unranked(Limited(BestOfN(2, checkpoint_tokens=4), 0.5), best_of=2, reason="prompt_too_long")
    assert (strategy.name, strategy.checkpoint_tokens, strategy.alarm_s) == ("best_of_n", None, 0.5)
    assert strategy.decide(Clock(), [RUNNING, RUNNING]) == [Stop("deadline")]
    assert strategy.decide(Finished(0), crowd(FINISHED)) == [Stop("prompt_too_long")]
