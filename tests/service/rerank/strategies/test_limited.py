"""Answers in time, after enough candidates, or at one that is good enough."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.strategies.base import AskForScore, Candidate, Clock, Finished, Scored, Stop
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.prune import Prune
from tests.service.rerank.strategies.play import LIVES, STEP, Life, Play
from tests.service.rerank.strategies.test_base import FINISHED, RUNNING, SCORED, UNSCORED


def scored(index: int, reward: float) -> Candidate:
    return replace(SCORED, index=index, reward=reward)


def test_a_deadline_stops_whatever_the_state() -> None:
    assert Limited(BestOfN(2), 0.5).decide(Clock(), [RUNNING, RUNNING]) == [Stop("deadline")]


def test_everything_else_is_left_to_the_strategy() -> None:
    inner = BestOfN(2, checkpoint_tokens=4)
    limited = Limited(inner, 0.5)
    assert (limited.name, limited.checkpoint_tokens, limited.alarm_s) == ("best_of_n", 4, 0.5)
    assert limited.start() == inner.start()
    assert limited.decide(Finished(1), [RUNNING, FINISHED]) == [AskForScore(1)]
    assert limited.decide(Scored(0), [SCORED, SCORED]) == [Stop("complete")]


def test_enough_are_those_with_a_reward() -> None:
    limited = Limited(BestOfN(4), stop_after=2)
    assert limited.alarm_s is None
    assert limited.decide(Scored(0), [SCORED, FINISHED, RUNNING, RUNNING]) == []
    assert limited.decide(Scored(0), [SCORED, UNSCORED, RUNNING, RUNNING]) == []
    assert limited.decide(Scored(1), [SCORED, scored(1, 0.0), RUNNING, RUNNING]) == [Stop("enough")]


def test_the_strategys_own_reason_to_stop_comes_first() -> None:
    assert Limited(BestOfN(2), stop_after=2).decide(Scored(1), [SCORED, scored(1, 0.0)])[0] == Stop("complete")


def test_a_good_enough_candidate_ends_it() -> None:
    limited = Limited(BestOfN(3), target_reward=0.0)
    assert limited.decide(Scored(0), [scored(0, -0.1), RUNNING, RUNNING]) == []
    assert limited.decide(Scored(0), [scored(0, 0.0), RUNNING, RUNNING]) == [Stop("target")]


def test_a_good_prefix_is_not_good_enough() -> None:
    running = replace(RUNNING, tokens=8, prefix_rewards=((8, 5.0),))
    assert Limited(BestOfN(2, 8), target_reward=1.0).decide(Scored(0), [running, RUNNING]) == []


def test_as_many_as_are_returned_have_to_be_good_enough() -> None:
    limited = Limited(BestOfN(3), target_reward=1.0, n=2)
    assert limited.decide(Scored(0), [scored(0, 5.0), scored(1, 0.9), RUNNING]) == []
    assert limited.decide(Scored(1), [scored(0, 5.0), scored(1, 1.0), RUNNING]) == [Stop("target")]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(LIVES, min_size=1, max_size=6),
    st.none() | st.integers(1, 6),
    st.none() | st.sampled_from([0.0, 1.0]),
    st.integers(0, 2**32),
)
def test_whatever_happens_it_stops_for_the_first_reason_that_holds(
    lives: list[Life], stop_after: int | None, target: float | None, seed: int
) -> None:
    inner = Prune(len(lives), STEP, (0.5,))
    play = Play(lives, Limited(inner, stop_after=stop_after, target_reward=target), seed).run()
    rewards = [candidate.reward for candidate in play.candidates if candidate.reward is not None]
    reached = target is not None and any(reward >= target for reward in rewards)
    assert (play.stopped == "target") == reached
    if play.stopped == "enough":
        assert len(rewards) == stop_after
    if play.stopped == "complete":
        assert all(candidate.settled for candidate in play.candidates)


def test_answers_that_were_cut_off_are_not_enough_and_not_good_enough() -> None:
    cut_off = replace(SCORED, cut_off=True)
    assert Limited(BestOfN(3), stop_after=1).decide(Scored(0), [cut_off, RUNNING, RUNNING]) == []
    assert Limited(BestOfN(3), target_reward=-9.0).decide(Scored(0), [cut_off, RUNNING, RUNNING]) == []
    assert Limited(BestOfN(1), stop_after=1).decide(Scored(0), [cut_off]) == [Stop("complete")]


def test_where_nothing_is_scored_enough_is_counted_in_whole_answers() -> None:
    strategy = Limited(BestOfN(3, scored=False), stop_after=2, scored=False)
    first = [Candidate(0, "finished"), Candidate(1, "finished", cut_off=True), Candidate(2)]
    assert strategy.decide(Finished(1), first) == []
    assert strategy.decide(Finished(2), [*first[:2], Candidate(2, "finished")])[-1] == Stop("enough")
