"""Waves, and when another candidate is not worth its price."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.strategies.adaptive import Adaptive
from service.rerank.strategies.base import AskForScore, Candidate, Failed, Finished, Sample, Scored, Stop
from service.rerank.strategies.prior import NORMAL_KINDS, Prior
from tests.service.rerank.strategies.play import LIVES, Life, Play
from tests.service.rerank.strategies.test_base import ABORTED, FAILED, RUNNING, SCORED, UNSCORED

COIN = Prior(values=(0.0, 1.0), edges=(0.5,), weights=(1.0,), shares=((0.5, 0.5),))


def scored(*rewards: float) -> list[Candidate]:
    return [Candidate(index, "finished", finish_rank=index, reward=reward) for index, reward in enumerate(rewards)]


def adaptive(best_of: int = 16, wave: int = 2, price: float = 0.1, prior: Prior = COIN) -> Adaptive:
    return Adaptive(best_of, wave, price, prior)


def test_the_first_wave_is_small() -> None:
    assert adaptive(wave=3).start() == [Sample(3)]
    assert adaptive(best_of=2, wave=3).start() == [Sample(2)]


def test_it_scores_what_finishes_and_waits_for_the_whole_wave() -> None:
    assert adaptive().decide(Finished(0), [RUNNING, RUNNING]) == [AskForScore(0)]
    assert adaptive().decide(Scored(0), [*scored(0.0), RUNNING]) == []


def test_a_reward_that_cannot_be_beaten_ends_the_search() -> None:
    assert adaptive().decide(Scored(1), scored(0.0, 1.0)) == [Stop("price")]


def test_a_wave_holds_those_that_pay_for_themselves() -> None:
    """After tails only, the k-th coin is expected to add 1 / 2^k: 3 of them add 0.1 or more."""
    assert adaptive().decide(Scored(3), scored(0, 0, 0, 0)) == [Sample(3)]
    assert adaptive(price=0.13).decide(Scored(3), scored(0, 0, 0, 0)) == [Sample(2)]
    assert adaptive(price=0.5).decide(Scored(3), scored(0, 0, 0, 0)) == [Sample(2)]  # never less than a wave
    assert adaptive(price=0.51).decide(Scored(3), scored(0, 0, 0, 0)) == [Stop("price")]


def test_a_wave_is_no_larger_than_all_before_it() -> None:
    assert adaptive(price=1e-6).decide(Scored(1), scored(0, 0)) == [Sample(2)]
    assert adaptive(price=1e-6).decide(Scored(3), scored(0, 0, 0, 0)) == [Sample(4)]


def test_a_hard_prompt_does_not_wait_for_one_small_wave_after_another() -> None:
    """Two coins would pay for themselves; half as many as there are do not cost much more, and are there at once."""
    assert adaptive(best_of=64, price=0.2).decide(Scored(11), scored(*[0.0] * 12)) == [Sample(6)]
    assert adaptive(best_of=16, price=0.2).decide(Scored(11), scored(*[0.0] * 12)) == [Sample(4)]


def test_best_of_is_never_exceeded() -> None:
    assert adaptive(best_of=5).decide(Scored(3), scored(0, 0, 0, 0)) == [Sample(1)]
    assert adaptive(best_of=4).decide(Scored(3), scored(0, 0, 0, 0)) == [Stop("complete")]


def test_without_any_reward_there_is_nothing_to_go_by() -> None:
    assert adaptive().decide(Failed(1), [UNSCORED, FAILED]) == [Stop("complete")]


def test_those_without_a_reward_say_nothing() -> None:
    assert adaptive().decide(Failed(2), [*scored(1.0), FAILED, ABORTED]) == [Stop("price")]


@settings(max_examples=100, deadline=None)
@given(st.lists(LIVES, min_size=1, max_size=8), st.integers(1, 4), st.floats(0.001, 2), st.integers(0, 2**32))
def test_whatever_happens_it_stops_in_time(lives: list[Life], wave: int, price: float, seed: int) -> None:
    play = Play(lives, Adaptive(len(lives), wave, price, NORMAL_KINDS), seed).run()
    assert play.stopped in ("complete", "price")
    rewards = [candidate.reward for candidate in play.candidates if candidate.reward is not None]
    if play.stopped == "price":
        assert NORMAL_KINDS.gains(rewards, 1)[0] < price
    else:
        assert len(play.candidates) == len(lives) or not rewards


def test_more_follow_while_fewer_have_finished_than_are_to_be_returned() -> None:
    strategy = Adaptive(8, 2, 100.0, NORMAL_KINDS, n=2)
    scored, failed = Candidate(0, "finished", finish_rank=0, reward=1.0), Candidate(1, "failed")
    assert strategy.decide(Failed(1), [scored, failed]) == [Sample(2)]
    assert strategy.decide(Failed(1), [scored, failed] * 4) == [Stop("complete")]


def test_answers_that_were_cut_off_teach_nothing_and_are_not_enough() -> None:
    cut_off, whole = replace(SCORED, cut_off=True, reward=9.0), replace(SCORED, reward=0.0)
    strategy = Adaptive(8, 2, 0.1, NORMAL_KINDS)
    assert strategy.decide(Scored(1), [cut_off, cut_off]) == [Sample(2)]
    worse = replace(cut_off, reward=-9.0)
    assert strategy.decide(Scored(1), [cut_off, whole]) == strategy.decide(Scored(1), [worse, whole])
    assert Adaptive(2, 2, 0.1, NORMAL_KINDS).decide(Scored(1), [cut_off, cut_off]) == [Stop("complete")]
