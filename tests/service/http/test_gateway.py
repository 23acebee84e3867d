"""The way of a request through HTTP, over a fake of vLLM's application."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest
from starlette.types import Message, Receive, Scope, Send

from reward.config import RewardConfig
from reward.scorer import RewardUnavailable, Score
from service.load.admission import Admission
from service.load.latency_controller import SloController
from service.rerank.context import current_request
from service.rerank.errors import EngineDown
from service.rerank.request import PASSED_ON, Limits
from tests.service.fakes import (
    CHAT,
    LIMITS,
    FakeSampler,
    FakeScorer,
    FakeVllm,
    Reply,
    Script,
    answers,
    call,
    cancelled,
    is_openai_error,
    make_ask,
    make_run,
    plan_for,
    says,
    settle,
    until,
)
from tests.service.http.served import REWARDS, Served, served, two

# -- answers


async def test_the_best_answer_comes_back_with_its_rerank_object_and_the_whole_bill() -> None:
    gateway, inner = served()
    reply = await gateway.call({"best_of": 2, "model": "m"})
    assert reply.status == 200
    assert reply.json["choices"] == [{"message": {"content": "bb"}}]
    usage = reply.json["usage"]
    assert usage.pop("completion_tokens_details")["rejected_prediction_tokens"] == 1
    assert usage == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert (reply.json["rerank"]["selected"], reply.json["rerank"]["reward"]) == ([1], 2.0)
    assert inner.requests == [{"model": "m"}]
    assert gateway.counted("ok") == gateway.requests == 1


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/v1/embeddings", "/v1/chat/completions/x"])
async def test_every_other_path_passes_untouched(path: str) -> None:
    gateway = Served(answers(200, b"as it is", "text/plain"))
    assert (await gateway.call(b"not json", path=path)).body == b"as it is"
    assert gateway.requests == 0


async def test_every_other_method_passes_untouched() -> None:
    gateway = Served(answers(405, b"no", "text/plain"))
    assert (await gateway.call(b"", method="GET")).body == b"no"


async def test_a_path_below_a_root_path_is_known() -> None:
    gateway, _ = served()

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await gateway.app({**scope, "root_path": "/api"}, receive, send)

    reply = await call(mounted, {"best_of": 2}, path="/api" + CHAT)
    assert reply.json["rerank"]["best_of"] == 2


async def test_the_application_is_told_the_length_of_what_it_gets() -> None:
    lengths: list[tuple[bytes, int]] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        lengths.append((dict(scope["headers"])[b"content-length"], len(body)))
        await answers(200, {})(scope, receive, send)

    await Served(inner).call({"seed": 1, "best_of": None}, headers={"content-length": "999"})
    assert lengths == [(b"11", 11)]


async def test_requests_do_not_see_each_other() -> None:
    gateway, _ = served()
    replies = await asyncio.gather(*(gateway.call({"best_of": 2}) for _ in range(5)))
    assert all(reply.json["rerank"]["sampled"] == 2 for reply in replies)
    assert current_request.get() is None


# -- refusals


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", "body"),
        ({"best_of": 0}, "best_of"),
        ({"best_of": 10**9}, "best_of"),
        ({"best_of": "four"}, "best_of"),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"rerank": {"x": 1}}, "rerank.x"),
        ({"messages": []}, "messages"),
    ],
)
async def test_bad_input_is_a_400_that_names_the_field_and_the_server_goes_on(body: Any, param: str) -> None:
    gateway, inner = served()
    reply = await gateway.call(body)
    assert (reply.status, reply.json["error"]["param"]) == (400, param)
    assert is_openai_error(reply.json)
    assert (inner.requests, gateway.counted("invalid_value", strategy="none")) == ([], 1)
    assert (await gateway.call({"best_of": 2})).status == 200


@pytest.mark.parametrize("path", PASSED_ON)
@pytest.mark.parametrize(
    ("body", "headers", "param"),
    [
        ({"best_of": 2}, {}, "best_of"),
        ({"rerank": {}}, {}, "rerank"),
        ({"model": "m:best-of-4"}, {}, "model"),
        ({}, {"x-best-of": "4"}, "x-best-of"),
    ],
)
async def test_what_generates_and_is_not_reranked_says_so(
    path: str, body: Any, headers: dict[str, str], param: str
) -> None:
    gateway, inner = served()
    reply = await gateway.call(body, path=path, headers=headers)
    assert (reply.status, reply.json["error"]["param"], inner.requests) == (400, param, [])


@pytest.mark.parametrize("path", PASSED_ON)
@pytest.mark.parametrize("body", [{"model": "m"}, b"--form\r\na recording"])
async def test_who_asks_there_for_nothing_of_ours_is_served_and_counted(path: str, body: Any) -> None:
    gateway = Served(answers(200, {"choices": []}))
    reply = await gateway.call(body, path=path)
    assert (reply.status, reply.json) == (200, {"choices": []})
    assert gateway.counted("ok", PASSED_ON[path]) == gateway.requests == 1


@pytest.mark.parametrize("path", PASSED_ON)
async def test_a_stream_there_is_passed_on(path: str) -> None:
    gateway = Served(answers(200, b"event: x\ndata: {}\n\n", "text/event-stream"))
    assert (await gateway.call({"stream": True}, path=path)).body == b"event: x\ndata: {}\n\n"
    assert gateway.counted("ok", PASSED_ON[path]) == 1


@pytest.mark.parametrize(("body", "endpoint"), [({"messages": [{}]}, "chat"), ({"prompt": "x"}, "completions")])
async def test_an_invocation_is_reranked_as_what_it_carries(body: dict[str, Any], endpoint: str) -> None:
    gateway, _ = served()
    reply = await gateway.call({"best_of": 2, **body}, path="/invocations")
    assert (reply.status, reply.json["rerank"]["sampled"]) == (200, 2)
    assert gateway.counted("ok", endpoint) == 1


async def test_too_much_in_flight_is_a_429_that_says_when_to_come_back() -> None:
    held = FakeSampler(says("a", held=True), says("bb", held=True))
    inner = FakeVllm(lambda: held)
    gateway = Served(inner, admission=Admission(2, max_queued=0))
    first = asyncio.create_task(gateway.call({"best_of": 2}))
    await settle()
    assert gateway.admission.in_flight == 2
    reply = await gateway.call({"best_of": 2})
    assert (reply.status, reply.json["error"]["code"]) == (429, "overloaded")
    assert 0 < int(reply.headers["retry-after-ms"]) / 1000 <= int(reply.headers["retry-after"])
    assert reply.headers["x-should-retry"] == "true"
    held.release(0)
    held.release(1)
    assert (await first).status == 200
    assert gateway.admission.in_flight == 0
    assert gateway.counted("overloaded", strategy="none") == 1


async def test_a_client_that_leaves_before_its_body_is_whole_is_forgotten() -> None:
    gateway, inner = served()
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await gateway.app({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)
    assert (inner.requests, gateway.admission.in_flight) == ([], 0)


async def test_progress_without_a_stream_is_an_error_that_names_it() -> None:
    gateway, _ = served()
    reply = await gateway.call({"best_of": 2, "rerank": {"progress": True}})
    assert (reply.status, reply.json["error"]["param"]) == (400, "rerank.progress")


# -- a latency target


def overloaded(target_s: float = 1.0) -> SloController:
    """It has seen that one candidate alone takes twice the target."""
    slo = SloController(target_s)
    for second in range(100):
        slo.answered(make_ask({"best_of": 2}), 1, admitted_s=second - 2 * target_s, now_s=float(second))
    return slo


def one() -> FakeSampler:
    return FakeSampler(says("a"))


async def test_a_busy_server_samples_fewer_and_says_so() -> None:
    gateway = Served(FakeVllm(one, FakeScorer(REWARDS)), slo=overloaded())
    rerank = (await gateway.call({"best_of": 8})).json["rerank"]
    told = {key: rerank[key] for key in ("best_of", "asked_best_of", "best_of_reason", "sampled")}
    assert told == {"best_of": 1, "asked_best_of": 8, "best_of_reason": "slo", "sampled": 1}


async def test_a_default_that_was_lowered_to_one_is_still_reported() -> None:
    gateway = Served(FakeVllm(one, FakeScorer(REWARDS)), Limits(8, 64, 512), overloaded())
    rerank = (await gateway.call({})).json["rerank"]
    assert (rerank["best_of"], rerank["asked_best_of"]) == (1, 8)


async def test_who_insists_gets_what_was_asked_and_nothing_is_said_of_it() -> None:
    gateway = Served(FakeVllm(two, FakeScorer(REWARDS)), slo=overloaded())
    rerank = (await gateway.call({"best_of": 2, "rerank": {"fixed_best_of": True}})).json["rerank"]
    assert (rerank["best_of"], rerank["sampled"]) == (2, 2)
    assert not {"asked_best_of", "best_of_reason"} & rerank.keys()


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_teach_and_are_counted_against_the_target(stream: bool) -> None:
    """The target is so short that the first answer misses it: the second request gets one candidate."""
    slo = SloController(1e-6)
    scripts = iter([two(), one()])
    gateway = Served(FakeVllm(lambda: next(scripts), FakeScorer(REWARDS)), slo=slo)
    for _ in range(2):
        assert (await gateway.call({"best_of": 2, "stream": stream})).status == 200
    await settle()
    missed = [gateway.registry.get_sample_value("bestofn_slo_missed_total", {"best_of": n}) for n in ("2", "1")]
    assert missed == [1, 1]
    share = gateway.registry.get_sample_value("bestofn_best_of_share_sum", {"asked": "2"})
    assert share == 1 + 0.5


@pytest.mark.parametrize(
    "script", [Script(reason="error"), Script(error=EngineDown("dead"))], ids=["all-fail", "engine"]
)
async def test_failures_teach_nothing(script: Script) -> None:
    slo = SloController(1e-6)
    gateway = Served(FakeVllm(lambda: FakeSampler(script, script)), slo=slo)
    assert (await gateway.call({"best_of": 2})).status >= 500
    assert slo.fit(make_ask({"best_of": 2}), room=512, now_s=100.0).best_of == 2
    assert gateway.registry.get_sample_value("bestofn_slo_missed_total", {"best_of": "2"}) is None


async def test_what_a_refused_request_asked_for_weighs_on_nobody() -> None:
    slo, ask = SloController(1.0), make_ask({"best_of": 16})
    for second in range(100):
        slo.answered(ask, 16, admitted_s=second - 0.5, now_s=float(second))
    alone = slo.fit(ask, room=512, now_s=100.0)
    gateway = Served(FakeVllm(one), slo=slo, admission=Admission(1, max_queued=0))
    gateway.admission.ticket()
    assert (await gateway.call({"best_of": 16})).status == 429
    assert slo.fit(ask, room=512, now_s=time.monotonic() + 1000) == alone


# -- failures


@pytest.mark.parametrize(
    ("script", "rewards", "rerank", "status", "code"),
    [
        (Script(reason="error"), {}, {}, 502, "generation_failed"),
        (Script(error=EngineDown("dead")), {}, {}, 503, "engine_unavailable"),
        (says("a"), {"a": RuntimeError("odd")}, {}, 503, "reward_unavailable"),
        (says("a", held=True), {}, {"deadline_ms": 10}, 504, "deadline_exceeded"),
        (says("a"), {"a": 1.0}, {"min_reward": 1.5}, 424, "below_min_reward"),
    ],
    ids=["all-fail", "engine", "reward-model", "deadline", "min-reward"],
)
async def test_a_failure_has_our_status_and_openais_shape(
    script: Script, rewards: Any, rerank: dict[str, int], status: int, code: str
) -> None:
    gateway, _ = served(lambda: FakeSampler(script, script), scorer=FakeScorer(rewards))
    reply = await gateway.call({"best_of": 2, "rerank": rerank})
    assert (reply.status, reply.json["error"]["code"]) == (status, code)
    assert is_openai_error(reply.json)
    assert gateway.counted(code) == gateway.requests == 1


async def test_what_was_generated_for_nothing_is_counted_all_the_same() -> None:
    gateway, _ = served()
    reply = await gateway.call({"best_of": 2, "rerank": {"min_reward": 9}})
    assert reply.json["error"]["param"] == "rerank.min_reward"
    tokens = gateway.registry.get_sample_value("bestofn_generated_tokens_total", {"fate": "rejected"})
    assert tokens == 3


async def test_weights_and_a_draw_reach_the_answer() -> None:
    ensemble = RewardConfig(("help", "tone"), 0.0, 1.0)
    scorer = FakeScorer({"a": Score(1.0, {"help": 0.0, "tone": 2.0}, 3, 0)}, config=ensemble)
    gateway = Served(FakeVllm(two, scorer), replace(LIMITS, reward=ensemble))
    scorer.rewards["bb"] = Score(2.0, {"help": 3.0, "tone": 1.0}, 4, 0)
    rerank = {"selection": {"pick": "pessimistic", "beta": 0.5}, "reward_weights": {"tone": 1}}
    told = (await gateway.call({"best_of": 2, "seed": 5, "rerank": rerank})).json["rerank"]
    assert [one["reward"] for one in told["candidates"]] == [2.0, 1.0]
    assert [one["weight"] for one in told["candidates"]] == [1.0, 0.0]
    assert (told["selected"], told["selection"]) == ([0], {"pick": "pessimistic", "beta": 0.5, "seed": 5})


async def test_unranked_is_a_200_that_says_so() -> None:
    scorer = FakeScorer()
    scorer.die()
    gateway, _ = served(scorer=scorer, on_reward_failure="unranked")
    rerank = (await gateway.call({"best_of": 2})).json["rerank"]
    assert (rerank["stop_reason"], rerank["reward"], rerank["reward_mean"]) == ("reward_unavailable", None, None)


async def test_some_failures_are_told_of() -> None:
    gateway, _ = served(lambda: FakeSampler(Script(error=RuntimeError("odd")), says("bb")))
    rerank = (await gateway.call({"best_of": 2})).json["rerank"]
    assert (rerank["finished"], rerank["failed"], rerank["selected"]) == (1, 1, [1])


async def test_a_client_that_leaves_ends_everything_and_is_recorded() -> None:
    sampler = FakeSampler(says("a", held=True), says("bb", held=True))
    gateway, inner = served(lambda: sampler)
    task = asyncio.create_task(gateway.call({"best_of": 2}))
    await until(lambda: len(sampler.running) == 2)
    await cancelled(task)
    assert (sampler.running, gateway.admission.in_flight) == (set(), 0)
    assert gateway.counted("cancelled") == gateway.requests == 1
    assert [candidate.state for candidate in inner.runs[0].ledger.candidates] == ["aborted", "aborted"]


async def test_an_application_that_forgets_its_candidates_is_cleaned_up_after() -> None:
    sampler = FakeSampler(says("a", held=True))
    orphan: list[asyncio.Task[Any]] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        context = current_request.get()
        assert context is not None
        run = make_run(sampler, plan=plan_for(1))
        context.runs.append(run)
        orphan.append(asyncio.create_task(run.best()))
        await settle()
        await answers(200, {})(scope, receive, send)

    reply = await Served(inner).call({})
    assert (reply.status, sampler.running) == (200, set())
    await cancelled(orphan[0])


# -- known bugs


async def test_a_request_that_is_cancelled_again_and_again_is_still_recorded() -> None:
    sampler = FakeSampler(says("a", held=True), says("bb", held=True))
    sampler.may_abort.clear()
    gateway, _ = served(lambda: sampler)
    task = asyncio.create_task(gateway.call({"best_of": 2}))
    await until(lambda: len(sampler.running) == 2)
    for _ in range(4):
        task.cancel()
        await settle()
    in_flight = gateway.admission.in_flight
    sampler.may_abort.set()
    await until(lambda: not sampler.running)
    await settle()
    assert (in_flight, gateway.admission.in_flight) == (2, 0)
    assert gateway.requests == 1


async def test_an_application_that_breaks_before_answering_is_counted_as_an_error() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("bug")

    gateway = Served(broken)
    with pytest.raises(KeyError):
        await gateway.call({})
    assert gateway.counted("error") == gateway.requests == 1


# -- the queue


def holding() -> FakeSampler:
    return FakeSampler(says("a", held=True), says("bb", held=True))


async def test_who_finds_no_place_waits_for_one() -> None:
    samplers = [holding(), two()]
    waiting = iter(samplers)
    gateway = Served(FakeVllm(lambda: next(waiting), FakeScorer(REWARDS)), admission=Admission(2))
    asking = []
    for _ in range(2):
        asking.append(asyncio.create_task(gateway.call({"best_of": 2})))
        await settle()
    assert (gateway.admission.in_flight, gateway.admission.queued) == (2, 1)
    samplers[0].release(0)
    samplers[0].release(1)
    assert [reply.status for reply in await asyncio.gather(*asking)] == [200, 200]
    assert (gateway.admission.in_flight, gateway.admission.queued) == (0, 0)


async def test_more_candidates_than_places_take_turns() -> None:
    sampler = holding()
    gateway = Served(FakeVllm(lambda: sampler, FakeScorer(REWARDS)), admission=Admission(1))
    asking = asyncio.create_task(gateway.call({"best_of": 2}))
    await until(lambda: bool(sampler.running))
    assert sampler.running == {0}
    sampler.release(0)
    await until(lambda: sampler.running == {1})
    sampler.release(1)
    assert (await asking).json["rerank"]["selected"] == [1]
    assert gateway.admission.in_flight == 0


async def test_a_place_is_held_until_its_candidate_is_scored_and_no_longer() -> None:
    sampler, scorer = FakeSampler(says("a"), says("bb", held=True)), FakeScorer(REWARDS)
    scorer.open.clear()
    gateway = Served(FakeVllm(lambda: sampler, scorer))
    asking = asyncio.create_task(gateway.call({"best_of": 2}))
    await settle()
    assert gateway.admission.in_flight == 2
    scorer.open.set()
    await settle()
    assert gateway.admission.in_flight == 1
    sampler.release(1)
    await asking


async def test_who_leaves_the_queue_is_counted_and_takes_no_place() -> None:
    gateway = Served(answers(200, {}), admission=Admission(1))
    taken = gateway.admission.ticket()
    messages: list[Message] = [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    await gateway.app({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)
    assert gateway.counted("cancelled", strategy="none") == gateway.requests == 1
    assert (gateway.admission.queued, gateway.admission.in_flight) == (0, 1)
    taken.close()
    assert gateway.admission.in_flight == 0


async def test_who_is_cancelled_in_the_queue_takes_no_place() -> None:
    gateway = Served(answers(200, {}), admission=Admission(1))
    taken = gateway.admission.ticket()
    asking = asyncio.create_task(gateway.call({}))
    await settle()
    assert gateway.admission.queued == 1
    await cancelled(asking)
    taken.close()
    assert (gateway.admission.queued, gateway.admission.in_flight) == (0, 0)


@pytest.mark.parametrize(("status", "counted"), [(200, 0), (400, 1)])
async def test_of_a_background_request_nothing_but_a_refusal_is_counted_here(status: int, counted: int) -> None:
    seen: list[object] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_request.get())
        await answers(status, {"status": "queued"})(scope, receive, send)

    gateway = Served(inner, admission=Admission(1))
    gateway.admission.ticket()  # it waits for no place: its answer comes before
    reply = await gateway.call({"background": True}, path="/v1/responses")
    assert (reply.json, seen) == ({"status": "queued"}, [None])
    assert gateway.counted("client_error", "responses", "none") == gateway.requests == counted


@pytest.mark.parametrize(("stops", "outcome"), [(False, "cancelled"), (True, "shutting_down")])
async def test_a_background_request_that_is_cancelled_is_no_fault_of_the_server(stops: bool, outcome: str) -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    gateway = Served(inner)
    asking = asyncio.create_task(gateway.call({"background": True}, path="/v1/responses"))
    await settle()
    if stops:
        gateway.lifecycle.stop()
    await cancelled(asking)
    assert gateway.counted(outcome, "responses", "none") == gateway.requests == 1


async def test_who_waits_for_a_place_when_the_server_stops_is_answered_and_counted() -> None:
    gateway = Served(answers(200, {}), admission=Admission(1))
    gateway.admission.ticket()
    asking = asyncio.create_task(gateway.call({}))
    await settle()
    gateway.lifecycle.stop()
    await gateway.lifecycle.drained()
    reply = await asking
    assert (reply.status, reply.json["error"]["code"], gateway.admission.queued) == (503, "shutting_down", 0)
    assert gateway.counted("shutting_down", strategy="none") == gateway.requests == 1


async def test_an_answer_that_was_chosen_before_the_server_stops_is_counted_as_answered() -> None:
    """Its client reads slowly: the run is over, and the request fails while its answer goes out."""
    gateway, reading = served()[0], asyncio.Event()
    messages: list[Message] = []

    async def slowly(message: Message) -> None:
        await reading.wait()
        messages.append(message)

    asking = asyncio.create_task(gateway.call({"best_of": 2}, send=slowly))
    await settle()
    gateway.lifecycle.stop()
    ending = asyncio.create_task(gateway.lifecycle.drained())
    await settle()
    reading.set()
    await asyncio.wait([asking, ending])
    assert Reply.of(messages).json["choices"] == [{"message": {"content": "bb"}}]
    assert gateway.counted("ok") == gateway.requests == 1


async def test_a_load_ends_with_the_runs_and_not_with_who_reads() -> None:
    slo = SloController(1.0)
    gateway, reading = Served(FakeVllm(two, FakeScorer(REWARDS)), slo=slo), asyncio.Event()

    async def slowly(message: Message) -> None:
        assert slo.in_flight == 0
        await reading.wait()

    asking = asyncio.create_task(gateway.call({"best_of": 2}, send=slowly))
    await asyncio.sleep(0)
    assert slo.in_flight == 2
    await settle()
    assert (slo.in_flight, asking.done()) == (0, False)
    reading.set()
    await asyncio.wait([asking])
    assert (slo.in_flight, gateway.counted("ok")) == (0, 1)


async def test_a_deadline_counts_from_the_requests_arrival() -> None:
    gateway = Served(answers(200, {}), admission=Admission(1))
    gateway.admission.ticket()
    reply = await gateway.call({"rerank": {"deadline_ms": 10}})
    assert (reply.status, reply.json["error"]["param"]) == (504, "rerank.deadline_ms")
    assert (reply.headers["x-should-retry"], gateway.admission.queued) == ("false", 0)


async def test_six_of_six_clients_of_openais_are_served_where_there_is_room_for_one() -> None:
    """With their default of two retries. Each answer takes its time: 20 ms."""
    gateway = Served(Slow(), admission=Admission(1))
    transport = httpx2.ASGITransport(app=gateway.app)
    async with httpx2.AsyncClient(transport=transport) as http:
        client = openai.AsyncOpenAI(base_url="http://there/v1", api_key="key", http_client=http)
        asking = [client.chat.completions.create(model="m", messages=QUESTION) for _ in range(6)]
        done = await asyncio.gather(*asking, return_exceptions=True)
    assert [one for one in done if isinstance(one, BaseException)] == []


QUESTION: Any = [{"role": "user", "content": "?"}]


class Slow:
    """vLLM's application, whose one candidate holds its place for a while."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = current_request.get()
        assert context is not None
        place = context.places.ask()
        await place.granted
        await asyncio.sleep(0.02)
        context.places.leave(place)
        await answers(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []})(
            scope, receive, send
        )


async def test_places_come_back_where_the_reward_model_is_lost_and_a_vote_goes_on() -> None:
    """Otherwise candidates that wait for a score that never comes keep all places from those who vote on."""
    scorer = FakeScorer({letter: RewardUnavailable("hung") for letter in "abcdefgh"})
    inner = FakeVllm(lambda: FakeSampler(*map(says, "abcdefgh")), scorer, "unranked")
    gateway = Served(inner, admission=Admission(8))
    body = {"best_of": 8, "rerank": {"selection": {"pick": "majority"}}}
    replies = await asyncio.gather(*(gateway.call(body) for _ in range(3)))
    assert [reply.status for reply in replies] == [200] * 3
    assert gateway.admission.in_flight == 0
