"""An answer's way out: passed on, patched or replaced, with comments until it comes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import service.http.answer_sender
from service.rerank.context import current_request
from service.rerank.request import Limits
from tests.service.fakes import (
    CHAT,
    FakeSampler,
    FakeScorer,
    FakeVllm,
    Script,
    answers,
    call,
    cancelled,
    is_openai_error,
    make_run,
    plan_for,
    says,
    settle,
    sse,
    until,
)
from tests.service.http.served import REWARDS, Served, served, two


async def test_a_request_that_asks_for_nothing_is_answered_byte_for_byte() -> None:
    body = b'{ "choices" : [] }'
    reply = await Served(answers(200, body, **{"x-other": "kept"})).call({"messages": [{}]})
    assert (reply.body, reply.headers["x-other"], "rerank" in reply.json) == (body, "kept", False)


async def test_a_default_above_n_is_reported_though_nobody_asked() -> None:
    inner = FakeVllm(two, FakeScorer(REWARDS))
    reply = await Served(inner, Limits(2, 64, 512)).call({})
    assert reply.json["rerank"]["best_of"] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_who_has_the_whole_answer_finds_the_places_free(stream: bool) -> None:
    gateway, _ = served()
    in_flight = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            in_flight.append(gateway.admission.in_flight)
        messages.append(message)

    messages: list[Message] = []
    await call(gateway.app, {"best_of": 2, "stream": stream}, messages=messages, send=send)
    assert in_flight == [0]


async def test_an_error_that_is_not_ours_stays_vllms() -> None:
    gateway, _ = served(lambda: FakeSampler(*[Script(error=RuntimeError("odd"))] * 2))
    reply = await gateway.call({"best_of": 2})
    assert (reply.status, reply.json["error"]["message"]) == (500, "odd")
    assert gateway.counted("error") == 1


async def test_vllms_own_400_is_passed_on() -> None:
    gateway = Served(answers(400, {"error": {"message": "too long"}}))
    reply = await gateway.call({"best_of": 2})
    assert (reply.status, reply.json) == (400, {"error": {"message": "too long"}})


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "ok"), (404, "client_error"), (429, "overloaded"), (500, "error")]
)
async def test_an_answer_of_vllms_counts_by_whose_fault_it_is(status: int, outcome: str) -> None:
    gateway = Served(answers(status, {}))
    assert (await gateway.call({"messages": [{}]})).status == status
    assert gateway.counted(outcome) == gateway.requests == 1


async def test_a_stream_ends_with_rerank_and_done() -> None:
    gateway, _ = served()
    reply = await gateway.call({"best_of": 2, "stream": True})
    *chunks, last, done = reply.events
    text = "".join(event["choices"][0]["delta"]["content"] for event in [*chunks, last])
    assert (text, done) == ("bb", "[DONE]")
    assert last["rerank"]["selected"] == [1]


async def test_a_stream_that_asks_for_nothing_passes_byte_for_byte() -> None:
    body = sse({"choices": [1]}) + sse("[DONE]")
    reply = await Served(answers(200, body, "text/event-stream")).call({"stream": True})
    assert reply.body == body


async def test_comments_tell_that_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.http.answer_sender, "_KEEP_ALIVE_S", 0.005)
    sampler = FakeSampler(says("a"), says("bb", held=True))
    gateway, _ = served(lambda: sampler)
    messages: list[Message] = []
    task = asyncio.create_task(gateway.call({"best_of": 2, "stream": True}, messages=messages))
    await until(lambda: len(messages) > 3)
    sampler.release(1)
    reply = await task
    assert reply.chunks[0] == b": 1 of 2 candidates finished\n\n"
    assert reply.events[-1] == "[DONE]"


async def test_an_error_in_a_stream_has_openais_shape() -> None:
    gateway, _ = served(lambda: FakeSampler(*[Script(reason="error")] * 2))
    error, done = (await gateway.call({"best_of": 2, "stream": True})).events
    assert is_openai_error(error)
    assert (error["error"]["code"], done) == ("generation_failed", "[DONE]")
    assert gateway.counted("generation_failed") == 1


async def test_leaving_a_stream_ends_its_comments_and_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.http.answer_sender, "_KEEP_ALIVE_S", 0.001)
    before = asyncio.all_tasks()
    sampler = FakeSampler(says("a", held=True), says("bb", held=True))
    gateway, _ = served(lambda: sampler)
    messages: list[Message] = []
    task = asyncio.create_task(gateway.call({"best_of": 2, "stream": True}, messages=messages))
    await until(lambda: len(messages) > 2)
    await cancelled(task)
    await settle()
    assert (sampler.running, asyncio.all_tasks() - before) == (set(), set())
    assert gateway.counted("cancelled") == 1


async def test_comments_go_on_after_an_early_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.http.answer_sender, "_KEEP_ALIVE_S", 0.002)
    sampler = FakeSampler(says("a", held=True), says("bb"))
    gateway, _ = served(lambda: sampler, early=sse({"type": "response.created"}))
    messages: list[Message] = []
    options = {"path": "/v1/responses", "messages": messages}
    task = asyncio.create_task(gateway.call({"best_of": 2, "stream": True}, **options))
    await asyncio.sleep(0.03)
    sampler.release(0)
    reply = await task
    assert any(chunk.startswith(b": ") for chunk in reply.chunks)


async def test_a_connection_that_breaks_under_a_comment_still_ends_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.http.answer_sender, "_KEEP_ALIVE_S", 0.001)
    sampler = FakeSampler(says("a", held=True))
    orphan: list[asyncio.Task[Any]] = []
    gateway = Served(_forgetful(sampler, orphan))

    async def broken(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("connection lost")

    with pytest.raises((OSError, ValueError)):
        await gateway.call({"best_of": 2, "stream": True}, send=broken)
    left = set(sampler.running)
    sampler.release(0)
    await cancelled(orphan[0])
    assert (left, gateway.requests) == (set(), 1)


def _forgetful(sampler: FakeSampler, orphan: list[asyncio.Task[Any]]) -> ASGIApp:
    """Starts a stream and a candidate, and goes away when the connection has had time to break."""

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        context = current_request.get()
        assert context is not None
        run = make_run(sampler, plan=plan_for(1))
        context.runs.append(run)
        orphan.append(asyncio.create_task(run.best()))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await asyncio.sleep(0.02)

    return inner


async def test_a_client_that_leaves_is_cancelled_whatever_the_application_answers_then() -> None:
    async def vllm(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await answers(200, b"null")(scope, receive, send)

    incoming: Iterator[Message] = iter([{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}])
    gateway = Served(vllm)

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        return None

    await gateway.app({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)
    assert gateway.counted("cancelled") == gateway.requests == 1
