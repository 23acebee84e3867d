"""One prompt's candidates: sampled, scored as they finish, stopped, selected, and always accounted for."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reward.config import RewardConfig
from reward.scorer import RewardUnavailable
from reward.scorer import Score as RewardScore
from service.rerank.errors import (
    BelowMinReward,
    DeadlineExceeded,
    EngineDown,
    InvalidRequest,
    NothingComplete,
    NothingGenerated,
    RewardModelDown,
    ShuttingDown,
)
from service.rerank.ledger import Ledger, count_tokens
from service.rerank.plan import make_plan
from service.rerank.protocols import Draft
from service.rerank.run import Run
from service.rerank.selection import FREE, Selection, select
from service.rerank.selection.heads import Worst
from service.rerank.strategies.base import (
    Abort,
    Action,
    AskForScore,
    Candidate,
    Commit,
    Event,
    Failed,
    Finished,
    Progress,
    Sample,
    Scored,
    Stop,
)
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.prune import Prune
from service.rerank.supervised_scorer import OnRewardFailure, SupervisedScorer
from tests.service.fakes import (
    CONVERSATION,
    LIMITS,
    METER,
    PATIENCE_S,
    FakeSampler,
    FakeScorer,
    FreePlaces,
    Script,
    cancelled,
    make_ask,
    make_run,
    plan_for,
    says,
    settle,
    supervised,
    until,
    with_strategy,
)
from tests.service.rerank.runs import best, leave, states

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")


# -- the verbs


async def test_the_highest_reward_wins() -> None:
    run = make_run(FakeSampler(says("a"), says("b"), says("c")), FakeScorer({"a": 1.0, "b": 3.0, "c": 2.0}))
    assert await best(run) == (1,)
    assert (run.ledger.stop_reason, run.ledger.rewards) == ("complete", [1.0, 3.0, 2.0])


async def test_n_are_returned_best_first() -> None:
    sampler = FakeSampler(says("a"), says("b"), says("c"))
    assert await best(make_run(sampler, FakeScorer({"a": 1.0, "b": 3.0, "c": 2.0}), plan=plan_for(3, 2))) == (1, 2)


async def test_equal_rewards_go_to_the_first_that_finished() -> None:
    assert await best(make_run(FakeSampler(says("a", turns=5), says("b")))) == (1,)


def heads(first: float, second: float) -> RewardScore:
    return RewardScore((first + second) / 2, {"a": first, "b": second}, 10, 0)


async def test_cautious_heads_and_weights_choose_another_candidate() -> None:
    scorer = FakeScorer({"a": heads(4.0, 0.0), "b": heads(1.5, 2.0), "c": heads(0.5, 1.0)})
    chosen: dict[str, Any] = {}
    changed: dict[str, dict[str, Any]] = {
        "mean": {},
        "worst": {"selection": Selection(heads=Worst()), "reward": RewardConfig(("a", "b"), 0.0, 2.0)},
        "weights": {"reward_weights": {"a": -1.0}},
    }
    for name, changes in changed.items():
        run = make_run(FakeSampler(says("a"), says("b"), says("c")), scorer, plan=replace(plan_for(3), **changes))
        chosen[name] = await best(run), run.ledger.choice.utilities
    assert chosen["mean"] == ((0,), {})
    assert chosen["worst"] == ((1,), pytest.approx({0: 1.0, 1: 1.25, 2: 0.75}))
    assert chosen["weights"] == ((2,), {})


async def test_a_draw_follows_the_plans_seed() -> None:
    winners = []
    for seed in range(12):
        plan = replace(plan_for(3, selection={"pick": "soft", "temperature": 9}), seed=seed)
        run = make_run(FakeSampler(says("a"), says("b"), says("c")), FakeScorer({"a": 1.0, "b": 3.0}), plan=plan)
        winners.append(await best(run))
        assert winners[-1] == select(run.ledger.candidates, 1, plan.selection, seed=seed).selected
    assert len(set(winners)) == 3


async def test_a_vote_reads_what_each_candidate_said() -> None:
    sampler = FakeSampler(Script(pieces=("so\n", "4")), says("so\n5"), says("hm\n4"))
    run = make_run(sampler, FakeScorer({"so\n5": 3.0, "hm\n4": 1.0}), plan=plan_for(3, selection="majority"))
    assert await best(run) == (2,)
    assert run.ledger.choice.weights == pytest.approx({0: 2 / 3, 1: 1 / 3, 2: 2 / 3})


async def test_nothing_of_the_least_reward_is_an_error_that_says_what_there_was() -> None:
    scorer = FakeScorer({"a": 1.0, "b": 3.0})
    run = make_run(FakeSampler(says("a"), says("b")), scorer, plan=plan_for(2, min_reward=3.5))
    with pytest.raises(BelowMinReward, match=r"the best candidate's reward is 3; rerank\.min_reward asks .* 3\.5"):
        await best(run)
    assert (run.ledger.selected, run.ledger.rewards) == ((), [1.0, 3.0])
    unscorable = FakeScorer({"a": ValueError("long"), "b": ValueError("long")})
    run = make_run(FakeSampler(says("a"), says("b")), unscorable, plan=plan_for(2, min_reward=-9))
    with pytest.raises(BelowMinReward, match="no candidate could be scored"):
        await best(run)


async def test_only_who_reaches_the_least_reward_is_returned() -> None:
    sampler, scorer = FakeSampler(says("a"), says("b"), says("c")), FakeScorer({"a": 1.0, "b": 3.0, "c": 2.0})
    assert await best(make_run(sampler, scorer, plan=plan_for(3, 3, min_reward=2))) == (1, 2)


async def test_each_candidate_is_scored_as_it_finishes_not_after_the_last() -> None:
    sampler, scorer = FakeSampler(says("a"), says("b", held=True)), FakeScorer({"a": 1.0})
    run = make_run(sampler, scorer)
    task = asyncio.create_task(best(run))
    await settle()
    assert (scorer.asked, run.ledger.candidates[0].reward) == ([("a", True)], 1.0)
    sampler.release(1)
    assert await task == (0,)


async def test_the_prompt_is_prefilled_while_candidates_are_generated() -> None:
    sampler, scorer = FakeSampler(says("a", held=True), says("b", held=True)), FakeScorer()
    run = make_run(sampler, scorer, plan=plan_for(2))
    await settle()
    assert scorer.prefills == 1
    await asyncio.wait([run.close()])


async def test_growing_candidates_are_scored_at_checkpoints_one_score_at_a_time() -> None:
    scorer = FakeScorer(turns=3)
    sampler = FakeSampler(Script(pieces=("a",) * 12, turns=1))
    run = make_run(sampler, scorer, plan=plan_for(1, checkpoint_tokens=2, trace=True))
    await best(run)
    prefixes = [text for text, finished in scorer.asked if not finished]
    assert 2 <= len(prefixes[0]) <= 4
    assert 2 <= len(prefixes) < 6
    assert scorer.asked[-1] == ("a" * 12, True)
    assert [tokens for tokens, _ in run.ledger.candidates[0].prefix_rewards] == [len(text) for text in prefixes]


# -- some or all fail


@pytest.mark.parametrize(
    "failing", [Script(error=RuntimeError("x")), Script(reason="error"), Script((), error=OSError())]
)
async def test_when_some_fail_the_rest_are_ranked(failing: Script) -> None:
    run = make_run(FakeSampler(failing, says("b"), says("c")), FakeScorer({"b": 1.0, "c": 2.0}))
    assert await best(run) == (2,)
    assert states(run) == ["failed", "finished", "finished"]


async def test_when_all_fail_the_engines_own_error_is_raised() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        await best(make_run(FakeSampler(*[Script(error=RuntimeError("out of memory"))] * 3)))


async def test_when_all_fail_without_a_word_it_is_a_typed_error() -> None:
    with pytest.raises(NothingGenerated, match="all 3 candidates failed"):
        await best(make_run(FakeSampler(*[Script(reason="error")] * 3)))


async def test_a_dead_engine_fails_the_request_at_once() -> None:
    sampler = FakeSampler(says("a", held=True), Script(error=EngineDown("dead")))
    run = make_run(sampler)
    with pytest.raises(EngineDown):
        await best(run)
    assert states(run) == ["aborted", "failed"]


# -- the reward model is down


async def test_a_reward_model_that_dies_ends_the_request_while_all_candidates_run() -> None:
    scorer = FakeScorer()
    reward = supervised(scorer)
    watching = asyncio.create_task(reward.watch())
    sampler = FakeSampler(says("a", held=True), says("b", held=True))
    task = asyncio.create_task(best(make_run(sampler, reward)))
    await settle()
    scorer.die()
    with pytest.raises(RewardModelDown):
        await task
    assert sampler.aborted == [0, 1]
    await watching


@pytest.mark.parametrize("error", [RewardUnavailable("down"), RuntimeError("odd"), KeyError("x")])
async def test_any_failure_of_the_scorer_is_the_reward_model_being_down(error: Exception) -> None:
    run = make_run(FakeSampler(says("a"), says("b", held=True)), FakeScorer({"a": error}))
    with pytest.raises(RewardModelDown):
        await best(run)
    assert run.ledger.rewards == []


async def test_unranked_answers_with_the_first_by_index_and_not_the_shortest() -> None:
    scorer = FakeScorer()
    scorer.die()
    sampler = FakeSampler(says("long", turns=9), says("b", turns=3), says("c", turns=20))
    run = make_run(sampler, scorer, on_reward_failure="unranked")
    assert await best(run) == (0,)
    assert run.ledger.stop_reason == "reward_unavailable"
    assert (states(run), run.ledger.rewards) == (["finished", "aborted", "aborted"], [])


async def down(on_failure: OnRewardFailure) -> SupervisedScorer:
    """A reward model that had died before the request came."""
    scorer = FakeScorer()
    reward = supervised(scorer, on_failure)
    scorer.die()
    await reward.watch()
    return reward


async def test_where_it_is_known_that_nothing_will_be_scored_one_is_sampled() -> None:
    run = make_run(FakeSampler(says("a"), says("b")), await down("unranked"))
    assert await best(run) == (0,)
    assert (len(run.ledger.records), run.ledger.stop_reason) == (1, "reward_unavailable")


async def test_where_it_is_known_that_nothing_will_be_scored_it_is_an_error_before_anything_is_sampled() -> None:
    sampler = FakeSampler(says("a"), says("b"))
    with pytest.raises(RewardModelDown):
        await best(make_run(sampler, await down("error")))
    assert sampler.tokens == 0


async def test_one_answer_is_passed_on_while_it_grows_without_a_reward_model_too() -> None:
    sampler = FakeSampler(says("a", held=True))
    run = make_run(sampler, await down("unranked"), plan=plan_for(1, return_candidates=True))
    await until(lambda: run.committed == [0])
    sampler.release(0)
    assert await best(run) == (0,)
    assert run.ledger.stop_reason == "reward_unavailable"


@pytest.mark.parametrize("pick", ["majority", "weighted_vote"])
async def test_a_vote_goes_on_without_a_reward_model(pick: str) -> None:
    sampler = FakeSampler(says("1"), says("2", turns=9), says("2", turns=20))
    run = make_run(sampler, await down("unranked"), plan=plan_for(3, selection=pick))
    assert await best(run) == (1,)
    assert (states(run), run.ledger.stop_reason) == (["finished"] * 3, "reward_unavailable")


async def test_most_scores_are_enough_when_the_reward_model_goes() -> None:
    scorer = FakeScorer({"a": 1.0, "b": 2.0, "c": RewardUnavailable("down")})
    sampler = FakeSampler(says("a"), says("b"), says("c", turns=30))
    run = make_run(sampler, scorer, on_reward_failure="unranked")
    assert await best(run) == (1,)
    assert run.ledger.reward == 2.0


# -- texts that the reward model cannot read


async def test_a_prompt_that_leaves_no_room_to_score_an_answer_is_refused_before_anything_is_sampled() -> None:
    scorer, sampler = FakeScorer(prompt_tokens=8), FakeSampler(says("a"), says("b"))
    scorer.max_tokens = 8
    with pytest.raises(InvalidRequest, match="messages: the prompt alone is 1 tokens more") as caught:
        await best(make_run(sampler, scorer))
    assert (caught.value.param, sampler.tokens) == ("messages", 0)
    scorer.max_tokens = 9
    assert await best(make_run(sampler, scorer)) == (0,)


async def test_a_prompt_that_leaves_no_room_has_one_answer_where_unranked_will_do() -> None:
    scorer, sampler = FakeScorer(prompt_tokens=8), FakeSampler(says("a"), says("b"))
    scorer.max_tokens = 8
    run = make_run(sampler, scorer, on_reward_failure="unranked")
    assert await best(run) == (0,)
    assert (len(run.ledger.records), run.ledger.stop_reason) == (1, "prompt_too_long")


async def test_an_answer_that_is_too_long_to_score_comes_behind_every_other() -> None:
    run = make_run(FakeSampler(says("a"), says("b", turns=9)), FakeScorer({"a": ValueError("long"), "b": -9.0}))
    assert await best(run) == (1,)
    assert run.ledger.stop_reason == "complete"


async def test_where_no_answer_can_be_scored_the_stop_reason_says_so() -> None:
    run = make_run(FakeSampler(says("a", turns=9), says("b")), FakeScorer(dict.fromkeys("ab", ValueError("long"))))
    assert await best(run) == (0,)
    assert run.ledger.stop_reason == "unscored"


# -- answers that were cut off


def cut(text: str, **changes: Any) -> Script:
    return says(text, reason="length", **changes)


async def test_an_answer_that_was_cut_off_comes_behind_those_that_ended_by_themselves_where_that_is_asked_for() -> None:
    scorer, last = FakeScorer({"cut": 9.0, "whole": -1.0}), plan_for(2, incomplete="last")
    assert await best(make_run(FakeSampler(cut("cut"), says("whole")), scorer, plan=last)) == (1,)
    assert await best(make_run(FakeSampler(cut("cut"), says("whole")), scorer)) == (0,)
    assert await best(make_run(FakeSampler(cut("a"), cut("cut")), scorer, plan=last)) == (1,)


async def test_an_answer_that_was_cut_off_is_never_returned_where_it_must_not() -> None:
    plan = plan_for(2, incomplete="never")
    assert await best(make_run(FakeSampler(cut("a"), says("b")), FakeScorer({"a": 1.0}), plan=plan)) == (1,)
    with pytest.raises(NothingComplete, match="2 of 2 candidates were cut off") as caught:
        await best(make_run(FakeSampler(cut("a"), cut("b")), plan=plan))
    assert caught.value.param == "rerank.incomplete"
    with pytest.raises(NothingComplete):
        await best(make_run(FakeSampler(cut("a")), plan=plan_for(1, incomplete="never")))


async def test_unranked_is_no_answer_when_all_fail() -> None:
    scorer = FakeScorer()
    scorer.die()
    with pytest.raises(NothingGenerated):
        await best(make_run(FakeSampler(*[Script(reason="error")] * 2), scorer, on_reward_failure="unranked"))


# -- what it is charged


async def test_generating_and_scoring_are_charged_even_when_the_client_leaves() -> None:
    run = make_run(FakeSampler(says("a"), says("b", held=True)), FakeScorer({"a": 1.0}))
    task = asyncio.create_task(run.best())
    await until(lambda: run.ledger.rewards == [1.0])
    await leave(run, task)
    assert min(run.ledger.busy_s.values()) > 0


# -- a reward is no number


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf, ValueError("too long")])
async def test_a_candidate_without_a_usable_reward_never_beats_a_scored_one(reward: float | Exception) -> None:
    run = make_run(FakeSampler(says("a"), says("b", turns=5)), FakeScorer({"a": reward, "b": -100.0}))
    assert await best(run) == (1,)
    assert [candidate.unscored for candidate in run.ledger.candidates] == [True, False]


async def test_when_none_can_be_scored_the_first_by_index_is_returned_without_a_reward() -> None:
    run = make_run(FakeSampler(says("a", turns=5), says("b")), FakeScorer({"a": math.nan, "b": ValueError("long")}))
    assert await best(run) == (0,)
    assert run.ledger.rewards == []
    assert str(run.ledger.records[1].error) == "long"


# -- the deadline


def limited(best_of: int) -> dict[str, Any]:
    return {"plan": plan_for(best_of, deadline_ms=20)}


async def test_at_the_deadline_the_best_so_far_is_returned() -> None:
    sampler = FakeSampler(says("a"), says("b"), says("c", held=True))
    run = make_run(sampler, FakeScorer({"a": 1.0, "b": 2.0}), **limited(3))
    assert await best(run) == (1,)
    assert (run.ledger.stop_reason, states(run)[2]) == ("deadline", "aborted")


async def test_at_the_deadline_without_scores_the_first_by_index_of_those_that_finished_is_returned() -> None:
    scorer = FakeScorer()
    scorer.open.clear()
    run = make_run(FakeSampler(says("c", held=True), says("a", turns=5), says("b")), scorer, **limited(3))
    assert await best(run) == (1,)
    assert run.ledger.rewards == []


async def test_at_the_deadline_with_nothing_finished_it_is_an_error() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await best(make_run(FakeSampler(says("a", held=True), Script(reason="error")), **limited(2)))
    assert caught.value.param == "rerank.deadline_ms"


async def test_a_deadline_that_is_not_reached_changes_nothing() -> None:
    run = make_run(FakeSampler(says("a"), says("b")), plan=plan_for(2, deadline_ms=60_000))
    await best(run)
    assert run.ledger.stop_reason == "complete"


# -- the client leaves


async def test_cancelling_aborts_every_candidate_and_score() -> None:
    scorer = FakeScorer()
    scorer.open.clear()
    sampler = FakeSampler(says("a"), says("b", held=True), Script(("b", "c"), held=True))
    run = make_run(sampler, scorer)
    task = asyncio.create_task(run.best())
    await settle()
    await leave(run, task)
    assert task.cancelled()
    assert (states(run), scorer.pending) == (["finished", "aborted", "aborted"], 0)
    assert [candidate.tokens for candidate in run.ledger.candidates] == [1, 0, 1]


async def test_closing_is_done_once() -> None:
    sampler = FakeSampler(says("a", held=True))
    run = make_run(sampler, plan=plan_for(1))
    task = asyncio.create_task(run.best())
    await settle()
    first = run.close()
    assert run.close() is first
    await asyncio.wait([first])
    assert sampler.aborted == [0]
    with pytest.raises(NothingGenerated):
        await task


async def test_a_run_that_never_began_can_be_closed() -> None:
    run = make_run(FakeSampler(says("a")), plan=plan_for(1))
    await asyncio.wait([run.close()])
    assert run.ledger.ended_s is not None


# -- other strategies


class Scripted:
    """Samples `count`, then gives the next actions for each event."""

    name, alarm_s = "scripted", None

    def __init__(self, count: int, *actions: Sequence[Action], checkpoint_tokens: int | None = None) -> None:
        self.checkpoint_tokens = checkpoint_tokens
        self.events: list[Event] = []
        self._count = count
        self._actions = list(actions)

    def start(self) -> Sequence[Action]:
        return [Sample(self._count)]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        self.events.append(event)
        return self._actions.pop(0) if self._actions else []


async def test_a_strategy_may_abort_one_and_keep_the_rest() -> None:
    strategy = Scripted(2, [Abort(1), AskForScore(0)], [Stop("enough")])
    sampler = FakeSampler(says("a"), says("b", held=True))
    run = make_run(sampler, plan=with_strategy(plan_for(2), strategy))
    assert await best(run) == (0,)
    assert (strategy.events, run.ledger.stop_reason) == ([Finished(0), Scored(0)], "enough")
    assert states(run) == ["finished", "aborted"]


async def test_a_strategy_may_sample_more_later() -> None:
    strategy = Scripted(1, [Sample(1)], [Stop("enough")])
    run = make_run(FakeSampler(says("a"), says("b")), plan=with_strategy(plan_for(2), strategy))
    await best(run)
    assert strategy.events == [Finished(0), Finished(1)]


async def test_a_strategy_hears_of_progress_and_failure() -> None:
    strategy = Scripted(1, [], [Stop("enough")], checkpoint_tokens=2)
    sampler = FakeSampler(Script(("a", "b", "c"), error=RuntimeError("x")))
    with pytest.raises(RuntimeError):
        await best(make_run(sampler, plan=with_strategy(plan_for(1), strategy)))
    assert strategy.events == [Progress(0), Failed(0)]


async def test_the_first_reason_to_stop_is_kept() -> None:
    strategy = Scripted(1, [Stop("first"), Stop("second")])
    run = make_run(FakeSampler(says("a")), plan=with_strategy(plan_for(1), strategy))
    await best(run)
    assert run.ledger.stop_reason == "first"


async def test_an_abort_that_the_engine_refuses_ends_the_request() -> None:
    strategy = Scripted(2, [Abort(1), AskForScore(0)], [])
    sampler = FakeSampler(says("a"), says("b", held=True), abort_error=EngineDown("the engine has died"))
    with pytest.raises(EngineDown, match="has died"):
        await best(make_run(sampler, plan=with_strategy(plan_for(2), strategy)))


# -- what once went wrong


async def test_candidates_that_the_engine_aborts_by_itself_do_not_hang_the_request() -> None:
    with pytest.raises(EngineDown, match="gave up the request"):
        await best(make_run(FakeSampler(*[Script(reason="abort")] * 2)), within_s=0.2)


async def test_a_strategy_that_aborts_all_that_is_left_still_comes_to_an_end() -> None:
    class Pruning(BestOfN):
        def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
            pruned = [Abort(1)] if isinstance(event, Scored) and candidates[1].state == "running" else []
            return [*pruned, *super().decide(event, candidates)]

    sampler = FakeSampler(says("a"), says("b", held=True))
    assert await best(make_run(sampler, plan=with_strategy(plan_for(2), Pruning(2))), within_s=0.2) == (0,)


async def test_a_stream_that_ends_without_a_reason_is_a_failure() -> None:
    assert await best(make_run(FakeSampler(Script(reason=None), says("b"))), within_s=0.2) == (1,)


async def test_unranked_still_returns_n() -> None:
    scorer = FakeScorer()
    scorer.die()
    sampler = FakeSampler(says("a"), says("b", turns=4), says("c", turns=8), says("d", held=True))
    run = make_run(sampler, scorer, plan=plan_for(4, 3), on_reward_failure="unranked")
    assert await best(run) == (0, 1, 2)


async def test_the_deadline_holds_without_a_reward_model() -> None:
    scorer = FakeScorer()
    scorer.die()
    run = make_run(FakeSampler(*[says("a", held=True)] * 2), scorer, on_reward_failure="unranked", **limited(2))
    with pytest.raises(DeadlineExceeded):
        await best(run, within_s=0.2)


async def test_an_abort_that_fails_leaves_nothing_running() -> None:
    sampler = FakeSampler(says("a", held=True), says("b", held=True), abort_error=RuntimeError("engine gone"))
    run = make_run(sampler)
    await settle()
    await asyncio.wait([run.close()])
    left = set(sampler.running)
    for sampling in list(run._sampling):
        await cancelled(sampling)
    assert (left, run.ledger.ended_s is None) == (set(), False)


async def test_closing_a_run_ends_whoever_waits_for_its_best() -> None:
    run = make_run(FakeSampler(says("a", held=True)), plan=plan_for(1))
    task = asyncio.create_task(run.best())
    await settle()
    await asyncio.wait([run.close()])
    await settle()
    done = task.done()
    await cancelled(task)
    assert done


async def test_an_odd_failure_of_the_prefill_is_not_lost() -> None:
    loop, lost = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: lost.append(context))
    try:
        scorer = FakeScorer(prefill_error=RuntimeError("odd"))
        await asyncio.gather(make_run(FakeSampler(says("a"), says("b")), scorer).best(), return_exceptions=True)
        await settle()
    finally:
        loop.set_exception_handler(None)
    assert lost == []


async def test_a_reward_model_that_does_not_answer_is_unavailable_after_its_time() -> None:
    scorer = FakeScorer()
    scorer.open.clear()
    with pytest.raises(RewardModelDown, match=r"no score within 0\.01 s"):
        await best(make_run(FakeSampler(says("a"), says("b")), supervised(scorer, timeout_s=0.01)))


# -- prune


def pruning(sampler: FakeSampler, scorer: FakeScorer, **options: Any) -> Run:
    plan = with_strategy(plan_for(len(sampler.scripts)), Prune(len(sampler.scripts), 2, (0.5,)))
    return make_run(sampler, scorer, plan=plan, **options)


async def test_who_is_behind_is_aborted_and_its_tokens_are_counted() -> None:
    sampler = FakeSampler(Script(("b",) * 9, turns=9), Script(("a",) * 9, turns=9), Script(("c",) * 9, turns=9))
    run = pruning(sampler, FakeScorer({"aa": 1.0, "bb": 2.0, "cc": 0.0, "aaaa": 2.0, "bbbb": 1.0, "a" * 9: 5.0}))
    assert await best(run) == (1,)
    assert states(run) == ["aborted", "finished", "aborted"]
    assert [len(record.text) for record in run.ledger.records] == [one.tokens for one in run.ledger.candidates]
    assert run.ledger.candidates[0].tokens >= 4
    assert run.ledger.candidates[2].tokens >= 2
    assert count_tokens([run.ledger]).generated == sampler.tokens < 27
    assert run.ledger.stop_reason == "complete"


async def test_the_last_one_left_is_committed_to_before_it_has_finished() -> None:
    sampler = FakeSampler(Script(("a",) * 5, turns=9, held=True), Script(("b",) * 5, turns=9, held=True))
    run = pruning(sampler, FakeScorer({"bb": 1.0}))
    task = asyncio.create_task(best(run))
    async with asyncio.timeout(PATIENCE_S):
        await run.news.wait()
    assert run.committed == [1]
    assert (states(run), task.done()) == (["aborted", "running"], False)
    sampler.release(1)
    assert await task == (1,)


async def test_nothing_is_committed_to_where_all_finish_or_the_client_leaves() -> None:
    run = pruning(FakeSampler(says("a"), says("b")), FakeScorer({"a": 1.0}))
    assert await best(run) == (0,)
    assert not run.committed
    sampler = FakeSampler(Script(("a",) * 5, turns=9, held=True), Script(("b",) * 5, turns=9, held=True))
    run = pruning(sampler, FakeScorer({"bb": 1.0}))
    task = asyncio.create_task(run.best())
    await until(lambda: bool(run.committed))
    await leave(run, task)
    assert sampler.running == set()
    assert states(run) == ["aborted", "aborted"]


async def test_an_abort_under_way_is_not_asked_for_twice_and_counts_as_gone() -> None:
    sampler = FakeSampler(*(Script((letter,) * 9, turns=9) for letter in "abc"))
    sampler.may_abort.clear()
    run = pruning(sampler, FakeScorer({"aa": 1.0, "bb": 2.0}))
    task = asyncio.create_task(best(run))
    await until(lambda: any(candidate.aborting for candidate in run.ledger.candidates))
    sampler.may_abort.set()
    await task
    assert sorted(sampler.aborted) == sorted(set(sampler.aborted))


async def test_a_reward_model_that_dies_leaves_the_first_of_those_that_were_kept() -> None:
    scorer = FakeScorer({"bb": 1.0})
    sampler = FakeSampler(*(Script((letter,) * 5, turns=9, held=True) for letter in "abc"))
    run = pruning(sampler, scorer, on_reward_failure="unranked")
    task = asyncio.create_task(best(run))
    await until(lambda: "aborted" in states(run))
    scorer.die()
    for index in range(3):
        sampler.release(index)
    (selected,) = await task
    assert run.ledger.candidates[selected].state == "finished"
    assert run.ledger.stop_reason == "reward_unavailable"


async def test_growth_is_written_down_at_the_first_piece_each_checkpoint_and_the_end() -> None:
    run = make_run(FakeSampler(Script(("a",) * 8, turns=1)), plan=plan_for(1, checkpoint_tokens=3, trace=True))
    await best(run)
    growth = run.ledger.records[0].growth
    assert [tokens for tokens, _ in growth] == [1, 3, 6, 8]
    times = [at_s for _, at_s in growth]
    assert times == sorted(times)
    assert run.ledger.started_s <= times[0] <= times[-1] <= run.ledger.end_s
    plain = make_run(FakeSampler(Script(("a",) * 8)))
    await best(plain)
    assert [tokens for tokens, _ in plain.ledger.records[0].growth] == [1, 8]


async def test_adaptive_samples_wave_after_wave() -> None:
    sampler = FakeSampler(*(says(letter) for letter in "abcdefgh"))
    plan = plan_for(8, strategy="adaptive", wave=2, price=0.2)
    run = make_run(sampler, FakeScorer({"a": -1.0, "b": -1.2, "c": 3.0}), plan=plan)
    assert await best(run) == (2,)
    assert (len(run.ledger.records), run.ledger.stop_reason) == (4, "price")


async def test_a_candidate_is_committed_to_once_however_often_a_strategy_repeats_it() -> None:
    strategy = Scripted(2, [Commit(0), Commit(0)], [Commit(0), Stop("enough")])
    run = make_run(FakeSampler(says("a"), says("b")), plan=with_strategy(plan_for(2), strategy))
    await best(run)
    assert run.committed == [0]


async def test_an_odd_failure_to_score_ends_the_request_and_does_not_hang_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object, **__: object) -> None:
        raise KeyError("helpful")

    monkeypatch.setattr(Ledger, "note_score", odd)
    with pytest.raises(KeyError, match="helpful"):
        await best(make_run(FakeSampler(says("a"), says("b"))))


# -- the end of the server


async def test_a_run_that_is_made_to_fail_ends_its_candidates_and_raises_the_error() -> None:
    sampler = FakeSampler(says("a"), says("b", held=True))
    run = make_run(sampler)
    await settle()
    run.fail(ShuttingDown("stopping", retry_after_s=1))
    with pytest.raises(ShuttingDown, match="stopping"):
        await best(run)
    assert (states(run), run.ledger.stop_reason, sampler.running) == (["finished", "aborted"], "shutdown", set())


async def test_what_had_finished_before_the_engine_gave_up_is_returned_and_says_so() -> None:
    sampler = FakeSampler(says("a"), says("b", reason="abort", turns=9))
    run = make_run(sampler, FakeScorer({"a": 1.0}))
    assert await best(run) == (0,)
    assert run.ledger.stop_reason == "shutdown"


# -- without a reward model


async def test_without_a_reward_model_the_likeliest_is_chosen_and_its_conversation_is_kept() -> None:
    limits = replace(LIMITS, has_reward_model=False, selection=FREE)
    plan = make_plan(make_ask({"best_of": 3}, limits=limits), n=1, temperature=1.0, checkpoint_tokens=None)
    sampler = LikelySampler({0: -3.0, 1: -1.0, 2: -2.0})
    run = Run(plan, CONVERSATION, sampler, None, METER, FreePlaces())
    assert await best(run) == (1,)
    assert (run.ledger.stop_reason, run.ledger.reward, run.ledger.scored_tokens) == ("complete", None, 0)
    assert run.ledger.conversation == CONVERSATION


class LikelySampler(FakeSampler):
    """Each candidate is one token of a given log-probability."""

    def __init__(self, logprobs: Mapping[int, float]) -> None:
        super().__init__(*[says("a")] * len(logprobs))
        self._logprobs = logprobs

    async def sample(self, index: int) -> AsyncIterator[Draft]:
        async for draft in super().sample(index):
            yield replace(draft, logprob=self._logprobs[index])
