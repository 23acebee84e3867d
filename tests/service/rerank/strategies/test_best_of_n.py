"""Plain best-of-N."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.strategies.base import (
    Aborted,
    AskForScore,
    Candidate,
    Failed,
    Finished,
    Progress,
    Sample,
    Scored,
    Stop,
)
from service.rerank.strategies.best_of_n import BestOfN
from tests.service.rerank.strategies.play import LIVES, STEP, Life, Play
from tests.service.rerank.strategies.test_base import ABORTED, FAILED, FINISHED, RUNNING, SCORED, UNSCORED


def test_all_are_sampled_at_once() -> None:
    assert BestOfN(5).start() == [Sample(5)]


def test_each_is_scored_as_it_finishes() -> None:
    assert BestOfN(2).decide(Finished(1), [RUNNING, FINISHED]) == [AskForScore(1)]


def test_prefixes_are_scored_one_at_a_time() -> None:
    strategy = BestOfN(1, checkpoint_tokens=8)
    assert strategy.decide(Progress(0), [RUNNING]) == [AskForScore(0)]
    assert strategy.decide(Progress(0), [Candidate(0, scores_pending=1)]) == []


@pytest.mark.parametrize("other", [RUNNING, FINISHED])
def test_it_waits_for_every_candidate(other: Candidate) -> None:
    assert BestOfN(2).decide(Scored(0), [SCORED, other]) == []
    assert BestOfN(2).decide(Failed(0), [FAILED, other]) == []


@pytest.mark.parametrize("other", [SCORED, UNSCORED, FAILED, ABORTED])
def test_it_stops_when_all_are_settled(other: Candidate) -> None:
    assert BestOfN(2).decide(Scored(0), [SCORED, other]) == [Stop("complete")]
    assert BestOfN(2).decide(Failed(0), [FAILED, other]) == [Stop("complete")]


def test_it_never_rings() -> None:
    assert BestOfN(2).alarm_s is None


@settings(max_examples=60, deadline=None)
@given(st.lists(LIVES, min_size=1, max_size=5), st.booleans(), st.integers(0, 2**32))
def test_whatever_happens_every_candidate_comes_to_its_end(lives: list[Life], prefixes: bool, seed: int) -> None:
    play = Play(lives, BestOfN(len(lives), STEP if prefixes else None), seed).run()
    assert (play.stopped, play.aborts) == ("complete", [])
    expected = ["failed" if life.end == "failed" else "finished" for life in lives]
    assert [candidate.state for candidate in play.candidates] == expected


def test_where_nothing_is_scored_it_stops_when_nothing_runs() -> None:
    strategy = BestOfN(3, scored=False)
    candidates = [Candidate(0, "finished", finish_rank=0), Candidate(1, "failed"), Candidate(2)]
    assert strategy.decide(Finished(0), candidates) == []
    assert strategy.decide(Aborted(2), [*candidates[:2], Candidate(2, "aborted")]) == [Stop("complete")]
