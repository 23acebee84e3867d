"""An answer's way out: passed on, patched or replaced, with comments until it comes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.rerank.context import current_request
from service.rerank.request import ENDPOINTS, Limits
from tests.service.fakes import (
    CHAT,
    FakeSampler,
    FakeScorer,
    FakeVllm,
    Reply,
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
from tests.service.http.served import REWARDS, Served, served, stream_with_comments, two


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


async def test_comments_tell_that_work_goes_on() -> None:
    reply = await stream_with_comments(4)
    assert reply.chunks[0] == b": 1 of 2 candidates finished\n"
    assert reply.events[-1] == "[DONE]"


async def test_no_comment_comes_behind_the_end() -> None:
    async def lingers(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": sse("[DONE]"), "more_body": True})
        await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b""})

    reply = await Served(lingers, stream_comments_s=0.001).call({"best_of": 2, "stream": True})
    assert reply.body.startswith(b": 0 of 0 candidates finished\n")
    assert reply.body.endswith(sse("[DONE]"))


async def test_a_stream_that_has_not_begun_fails_with_the_status_of_its_error() -> None:
    gateway, _ = served(lambda: FakeSampler(*[Script(reason="error")] * 2))
    reply = await gateway.call({"best_of": 2, "stream": True})
    assert (reply.status, reply.json["error"]["code"]) == (502, "generation_failed")
    assert is_openai_error(reply.json)
    assert gateway.counted("generation_failed") == gateway.requests == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_stream_that_has_begun_fails_in_the_words_of_its_endpoint(endpoint: str) -> None:
    sampler = FakeSampler(says("a", held=True), Script(reason="error"))
    gateway = Served(
        _breaking(sampler, [*_OPENED.get(endpoint, [])], asked_of=ENDPOINTS[endpoint]), stream_comments_s=0.005
    )
    messages: list[Message] = []
    body = {"best_of": 2, "stream": True, "rerank": {"min_reward": 9.0}}
    task = asyncio.create_task(gateway.call(body, path=endpoint, messages=messages))
    await until(lambda: len(messages) > 2)
    sampler.release(0)
    reply = await task
    assert reply.status == 200
    error = {
        "message": "the best candidate's reward is 1; rerank.min_reward asks for at least 9",
        "type": "quality_error",
        "param": "rerank.min_reward",
        "code": "below_min_reward",
    }
    if endpoint == "/v1/responses":
        _, told, failed = reply.events
        flat = {name: error[name] for name in ("code", "message", "param")}
        assert told == {"type": "error", "sequence_number": 1, **flat, "error": error}
        assert (failed["type"], failed["sequence_number"]) == ("response.failed", 2)
        assert failed["response"]["error"] == {"code": "below_min_reward", "message": error["message"]}
        assert (failed["response"]["id"], failed["response"]["status"]) == ("r", "failed")
        assert failed["response"]["rerank"]["sampled"] == 2
        assert [line for line in reply.body.split(b"\n") if line.startswith(b"event:")][-2:] == [
            b"event: error",
            b"event: response.failed",
        ]
    elif endpoint == "/v1/messages":
        assert reply.events == [{"type": "error", "error": error}]
        assert b"event: error\n" in reply.body
    else:
        assert reply.events == [{"error": error}, "[DONE]"]
    assert gateway.counted("below_min_reward", endpoint=ENDPOINTS[endpoint]) == gateway.requests == 1


_OPENED = {
    "/v1/responses": [{"type": "response.created", "sequence_number": 0, "response": {"id": "r", "usage": None}}]
}


def _breaking(sampler: FakeSampler, opened: list[Any], asked_of: str) -> ASGIApp:
    """A stream that vLLM begins and does not end: the error of ours comes out of its application."""
    vllm = FakeVllm(lambda: sampler, FakeScorer({"a": 1.0}), early=b"".join(map(sse, opened)))

    async def broken(send: Send, error: Exception, *, stream: bool) -> None:
        raise RuntimeError("response already started") from error

    vllm._fail = broken  # type: ignore[method-assign]
    return vllm


async def test_a_stream_nobody_can_end_by_an_error_of_ours_is_ended_and_left_to_the_log() -> None:
    async def vllm(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": sse({"choices": []}), "more_body": True})
        raise ZeroDivisionError

    gateway, messages = Served(vllm), list[Message]()
    with pytest.raises(ZeroDivisionError):
        await gateway.call({"stream": True}, messages=messages)
    _, error, done = Reply.of(messages).events
    assert (error["error"]["code"], done) == ("internal_error", "[DONE]")
    assert gateway.counted("error") == gateway.requests == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_whatever_vllm_makes_of_an_error_of_ours_the_client_gets_ours(endpoint: str) -> None:
    vllm = FakeVllm(two, FakeScorer(REWARDS))

    async def as_500(send: Send, error: Exception, *, stream: bool) -> None:
        await answers(500, {"error": {"message": str(error), "type": "InternalServerError"}})({}, None, send)  # type: ignore[arg-type]

    vllm._fail = as_500  # type: ignore[method-assign]
    gateway = Served(vllm)
    reply = await gateway.call({"best_of": 2, "rerank": {"min_reward": 9.0}}, path=endpoint)
    assert (reply.status, reply.json["error"]["code"]) == (424, "below_min_reward")
    assert gateway.counted("below_min_reward", endpoint=ENDPOINTS[endpoint]) == gateway.requests == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_headers_tell_what_was_chosen_where_it_is_known_before_the_body(stream: bool) -> None:
    gateway, _ = served()
    reply = await gateway.call({"best_of": 2, "stream": stream})
    told = {name: value for name, value in reply.headers.items() if name.startswith("x-bestofn-")}
    names = ("x-bestofn-reward", "x-bestofn-best-of", "x-bestofn-sampled", "x-bestofn-generated-tokens")
    assert told == dict(zip(names, ("2.0", "2", "2", "3"), strict=True))


async def test_a_stream_that_began_before_the_choice_has_no_headers_of_it() -> None:
    reply = await stream_with_comments(3)
    assert not [name for name in reply.headers if name.startswith("x-bestofn-")]


async def test_no_candidate_is_told_of_where_nobody_asked_for_more_than_one() -> None:
    gateway, _ = served(lambda: FakeSampler(says("a")))
    reply = await gateway.call({"messages": [{}]})
    assert not [name for name in reply.headers if name.startswith("x-bestofn-")]


async def test_leaving_a_stream_ends_its_comments_and_candidates() -> None:
    before = asyncio.all_tasks()
    sampler = FakeSampler(says("a", held=True), says("bb", held=True))
    gateway, _ = served(lambda: sampler, stream_comments_s=0.001)
    messages: list[Message] = []
    task = asyncio.create_task(gateway.call({"best_of": 2, "stream": True}, messages=messages))
    await until(lambda: len(messages) > 2)
    await cancelled(task)
    await settle()
    assert (sampler.running, asyncio.all_tasks() - before) == (set(), set())
    assert gateway.counted("cancelled") == 1


async def test_comments_go_on_after_an_early_event() -> None:
    sampler = FakeSampler(says("a", held=True), says("bb"))
    gateway, _ = served(lambda: sampler, early=sse({"type": "response.created"}), stream_comments_s=0.002)
    messages: list[Message] = []
    options = {"path": "/v1/responses", "messages": messages}
    task = asyncio.create_task(gateway.call({"best_of": 2, "stream": True}, **options))
    await until(lambda: any(message.get("body", b"").startswith(b": ") for message in messages))
    sampler.release(0)
    reply = await task
    assert any(chunk.startswith(b": ") for chunk in reply.chunks)


async def test_a_connection_that_breaks_under_a_comment_still_ends_everything() -> None:
    sampler = FakeSampler(says("a", held=True))
    orphan: list[asyncio.Task[Any]] = []
    gateway = Served(_forgetful(sampler, orphan), stream_comments_s=0.001)

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
