"""Between a run and the reward model: equal texts are scored once, and a template's refusal is the request's fault."""

import math
from dataclasses import replace

import pytest

from reward.conversation import Answer, Conversation
from reward.scorer import RewardUnavailable
from service.rerank.errors import InvalidRequest
from service.rerank.run import Run
from service.rerank.supervised_scorer import OnRewardFailure
from tests.service.fakes import (
    CONVERSATION,
    FREE,
    METER,
    QUESTION,
    FakeSampler,
    FakeScorer,
    Script,
    make_run,
    plan_for,
    says,
    supervised,
)
from tests.service.rerank.runs import best

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")


async def test_a_conversation_that_the_template_refuses_is_the_requests_fault() -> None:
    sampler = FakeSampler(says("a"))
    with pytest.raises(InvalidRequest, match="no tools here") as caught:
        await best(make_run(sampler, FakeScorer(template_error=ValueError("no tools here")), plan=plan_for(2)))
    assert caught.value.param == "messages"
    assert sampler.tokens == 0


async def test_equal_answers_are_scored_once_and_cost_once() -> None:
    scorer = FakeScorer({"a": 1.0, "b": 2.0})
    run = make_run(FakeSampler(says("a"), says("a", turns=3), says("b"), says("a", turns=9)), scorer)
    assert await best(run) == (2,)
    assert sorted(text for text, _ in scorer.asked) == ["a", "b"]
    assert run.ledger.rewards == [1.0, 1.0, 2.0, 1.0]
    assert run.ledger.scored_tokens == 22


async def test_candidates_that_begin_alike_are_scored_once_at_a_checkpoint_and_again_when_finished() -> None:
    scorer = FakeScorer()
    sampler = FakeSampler(Script(("a", "b", "c", "d"), turns=1), Script(("a", "b", "c", "e"), turns=1))
    run = make_run(sampler, scorer, plan=plan_for(2, checkpoint_tokens=2))
    await best(run)
    prefixes = [text for text, finished in scorer.asked if not finished]
    assert len(prefixes) == len(set(prefixes))
    first, second = run.ledger.candidates
    assert first.prefix_rewards[0] == second.prefix_rewards[0]
    assert {text for text, finished in scorer.asked if finished} == {"abcd", "abce"}


@pytest.mark.parametrize("trouble", [math.nan, ValueError("too long")])
async def test_what_one_of_equal_answers_is_told_all_are_told(trouble: float | Exception) -> None:
    run = make_run(FakeSampler(says("a"), says("a", turns=3), says("b")), FakeScorer({"a": trouble, "b": 0.0}))
    assert await best(run) == (2,)
    assert [candidate.unscored for candidate in run.ledger.candidates] == [True, True, False]
    assert run.ledger.records[0].error is run.ledger.records[1].error


async def test_equal_answers_do_not_wait_for_a_reward_model_that_has_gone() -> None:
    scorer = FakeScorer({"a": RewardUnavailable("gone")})
    run = make_run(FakeSampler(says("a"), says("a"), says("a")), scorer, on_reward_failure="unranked")
    assert len(await best(run)) == 1
    assert run.ledger.stop_reason == "reward_unavailable"


async def test_a_prompt_too_long_to_prefill_is_no_failure_yet() -> None:
    assert await best(make_run(FakeSampler(says("a"), says("b")), FakeScorer(prefill_error=ValueError("long")))) == (0,)


async def test_what_the_client_wrote_of_the_answer_is_scored_with_it() -> None:
    conversation = Conversation(QUESTION, answer_start="Sure: ")
    scorer = FakeScorer({"Sure: b": 0.5})
    run = Run(plan_for(2), conversation, FakeSampler(says("a"), says("b")), supervised(scorer), METER, FREE)
    assert await best(run) == (1,)
    assert run.ledger.rewards == [0.0, 0.5]


def thinks(text: str, finished: bool) -> Answer:
    """Before the colon it thinks."""
    reasoning, colon, content = text.partition(":")
    return Answer(content, reasoning) if colon else Answer("", reasoning)


async def test_the_answer_is_scored_without_what_was_thought_unless_that_is_asked_for() -> None:
    for score_reasoning, asked in ((False, {"a", "b"}), (True, {"hm:a", "so:b"})):
        scorer = FakeScorer({"b": 1.0, "so:b": 1.0})
        conversation = replace(CONVERSATION, read=thinks, score_reasoning=score_reasoning)
        sampler = FakeSampler(says("hm:a"), says("so:b"))
        run = Run(plan_for(2), conversation, sampler, supervised(scorer), METER, FREE)
        assert await best(run) == (1,)
        assert {text for text, _ in scorer.asked} == asked
        assert [record.answer for record in run.ledger.records] == [Answer("a", "hm"), Answer("b", "so")]
        assert [view.text for view in run.ledger.candidates] == ["a", "b"]


async def test_nothing_is_scored_while_a_candidate_only_thinks() -> None:
    scorer = FakeScorer()
    sampler = FakeSampler(Script(("hmm", "mm:", "abc", "def", "ghi"), turns=9))
    conversation = replace(CONVERSATION, read=thinks)
    plan = plan_for(1, checkpoint_tokens=3, trace=True)
    run = Run(plan, conversation, sampler, supervised(scorer), METER, FREE)
    await best(run)
    assert [text for text, finished in scorer.asked if not finished] == ["abc", "abcdef"]
    assert [tokens for tokens, _ in run.ledger.candidates[0].prefix_rewards] == [9, 12]
    assert scorer.asked[-1] == ("abcdefghi", True)


async def test_a_tool_call_is_scored_as_a_turn_of_its_own_kind() -> None:
    call = {"name": "add"}
    conversation = replace(CONVERSATION, read=lambda text, finished: Answer("", tool_calls=(call,)))
    scorer = FakeScorer()
    plan = plan_for(1, return_candidates=True)
    await best(Run(plan, conversation, FakeSampler(says("<call>")), supervised(scorer), METER, FREE))
    assert scorer.asked == [({"content": "", "tool_calls": [call]}, True)]


@pytest.mark.parametrize("reason", ["length", "stop"])
@pytest.mark.parametrize("on_failure", ["error", "unranked"])
async def test_who_has_only_thought_never_beats_who_answered(reason: str, on_failure: OnRewardFailure) -> None:
    """The empty answer has the highest reward of all, and comes first by index."""
    scorer = FakeScorer({"": 9.0, "bad": -9.0})
    sampler = FakeSampler(says("hmmm", reason=reason), says("so:bad", turns=3))
    conversation = replace(CONVERSATION, read=thinks)
    run = Run(plan_for(2), conversation, sampler, supervised(scorer, on_failure), METER, FREE)
    assert (await best(run), run.ledger.stop_reason) == ((1,), "complete")
    thought, answered = run.ledger.candidates
    assert (thought.reward, thought.unscored, thought.cut_off) == (None, True, reason == "length")
    assert (answered.reward, scorer.asked) == (-9.0, [("bad", True)])


@pytest.mark.parametrize("pick", ["majority", "argmax"])
async def test_nor_where_nothing_has_a_reward(pick: str) -> None:
    scorer = FakeScorer({"a": math.nan})
    sampler = FakeSampler(says("hm", reason="length"), says("ho", reason="length"), says("so:a"))
    conversation = replace(CONVERSATION, read=thinks)
    plan = plan_for(3, selection={"pick": pick})
    run = Run(plan, conversation, sampler, supervised(scorer), METER, FREE)
    assert (await best(run), run.ledger.stop_reason) == ((2,), "unscored")


async def test_where_all_have_only_thought_the_first_is_returned_and_said_to_be_unscored() -> None:
    sampler = FakeSampler(says("hm", reason="length"), says("hmm", reason="length"))
    run = Run(plan_for(2), replace(CONVERSATION, read=thinks), sampler, supervised(FakeScorer({"": 1.0})), METER, FREE)
    assert (await best(run), run.ledger.stop_reason, run.ledger.rewards) == ((0,), "unscored", [])


async def test_thinking_that_is_to_be_scored_has_a_reward_and_still_comes_behind() -> None:
    scorer = FakeScorer({"hm": 9.0, "so:bad": -9.0})
    sampler = FakeSampler(says("hm", reason="length"), says("so:bad"))
    conversation = replace(CONVERSATION, read=thinks, score_reasoning=True)
    run = Run(plan_for(2), conversation, sampler, supervised(scorer), METER, FREE)
    assert (await best(run), run.ledger.rewards) == ((1,), [9.0, -9.0])
