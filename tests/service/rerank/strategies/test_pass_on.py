"""What is returned whatever it is worth."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.strategies.base import Commit, Failed, Finished, Progress, Sample, Score, Scored, Stop
from service.rerank.strategies.pass_on import PassOn
from tests.service.rerank.strategies.test_base import ABORTED, FAILED, FINISHED, RUNNING, SCORED, UNSCORED

STATES = st.sampled_from([RUNNING, FINISHED, SCORED, UNSCORED, FAILED, ABORTED])


def test_all_are_sampled_and_passed_on_at_once() -> None:
    assert PassOn(2, "prune", scored=False).start() == [Sample(2), Commit(0), Commit(1)]


def test_it_goes_by_the_name_that_was_asked_for_and_sets_no_alarm() -> None:
    strategy = PassOn(1, "prune", scored=True)
    assert (strategy.name, strategy.checkpoint_tokens, strategy.alarm_s) == ("prune", None, None)


def test_a_reward_is_asked_for_where_the_client_wants_to_know_it() -> None:
    assert PassOn(1, "best_of_n", scored=True).decide(Finished(0), [FINISHED]) == [Score(0)]
    assert PassOn(1, "best_of_n", scored=True).decide(Scored(0), [SCORED]) == [Stop("complete")]
    assert PassOn(1, "best_of_n", scored=False).decide(Finished(0), [FINISHED]) == [Stop("complete")]


@pytest.mark.parametrize("scored", [True, False])
def test_it_waits_for_every_candidate(scored: bool) -> None:
    strategy = PassOn(2, "best_of_n", scored=scored)
    assert strategy.decide(Progress(0), [RUNNING, RUNNING]) == []
    assert strategy.decide(Failed(0), [FAILED, RUNNING]) == []
    assert strategy.decide(Failed(0), [FAILED, ABORTED]) == [Stop("complete")]


@settings(max_examples=60, deadline=None)
@given(st.lists(STATES, min_size=1, max_size=4), st.booleans())
def test_it_stops_when_nothing_more_is_to_come(candidates: list[object], scored: bool) -> None:
    over = all(one is not RUNNING and not (scored and one is FINISHED) for one in candidates)
    decided = PassOn(len(candidates), "best_of_n", scored=scored).decide(Scored(0), candidates)  # type: ignore[arg-type]
    assert decided == ([Stop("complete")] if over else [])
