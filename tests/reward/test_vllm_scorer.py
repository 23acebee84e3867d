"""Scores by a pooling engine: what it is asked, what is made of its outputs, and of its death. No engine is started.

tests/engine/test_scorers.py compares the rewards of a real one with those of plain transformers.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.outputs import PoolingOutput, PoolingRequestOutput

from reward import vllm_scorer
from reward.config import PLAIN, RewardConfig
from reward.conversation import Conversation
from reward.scorer import RewardUnavailable
from reward.template import ConversationTemplate
from reward.vllm_scorer import VllmScorer

QUESTION = [{"role": "user", "content": "What is 1+1?"}]


class FakeEngine:
    """Stands for an `AsyncLLM` that pools: gives the same outputs for every text."""

    def __init__(self, *raw: float, cached_tokens: int | None = 0, error: Exception | None = None) -> None:
        self.model_config = SimpleNamespace(max_model_len=200)
        self.errored = False
        self.asked: list[tuple[list[int], Any, str]] = []
        self.salts: list[str | None] = []
        self.was_shut_down = False
        self._raw, self._cached_tokens, self._error = raw, cached_tokens, error

    async def encode(
        self, prompt: Any, pooling_params: Any, request_id: str
    ) -> AsyncIterator[PoolingRequestOutput[Any]]:
        self.asked.append((prompt["prompt_token_ids"], pooling_params, request_id))
        self.salts.append(prompt.get("cache_salt"))
        if self._error is not None:
            raise self._error
        if self._raw:
            data = PoolingOutput(torch.tensor(self._raw, dtype=torch.bfloat16))
            yield PoolingRequestOutput(request_id, data, [1], self._cached_tokens, True)  # type: ignore[arg-type]

    def shutdown(self, timeout: float) -> None:
        self.was_shut_down = True


def scorer_over(engine: FakeEngine, template: ConversationTemplate, config: RewardConfig = PLAIN) -> VllmScorer:
    return VllmScorer(engine, template, config)  # type: ignore[arg-type]


async def test_a_score_is_the_raw_output_of_the_whole_conversation(template: ConversationTemplate) -> None:
    engine = FakeEngine(-2.5, cached_tokens=7)
    prompt = template.prompt(QUESTION)
    score = await scorer_over(engine, template).score(prompt, "2")
    ((tokens, params, _),) = engine.asked
    assert tokens == template.tokens(prompt, "2", finished=True)
    assert (params.task, params.use_activation) == ("classify", False)
    assert (score.reward, score.rewards, score.tokens, score.cached_tokens) == (-2.5, {}, len(tokens), 7)


async def test_a_prefix_is_scored_without_the_end_of_its_turn(template: ConversationTemplate) -> None:
    engine = FakeEngine(1.0)
    prompt = template.prompt(QUESTION)
    await scorer_over(engine, template).score(prompt, "2", finished=False)
    assert engine.asked[0][0] == template.tokens(prompt, "2", finished=False) != template.tokens(prompt, "2")


async def test_heads_are_named_and_their_mean_is_normalised(template: ConversationTemplate) -> None:
    scorer = scorer_over(FakeEngine(1.0, 3.0), template, RewardConfig(("help", "tone"), 1.0, 2.0))
    score = await scorer.score(template.prompt(QUESTION), "2")
    assert (score.reward, score.rewards) == (0.5, {"help": 1.0, "tone": 3.0})


async def test_long_texts_are_rendered_and_tokenised_in_one_thread_and_short_ones_at_once(
    template: ConversationTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, here, seen = scorer_over(FakeEngine(1.0), template), threading.get_ident(), set[int]()
    for name in ("prompt", "tokens"):
        original = getattr(template, name)

        def noted(*args: Any, _original: Any = original, **options: Any) -> Any:
            seen.add(threading.get_ident())
            return _original(*args, **options)

        monkeypatch.setattr(template, name, noted)
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 20_000}}
    for long in (Conversation(({"role": "user", "content": "x" * 20_000},)), Conversation((), tools=(tool,))):
        seen.clear()
        await scorer.prompt(long)
        assert len(seen) == 1
        assert here not in seen
    thread = set(seen)
    seen.clear()
    with pytest.raises(ValueError, match="more than the reward model reads"):
        await scorer.score(await scorer.prompt(Conversation(({"role": "user", "content": "x" * 20_000},))), "2")
    assert seen == thread
    seen.clear()
    await scorer.score(await scorer.prompt(Conversation((*QUESTION,))), "2")
    assert seen == {here}


async def test_a_prefill_reads_what_every_answer_starts_with(template: ConversationTemplate) -> None:
    engine = FakeEngine(1.0)
    prompt = template.prompt(QUESTION)
    await scorer_over(engine, template).prefill(prompt)
    ((tokens, _, _),) = engine.asked
    assert tokens
    assert template.tokens(prompt, "2")[: len(tokens)] == tokens == template.prompt_tokens(prompt)


async def test_what_is_computed_for_one_tenant_is_kept_for_that_tenant(template: ConversationTemplate) -> None:
    engine = FakeEngine(1.0)
    scorer = scorer_over(engine, template)
    for salt in ("mine", None):
        prompt = template.prompt(QUESTION, cache_salt=salt)
        await scorer.prefill(prompt)
        await scorer.score(prompt, "2")
    assert engine.salts == ["mine", "mine", None, None]


async def test_a_tool_call_is_scored_as_the_template_renders_it(template: ConversationTemplate) -> None:
    engine, reply = FakeEngine(1.0), {"content": "", "tool_calls": [{"name": "add"}]}
    prompt = template.prompt(QUESTION)
    await scorer_over(engine, template).score(prompt, reply)
    assert engine.asked[0][0] == template.tokens(prompt, reply)


async def test_requests_at_once_have_ids_of_their_own(template: ConversationTemplate) -> None:
    engine = FakeEngine(1.0)
    scorer, prompt = scorer_over(engine, template), template.prompt(QUESTION)
    await asyncio.gather(*(scorer.score(prompt, "2") for _ in range(3)))
    assert len({request_id for *_, request_id in engine.asked}) == 3


async def test_a_text_that_the_model_cannot_read_never_reaches_it(template: ConversationTemplate) -> None:
    engine = FakeEngine(1.0)
    scorer, prompt = scorer_over(engine, template), template.prompt(QUESTION)
    room = 200 - len(template.tokens(prompt, ""))
    assert (await scorer.score(prompt, "y" * room)).tokens == 200
    with pytest.raises(ValueError, match="201 tokens are 1 more than the reward model reads"):
        await scorer.score(prompt, "y" * (room + 1))
    assert len(engine.asked) == 1


async def test_an_engine_that_does_not_count_cached_tokens_cached_none(template: ConversationTemplate) -> None:
    scorer = scorer_over(FakeEngine(1.0, cached_tokens=None), template)
    assert (await scorer.score(template.prompt(QUESTION), "2")).cached_tokens == 0


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (FakeEngine(error=RuntimeError("out of memory")), "RuntimeError: out of memory"),
        (FakeEngine(error=ValueError("bad")), "ValueError: bad"),
        (FakeEngine(), "the reward engine gave no output"),
    ],
    ids=["error", "refusal", "silence"],
)
async def test_an_engine_that_gives_no_score_is_unavailable(
    engine: FakeEngine, message: str, template: ConversationTemplate
) -> None:
    scorer, prompt = scorer_over(engine, template), template.prompt(QUESTION)
    with pytest.raises(RewardUnavailable, match=message):
        await scorer.score(prompt, "2")
    with pytest.raises(RewardUnavailable, match=message):
        await scorer.prefill(prompt)


async def test_the_engines_death_is_noticed(template: ConversationTemplate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_scorer, "_HEALTH_CHECK_S", 0.001)
    engine = FakeEngine(1.0)
    scorer = scorer_over(engine, template)
    await scorer.check_health()
    watching = asyncio.create_task(scorer.wait_failed())
    await asyncio.sleep(0.02)
    assert not watching.done()
    engine.errored = True
    with pytest.raises(RewardUnavailable, match="has died"):
        await asyncio.wait_for(watching, 2)
    with pytest.raises(RewardUnavailable, match="has died"):
        await scorer.check_health()


async def test_closing_stops_the_engine(template: ConversationTemplate) -> None:
    engine = FakeEngine(1.0)
    await scorer_over(engine, template).close()
    assert engine.was_shut_down
