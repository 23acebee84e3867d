"""What vLLM's application talks to: the generator's own, but for what is ranked, rendered and asked about health."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.exceptions import EngineDeadError

from service.http.books import Books
from service.http.dependencies import Dependencies
from service.http.recorder import Recorder
from service.load.admission import Admission
from service.load.lifecycle import Lifecycle
from service.observe.metrics import Metrics
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import EngineDown, InvalidRequest, NothingGenerated, Overloaded, ServiceError, ShuttingDown
from service.rerank.strategies.profile import DEFAULTS
from service.rerank.supervised_scorer import OnRewardFailure, SupervisedScorer
from service.vllm.client import RerankingEngine
from service.vllm.inner_app import reason
from tests.service.fakes import FREE, LIMITS, METER, FakeScorer, Script, make_ask, says, settle, supervised, until
from tests.service.vllm.fake_engine import FakeEngine

QUESTION = {"role": "user", "content": "What is 1+1?"}


class FakeRenderer:
    """Renders nothing. The prompts are its own objects, as vLLM's are."""

    tokenizer = "the renderer's own"

    async def render_chat_async(self, messages: Any, chat_params: Any, tok_params: Any = None, *_: Any) -> Any:
        return messages, [{"prompt": f"rendered {number}"} for number, _ in enumerate(messages)]


def reranking(
    engine: FakeEngine,
    scorer: FakeScorer | None = None,
    on_failure: OnRewardFailure = "error",
    parts: Dependencies | None = None,
) -> RerankingEngine:
    engine.renderer = FakeRenderer()
    reward = supervised(scorer or FakeScorer({"bb": 2.0}), on_failure)
    parts = parts or Dependencies(LIMITS, Admission(512), Recorder(Metrics(CollectorRegistry(), "0")), Lifecycle())
    return RerankingEngine(engine, reward, METER, Books(parts), None, DEFAULTS)  # type: ignore[arg-type]


@contextmanager
def request(body: Mapping[str, Any], **options: Any) -> Any:
    """The context of a request, as the gateway sets it."""
    context = RequestContext(make_ask(body, **options), FREE)
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


async def test_an_answer_that_was_cut_off_does_not_win_where_a_schema_is_asked_for() -> None:
    for schema, best in ((None, "bb"), (StructuredOutputsParams(json={"type": "object"}), "a")):
        engine = FakeEngine(says("a"), says("bb", reason="length"))
        with request({"best_of": 2}):
            asked = params(structured_outputs=schema)
            assert await read(reranking(engine).generate({"prompt": "hi"}, asked, "id")) == [best]


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


async def test_that_is_logged_once_for_a_model(caplog: pytest.LogCaptureFixture) -> None:
    reranked = reranking(FakeEngine(*[says("a")] * 3))
    for model in ("m", "m", "other"):
        with request({"best_of": 2, "model": model}):
            await read(reranked.generate({"prompt": "hi"}, params(temperature=0.0), "id"))
    assert [record.args[0] for record in caplog.records] == ["m", "other"]  # type: ignore[index]


async def test_a_draw_follows_the_requests_seed_and_without_one_its_own() -> None:
    seeds = []
    for seed in (5, None, None):
        with request({"best_of": 2}) as context:
            await read(reranking(two()).generate({"prompt": "hi"}, params(seed=seed), "id"))
        seeds.append(context.ledgers[0].plan.seed)
    assert seeds[0] == 5
    assert len(set(seeds)) == 3


class Counted:
    """What one server admits and records."""

    def __init__(self, limit: int = 512) -> None:
        self.registry = CollectorRegistry()
        self.admission = Admission(limit, max_queue_s=0.01)
        self.parts = Dependencies(LIMITS, self.admission, Recorder(Metrics(self.registry, "0")), Lifecycle())

    def __call__(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"bestofn_{name}", labels) or 0.0

    def requests(self, outcome: str, endpoint: str = "other", strategy: str = "best_of_n") -> float:
        return self("requests_total", endpoint=endpoint, strategy=strategy, outcome=outcome)


async def test_what_comes_without_a_request_of_ours_is_passed_on_and_counted() -> None:
    engine, asked, counted = FakeEngine(*map(says, ("a", "bb", "c"))), params(n=3), Counted()
    outputs = reranking(engine, parts=counted.parts).generate({"prompt": "hi"}, asked, "id", priority=1)
    assert await read(outputs) == ["a", "bb", "c"]
    assert [call.options for call in engine.calls] == [{"priority": 1}] * 3
    assert (counted.requests("ok"), counted("generated_tokens_total", fate="returned")) == (1, 4)
    assert counted.admission.in_flight == 0


async def test_who_stops_listening_to_it_ends_it_and_is_counted() -> None:
    engine, counted = FakeEngine(Script(("a", "b"), held=True)), Counted()
    outputs = reranking(engine, parts=counted.parts).generate({"prompt": "hi"}, params(RequestOutputKind.DELTA), "id")
    assert (await anext(outputs)).outputs[0].text == "a"
    assert counted.admission.in_flight == 1
    await outputs.aclose()  # type: ignore[attr-defined]
    assert (counted.requests("cancelled"), counted.admission.in_flight, engine.running) == (1, 0, set())


async def test_it_waits_for_a_place_and_is_refused_where_there_is_none() -> None:
    engine, counted = FakeEngine(says("a")), Counted(limit=1)
    counted.admission.ticket()
    with pytest.raises(Overloaded):
        await read(reranking(engine, parts=counted.parts).generate({"prompt": "hi"}, params(), "id"))
    assert (counted.requests("overloaded", strategy="none"), engine.calls, counted.admission.in_flight) == (1, [], 1)


async def test_a_beam_search_is_as_many_candidates_as_it_is_wide() -> None:
    """vLLM asks for one token of each beam at a time."""
    engine = FakeEngine(*[says("a", reason="length")] * 7)
    with request({"n": 2, "use_beam_search": True}) as context:
        for step in range(7):
            await read(reranking(engine).generate({"prompt": "hi"}, params(max_tokens=1), f"beam-{step}"))
    (ledger,) = context.ledgers
    assert [candidate.tokens for candidate in ledger.candidates] == [4, 3]
    assert {ledger.fate(candidate) for candidate in ledger.candidates} == {"returned"}
    assert (context.runs, context.best_of, ledger.prompt_tokens) == ([], 2, 7 * 3)


async def test_more_answers_than_ever_run_at_once_are_refused_whoever_asks() -> None:
    engine, counted = FakeEngine(), Counted()
    with pytest.raises(InvalidRequest, match=r"n is 513; this server runs at most 512 .*--max-candidates"):
        await read(reranking(engine, parts=counted.parts).generate({"prompt": "hi"}, params(n=513), "id"))
    assert (counted.requests("invalid_value"), engine.calls, counted.admission.in_flight) == (1, [], 0)


async def test_vllms_own_limits_hear_of_every_candidate() -> None:
    asked: list[int] = []
    engine = FakeEngine()
    engine.check_admission = lambda n, request_id: asked.append(n)  # type: ignore[attr-defined]
    reranked = reranking(engine)
    reranked.check_admission(2)
    with request({"best_of": 8}):
        reranked.check_admission(2)
    assert asked == [2, 8]


async def test_input_that_is_streamed_is_the_generators() -> None:
    async def pieces() -> AsyncIterator[Mapping[str, Any]]:
        yield {"prompt": "hi"}

    engine, prompt = FakeEngine(says("a")), pieces()
    counted = Counted()
    with request({"best_of": 2}) as context:
        reranked = reranking(engine, parts=counted.parts)
        assert (await read(reranked.generate(prompt, params(), "id")), context.runs) == (["a"], [])
    assert (counted.requests("ok", "realtime"), counted.admission.in_flight) == (1, 0)
    assert (engine.calls[0].prompt is prompt, engine.calls[0].request_id) == (True, "id")


async def test_a_speaker_keeps_a_draining_server_waiting_and_ends_with_it() -> None:
    async def pieces() -> AsyncIterator[Mapping[str, Any]]:
        yield {"prompt": "hi"}

    engine, counted = FakeEngine(Script(("a", "b"), held=True)), Counted()
    lifecycle = counted.parts.lifecycle
    heard = reranking(engine, parts=counted.parts).generate(pieces(), params(RequestOutputKind.DELTA), "id")
    await anext(heard)
    speaking = asyncio.ensure_future(anext(heard))
    lifecycle.drain_s = 0.02
    lifecycle.stop()
    await asyncio.wait_for(lifecycle.drained(), 5)
    with pytest.raises(ShuttingDown):
        await speaking
    assert (counted.requests("shutting_down", "realtime"), counted.admission.in_flight, engine.running) == (1, 0, set())
    with pytest.raises(ShuttingDown):  # and who begins to speak then is not heard
        await read(reranking(engine, parts=counted.parts).generate(pieces(), params(), "id"))


async def test_a_speaker_whom_vllm_gives_up_has_left() -> None:
    async def pieces() -> AsyncIterator[Mapping[str, Any]]:
        yield {"prompt": "hi"}

    engine, counted = FakeEngine(says("a", reason="abort")), Counted()
    await read(reranking(engine, parts=counted.parts).generate(pieces(), params(), "id"))
    assert (counted.requests("cancelled", "realtime"), counted("generated_tokens_total", fate="aborted")) == (1, 1)


async def test_a_speaker_whose_listener_stops_is_counted_when_all_has_ended() -> None:
    async def pieces() -> AsyncIterator[Mapping[str, Any]]:
        yield {"prompt": "hi"}

    engine, counted = FakeEngine(Script(("a", "b"), held=True)), Counted()
    heard = reranking(engine, parts=counted.parts).generate(pieces(), params(RequestOutputKind.DELTA), "id")
    await anext(heard)
    await heard.aclose()  # type: ignore[attr-defined]
    assert (counted.requests("cancelled", "realtime"), engine.running, counted.admission.in_flight) == (1, set(), 0)
    assert counted("generated_tokens_total", fate="aborted") == 1


async def test_everything_else_of_the_renderer_and_the_generator_is_their_own() -> None:
    reranked = reranking(FakeEngine())
    assert (reranked.renderer.tokenizer, reranked.model_name) == ("the renderer's own", "a generator")
    with pytest.raises(AttributeError):
        _ = reranked.unheard_of


# -- errors, and who leaves


async def test_the_first_error_of_ours_is_noted_for_the_answer() -> None:
    reranked = reranking(FakeEngine(*[Script(reason="error")] * 2))
    with request({"best_of": 2}) as context:
        with pytest.raises(NothingGenerated) as caught:
            await read(reranked.generate({"prompt": "hi"}, params(), "id"))
        assert context.error is caught.value
        context.error = first = ServiceError("before")
        with pytest.raises(ServiceError, match="before"):  # and nothing more is generated for it
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
    assert reranked._reward is not None
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


async def test_a_request_that_vllm_itself_finds_an_engine_dead_for_is_answered_with_our_error() -> None:
    engine = FakeEngine()
    engine.errored, engine.dead_error = True, EngineDeadError("no core left")
    context = RequestContext(make_ask(), FREE)
    token = current_request.set(context)
    try:
        assert reranking(engine).dead_error is engine.dead_error
    finally:
        current_request.reset(token)
    assert isinstance(context.error, EngineDown)
    assert context.error.status == 503


def test_a_dead_engines_reason_is_in_words() -> None:
    assert reason(EngineDeadError("no core left")) == "no core left"
    assert reason(EngineDeadError()) == "the generation engine has died"
