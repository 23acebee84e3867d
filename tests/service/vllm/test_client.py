"""What vLLM's application talks to: the generator's own, but for what is ranked, rendered and asked about health."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError

from reward.conversation import Conversation
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import InvalidRequest, NothingGenerated, ServiceError
from service.rerank.strategies.profile import DEFAULTS
from service.rerank.supervised_scorer import OnRewardFailure, SupervisedScorer
from service.vllm.client import RerankingEngine, reason
from tests.service.fakes import METER, FakeScorer, Script, make_ask, says, settle, until
from tests.service.vllm.fake_engine import FakeEngine

QUESTION = {"role": "user", "content": "What is 1+1?"}
BEGUN = {"role": "assistant", "content": "It is "}


class FakeRenderer:
    """Renders nothing. The prompts are its own objects, as vLLM's are."""

    tokenizer = "the renderer's own"

    async def render_chat_async(self, messages: Any, chat_params: Any, *_: Any) -> Any:
        return messages, [{"prompt": f"rendered {number}"} for number, _ in enumerate(messages)]


def reranking(
    engine: FakeEngine, scorer: FakeScorer | None = None, on_failure: OnRewardFailure = "error"
) -> RerankingEngine:
    engine.renderer = FakeRenderer()
    reward = SupervisedScorer(scorer or FakeScorer({"bb": 2.0}), on_failure)
    return RerankingEngine(engine, reward, METER, None, DEFAULTS)  # type: ignore[arg-type]


@contextmanager
def request(body: Mapping[str, Any], **options: Any) -> Any:
    """The context of a request, as the gateway sets it."""
    context = RequestContext(make_ask(body, **options))
    token = current_request.set(context)
    try:
        yield context
    finally:
        current_request.reset(token)


def params(kind: RequestOutputKind = RequestOutputKind.FINAL_ONLY, **changes: Any) -> SamplingParams:
    return SamplingParams(output_kind=kind, **changes)


async def read(outputs: AsyncIterator[RequestOutput]) -> list[str]:
    async with asyncio.timeout(2):
        return [completion.text async for output in outputs for completion in output.outputs]


def two() -> FakeEngine:
    return FakeEngine(says("a"), says("bb"))


# -- generate


async def test_only_the_best_of_the_candidates_comes_out() -> None:
    engine = two()
    with request({"best_of": 2}) as context:
        assert await read(reranking(engine).generate({"prompt": "hi"}, params(), "id", priority=1)) == ["bb"]
    assert [call.options for call in engine.calls] == [{"priority": 1}] * 2
    assert [ledger.rewards for ledger in context.ledgers] == [[0.0, 2.0]]


async def test_a_prompt_of_several_has_a_run_of_its_own() -> None:
    engine = FakeEngine(*[says("a")] * 4)
    reranked = reranking(engine)
    with request({"best_of": 2, "prompt": ["x", "y"]}, endpoint="completions") as context:
        for text in "xy":
            await read(reranked.generate({"prompt": text}, params(), f"id-{text}"))
    assert [ledger.conversation.messages for ledger in context.ledgers] == [
        ({"role": "user", "content": "x"},),
        ({"role": "user", "content": "y"},),
    ]


async def test_at_temperature_zero_there_is_one_candidate() -> None:
    engine = two()
    with request({"best_of": 2}) as context:
        await read(reranking(engine).generate({"prompt": "hi"}, params(temperature=0.0), "id"))
    assert (len(engine.calls), context.best_of) == (1, 1)


async def test_a_draw_follows_the_requests_seed_and_without_one_its_own() -> None:
    seeds = []
    for seed in (5, None, None):
        with request({"best_of": 2}) as context:
            await read(reranking(two()).generate({"prompt": "hi"}, params(seed=seed), "id"))
        seeds.append(context.ledgers[0].plan.seed)
    assert seeds[0] == 5
    assert len(set(seeds)) == 3


async def test_what_comes_without_a_request_of_ours_is_the_generators() -> None:
    engine, asked = FakeEngine(says("a")), params(n=3)
    assert await read(reranking(engine).generate({"prompt": "hi"}, asked, "id", priority=1)) == ["a"]
    (call,) = engine.calls
    assert (call.params is asked, call.request_id, call.options) == (True, "id", {"priority": 1})


async def test_a_background_request_is_the_generators() -> None:
    engine = FakeEngine(says("a"))
    with request({"background": True}, endpoint="responses") as context:
        outputs = reranking(engine).generate({"prompt": "hi"}, params(), "id")
        assert (await read(outputs), context.runs) == (["a"], [])
    assert engine.calls[0].request_id == "id"


async def test_input_that_is_streamed_is_the_generators() -> None:
    async def pieces() -> AsyncIterator[Mapping[str, Any]]:
        yield {"prompt": "hi"}

    engine, prompt = FakeEngine(says("a")), pieces()
    with request({"best_of": 2}) as context:
        assert (await read(reranking(engine).generate(prompt, params(), "id")), context.runs) == (["a"], [])
    assert (engine.calls[0].prompt is prompt, engine.calls[0].request_id) == (True, "id")


# -- the conversation


@pytest.mark.parametrize(
    ("messages", "options", "conversation"),
    [
        ([QUESTION], {}, Conversation((QUESTION,))),
        ([QUESTION, BEGUN], {}, Conversation((QUESTION, BEGUN))),
        ([QUESTION, BEGUN], {"continue_final_message": True}, Conversation((QUESTION,), answer_start="It is ")),
        (
            [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
            {"continue_final_message": True},
            Conversation(({"role": "user", "content": [{"type": "text", "text": "hi"}]},)),
        ),
        (
            [
                QUESTION,
                {"role": "assistant", "content": [{"type": "text", "text": "It "}, {"type": "text", "text": "is "}]},
            ],
            {"continue_final_message": True},
            Conversation((QUESTION,), answer_start="It is "),
        ),
        ([], {"continue_final_message": True}, Conversation(())),
    ],
    ids=["question", "turns", "begun", "parts", "begun in parts", "empty"],
)
async def test_a_rendered_prompt_says_what_it_was_made_of(
    messages: Sequence[Any], options: Mapping[str, Any], conversation: Conversation
) -> None:
    engine = two()
    reranked = reranking(engine)
    chat = SimpleNamespace(chat_template_kwargs=options)
    conversations, (prompt,) = await reranked.renderer.render_chat_async([messages], chat, None)
    assert (conversations, prompt["prompt"]) == ([messages], "rendered 0")
    with request({"best_of": 2}) as context:
        await read(reranked.generate(prompt, params(), "id"))
    assert context.ledgers[0].conversation == conversation


async def test_prompts_that_are_rendered_together_keep_their_own_conversations() -> None:
    reranked = reranking(FakeEngine(*[says("a")] * 4))
    chat = SimpleNamespace(chat_template_kwargs={})
    _, prompts = await reranked.renderer.render_chat_async([[QUESTION], [QUESTION, BEGUN]], chat)
    with request({"best_of": 2}) as context:
        for prompt in prompts:
            await read(reranked.generate(prompt, params(), "id"))
    assert [len(ledger.conversation.messages) for ledger in context.ledgers] == [1, 2]


def test_everything_else_of_the_renderer_and_the_generator_is_their_own() -> None:
    reranked = reranking(FakeEngine())
    assert (reranked.renderer.tokenizer, reranked.model_name) == ("the renderer's own", "a generator")
    with pytest.raises(AttributeError):
        _ = reranked.unheard_of


@pytest.mark.parametrize("prompt", [{"prompt": "hi", "prompt_token_ids": [1]}, {"prompt_token_ids": [104, 105]}])
async def test_a_bare_prompt_is_one_message_of_a_user(prompt: Mapping[str, Any]) -> None:
    with request({"best_of": 2}, endpoint="completions") as context:
        await read(reranking(two()).generate(prompt, params(), "id"))
    assert context.ledgers[0].conversation == Conversation(({"role": "user", "content": "hi"},))


async def test_embeddings_are_refused_by_name_and_only_where_they_would_be_scored() -> None:
    embeddings, engine = {"prompt_embeds": object()}, two()
    with request({"best_of": 2}, endpoint="completions") as context:
        with pytest.raises(InvalidRequest, match="cannot be scored") as caught:
            await read(reranking(engine).generate(embeddings, params(), "id"))
        assert (caught.value.param, context.error, engine.calls) == ("prompt_embeds", caught.value, [])
    with request({}, endpoint="completions") as context:
        assert await read(reranking(engine).generate(embeddings, params(), "id")) == ["a"]


# -- errors, and who leaves


async def test_the_first_error_of_ours_is_noted_for_the_answer() -> None:
    reranked = reranking(FakeEngine(*[Script(reason="error")] * 2))
    with request({"best_of": 2}) as context:
        with pytest.raises(NothingGenerated) as caught:
            await read(reranked.generate({"prompt": "hi"}, params(), "id"))
        assert context.error is caught.value
        context.error = first = ServiceError("before")
        with pytest.raises(IndexError):  # no script is left: an error that is not ours
            await read(reranked.generate({"prompt": "hi"}, params(), "id"))
        assert context.error is first


async def test_an_error_of_the_engines_own_is_not_ours() -> None:
    with request({"best_of": 2}) as context:
        with pytest.raises(RuntimeError, match="odd"):
            await read(
                reranking(FakeEngine(*[says("a", error=RuntimeError("odd"))] * 2)).generate(
                    {"prompt": "hi"}, params(), "id"
                )
            )
        assert context.error is None


@pytest.mark.parametrize("body", [{}, {"best_of": 2}], ids=["passed-on", "ranked"])
async def test_who_stops_listening_ends_nothing_before_the_request_is_closed(body: Mapping[str, Any]) -> None:
    engine = FakeEngine(*[Script(("a", "b"), held=True)] * 2)
    with request(body) as context:
        outputs = reranking(engine).generate({"prompt": "hi"}, params(RequestOutputKind.DELTA), "id")
        waiting = asyncio.ensure_future(anext(outputs))
        await until(lambda: len(engine.running) == context.best_of)
        await settle()
        waiting.cancel()
        await asyncio.wait([waiting])
        await outputs.aclose()  # type: ignore[attr-defined]
        await settle()
        assert (len(engine.running), engine.aborted) == (context.best_of, [])
        await context.close()
    assert (engine.running, len(engine.aborted)) == (set(), context.best_of)
    assert {candidate.state for candidate in context.ledgers[0].candidates} == {"aborted"}


# -- health


async def dead(scorer: FakeScorer, reward: SupervisedScorer) -> None:
    scorer.die("out of memory")
    await reward.watch()


@pytest.mark.parametrize(("on_failure", "fatal"), [("error", True), ("unranked", False)])
async def test_a_dead_reward_model_is_the_end_where_the_server_cannot_do_without(
    on_failure: OnRewardFailure, fatal: bool
) -> None:
    scorer = FakeScorer()
    reranked = reranking(FakeEngine(), scorer, on_failure)
    await reranked.check_health()
    assert (reranked.errored, reranked.is_running) == (False, True)
    await dead(scorer, reranked._reward)
    assert (reranked.errored, reranked.is_running) == (fatal, not fatal)
    if not fatal:
        await reranked.check_health()
        return
    assert "the reward model is unavailable: out of memory" in str(reranked.dead_error)
    with pytest.raises(EngineDeadError, match="out of memory"):
        await reranked.check_health()


async def test_a_dead_generator_speaks_for_itself() -> None:
    engine = FakeEngine()
    engine.errored, engine.is_running = True, False
    engine.dead_error = engine.unhealthy = EngineDeadError("no core left")
    reranked = reranking(engine)
    assert (reranked.errored, reranked.is_running, reranked.dead_error) == (True, False, engine.dead_error)
    with pytest.raises(EngineDeadError, match="no core left"):
        await reranked.check_health()


def test_a_dead_engines_reason_is_in_words() -> None:
    assert reason(EngineDeadError("no core left")) == "no core left"
    assert reason(EngineDeadError()) == "the generation engine has died"
