"""What has nothing to be chosen from is passed on while it grows."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.errors import InvalidRequest, RewardModelDown
from service.rerank.ledger import count_tokens
from service.rerank.plan import make_plan
from service.rerank.run import Run
from service.rerank.strategies.base import (
    Aborted,
    AskForScore,
    Candidate,
    Commit,
    Failed,
    Finished,
    Progress,
    Sample,
    Scored,
    Stop,
)
from service.rerank.strategies.pass_on import PassOn
from service.rerank.supervised_scorer import SupervisedScorer
from tests.service.fakes import (
    CONVERSATION,
    FREE,
    METER,
    FakeSampler,
    FakeScorer,
    Script,
    make_ask,
    make_run,
    says,
    settle,
    supervised,
)
from tests.service.rerank.runs import best, states
from tests.service.rerank.strategies.test_base import ABORTED, FAILED, FINISHED, RUNNING, SCORED, UNSCORED

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")


def passing_on(sampler: FakeSampler, scorer: FakeScorer | SupervisedScorer, **body: Any) -> Run:
    """One candidate, whose reward the client asked for."""
    plan = make_plan(make_ask({"rerank": {}, **body}), n=1, temperature=1.0, checkpoint_tokens=None)
    return make_run(sampler, scorer, plan=plan)


async def test_a_single_candidate_is_passed_on_before_it_is_scored() -> None:
    scorer = FakeScorer({"a": 0.5})
    scorer.open.clear()
    run = passing_on(FakeSampler(says("a")), scorer)
    await settle()
    assert (run.committed, states(run), run.ledger.rewards) == ([0], ["finished"], [])
    scorer.open.set()
    assert await best(run) == (0,)
    assert run.ledger.rewards == [0.5]


@pytest.mark.parametrize("reward", [math.nan, ValueError("long")])
async def test_a_single_candidate_may_stay_unscored(reward: float | Exception) -> None:
    run = passing_on(FakeSampler(says("a")), FakeScorer({"a": reward}))
    assert await best(run) == (0,)
    assert run.ledger.candidates[0].unscored


async def test_a_single_candidate_without_a_reward_model_is_an_error_or_unranked() -> None:
    scorer = FakeScorer()
    scorer.die()
    with pytest.raises(RewardModelDown):
        await best(passing_on(FakeSampler(says("a")), supervised(scorer, "error")))
    run = passing_on(FakeSampler(says("a")), supervised(scorer, "unranked"))
    assert await best(run) == (0,)
    assert (run.ledger.stop_reason, run.ledger.rewards) == ("reward_unavailable", [])


async def test_what_nobody_asked_to_have_ranked_never_meets_the_reward_model() -> None:
    scorer = FakeScorer()
    scorer.die()
    plan = make_plan(make_ask({"n": 3}), n=3, temperature=1.0, checkpoint_tokens=None)
    sampler = FakeSampler(says("a", turns=5), says("b"), says("c", turns=2))
    run = Run(plan, None, sampler, supervised(scorer, "error"), METER, FREE)
    assert await best(run) == (0, 1, 2)
    assert (run.committed, run.ledger.stop_reason, scorer.asked) == ([0, 1, 2], "complete", [])
    assert run.ledger.conversation is None


async def test_of_unranked_answers_none_may_be_missing() -> None:
    plan = make_plan(make_ask({"n": 2}), n=2, temperature=1.0, checkpoint_tokens=None)
    sampler = FakeSampler(says("a"), says("b", error=RuntimeError("odd")))
    with pytest.raises(RuntimeError, match="odd"):
        await best(Run(plan, None, sampler, supervised(FakeScorer()), METER, FREE))


async def test_nothing_more_is_generated_for_an_answer_that_misses_one() -> None:
    plan = make_plan(make_ask({"n": 2}), n=2, temperature=1.0, checkpoint_tokens=None)
    sampler = FakeSampler(says("a", held=True), says("b", error=RuntimeError("odd")))
    run = Run(plan, None, sampler, supervised(FakeScorer()), METER, FREE)
    with pytest.raises(RuntimeError, match="odd"):
        await best(run)
    assert (sampler.aborted, run.ledger.stop_reason) == ([0], "failed")


@pytest.mark.parametrize("rerank", [None, {}])
@pytest.mark.parametrize("reason", ["abort", "error"])
async def test_what_the_engine_ends_goes_back_as_the_engine_ended_it(
    reason: str, rerank: dict[str, Any] | None
) -> None:
    """vLLM makes of it what it makes of its own."""
    plan = make_plan(make_ask({"rerank": rerank}), n=1, temperature=1.0, checkpoint_tokens=None)
    conversation = None if rerank is None else CONVERSATION
    run = Run(plan, conversation, FakeSampler(Script(("a",), reason=reason)), supervised(FakeScorer()), METER, FREE)
    assert await best(run) == (0,)
    assert run.ledger.candidates[0].finish_reason == reason


async def test_an_unranked_answer_that_the_engine_cuts_short_is_still_the_answer() -> None:
    plan = make_plan(make_ask({}), n=1, temperature=1.0, checkpoint_tokens=None)
    run = Run(plan, None, FakeSampler(Script(("a", "b"), reason="abort")), supervised(FakeScorer()), METER, FREE)
    assert await best(run) == (0,)
    assert count_tokens([run.ledger]).returned == 2


async def test_any_failure_to_score_a_single_candidate_is_the_reward_model_being_down() -> None:
    with pytest.raises(RewardModelDown):
        await best(passing_on(FakeSampler(says("a")), FakeScorer({"a": RuntimeError("odd")})))


async def test_a_conversation_that_the_template_refuses_is_the_requests_fault_for_one_candidate_too() -> None:
    with pytest.raises(InvalidRequest):
        await best(passing_on(FakeSampler(says("a")), FakeScorer(template_error=ValueError("no"))))


async def test_a_single_candidate_that_fails_is_not_scored() -> None:
    scorer = FakeScorer()
    with pytest.raises(RuntimeError, match="odd"):
        await best(passing_on(FakeSampler(says("a", error=RuntimeError("odd"))), scorer))
    assert scorer.asked == []


@pytest.mark.parametrize("n", [1, 3])
def test_all_are_sampled_and_promised_at_once(n: int) -> None:
    assert PassOn(n, "prune", scored=False).start() == [Sample(n), *map(Commit, range(n))]


def test_it_is_over_when_all_have_ended_and_have_the_reward_that_was_asked_for() -> None:
    ended, running = Candidate(0, "finished"), Candidate(1)
    for scored in (False, True):
        assert PassOn(2, "best_of_n", scored=scored).decide(Finished(0), [ended, running]) == [AskForScore(0)] * scored
    assert PassOn(1, "best_of_n", scored=False).decide(Finished(0), [ended]) == [Stop("complete")]
    strategy = PassOn(1, "best_of_n", scored=True)
    assert strategy.decide(Scored(0), [replace(ended, scores_pending=1)]) == []
    assert strategy.decide(Scored(0), [replace(ended, reward=0.5)]) == [Stop("complete")]
    assert strategy.decide(Failed(0), [Candidate(0, "failed")]) == [Stop("failed")]


STATES = st.sampled_from([RUNNING, FINISHED, SCORED, UNSCORED, FAILED, ABORTED])


def test_it_goes_by_the_name_that_was_asked_for_and_sets_no_alarm() -> None:
    strategy = PassOn(1, "prune", scored=True)
    assert (strategy.name, strategy.checkpoint_tokens, strategy.alarm_s) == ("prune", None, None)


def test_a_reward_is_asked_for_where_the_client_wants_to_know_it() -> None:
    assert PassOn(1, "best_of_n", scored=True).decide(Finished(0), [FINISHED]) == [AskForScore(0)]
    assert PassOn(1, "best_of_n", scored=True).decide(Scored(0), [SCORED]) == [Stop("complete")]
    assert PassOn(1, "best_of_n", scored=False).decide(Finished(0), [FINISHED]) == [Stop("complete")]


@pytest.mark.parametrize("scored", [True, False])
def test_it_waits_for_every_candidate(scored: bool) -> None:
    strategy = PassOn(2, "best_of_n", scored=scored)
    assert strategy.decide(Progress(0), [RUNNING, RUNNING]) == []
    assert strategy.decide(Aborted(0), [ABORTED, RUNNING]) == []
    assert strategy.decide(Aborted(0), [ABORTED, ABORTED]) == [Stop("complete")]
    assert strategy.decide(Failed(0), [FAILED, RUNNING]) == [Stop("failed")]


@settings(max_examples=60, deadline=None)
@given(st.lists(STATES, min_size=1, max_size=4), st.booleans())
def test_it_stops_when_nothing_more_is_to_come(candidates: list[object], scored: bool) -> None:
    over = all(one is not RUNNING and not (scored and one is FINISHED) for one in candidates)
    decided = PassOn(len(candidates), "best_of_n", scored=scored).decide(Scored(0), candidates)  # type: ignore[arg-type]
    assert decided == ([Stop("complete")] if over else [])
