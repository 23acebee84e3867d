"""What clients of a server that stops are answered, by the middleware that is there when nothing else is."""

import asyncio
import time
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.dialects import Event
from service.http.middleware.drain import Drain
from service.http.rerank_object import Json
from service.load.lifecycle import Lifecycle
from service.rerank.errors import ShuttingDown
from tests.service.fakes import CHAT, Reply, answers, call, is_openai_error


class Stuck:
    """An application that has sent so much, and then waits for ever, whatever its request is made to do."""

    def __init__(self, *sent: dict[str, Any]) -> None:
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for message in self._sent:
            await send(message)
        await asyncio.Event().wait()


def start(content_type: str) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type.encode())]}


def piece(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def answered_at_the_end(app: ASGIApp, path: str = CHAT) -> Reply:
    lifecycle = Lifecycle()
    asking = asyncio.create_task(call(Drain(app, lifecycle), {}, path=path))
    await asyncio.sleep(0.01)
    lifecycle.stop()
    async with asyncio.timeout(5):
        await lifecycle.drained()
        return await asking


async def test_a_server_that_drains_takes_no_new_request_and_can_still_be_looked_at() -> None:
    lifecycle = Lifecycle(drain_s=60)
    app = Drain(answers(200, {"object": "answer"}), lifecycle)
    assert (await call(app, {})).status == 200
    lifecycle.stop()
    refused = await call(app, {})
    assert (refused.status, refused.headers["retry-after"], refused.headers["x-should-retry"]) == (503, "1", "true")
    assert refused.json["error"]["code"] == "shutting_down"
    assert is_openai_error(refused.json)
    assert (await call(app, path="/metrics", method="GET")).status == 200


async def test_who_has_had_nothing_yet_gets_a_503() -> None:
    reply = await answered_at_the_end(Stuck())
    assert (reply.status, reply.json["error"]["code"]) == (503, "shutting_down")


async def test_a_stream_ends_with_the_error() -> None:
    reply = await answered_at_the_end(Stuck(start("text/event-stream; charset=utf-8"), piece(b"data: {}\n\n")))
    first, error, done = reply.events
    assert (first, error["error"]["code"], done) == ({}, "shutting_down", "[DONE]")


async def test_a_stream_of_messages_ends_as_anthropics_do() -> None:
    opened = Event({"type": "message_start"}, "message_start").encode()
    reply = await answered_at_the_end(Stuck(start("text/event-stream"), piece(opened)), "/v1/messages")
    assert reply.body.startswith(opened + b"event: error\n")
    assert [event["type"] for event in reply.events] == ["message_start", "error"]
    assert reply.events[1]["error"]["type"] == "api_error"


async def test_a_stream_of_a_response_ends_with_the_response_that_failed() -> None:
    created: Json = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress"}}
    grown: Json = {"type": "response.output_text.delta", "sequence_number": 7, "delta": "x"}
    pieces = [piece(Event(event, event["type"]).encode()) for event in (created, grown)]
    reply = await answered_at_the_end(Stuck(start("text/event-stream"), *pieces), "/v1/responses")
    *_, error, failed = reply.events
    assert (error["type"], error["code"], error["sequence_number"]) == ("error", "shutting_down", 8)
    assert (failed["type"], failed["response"]["id"], failed["response"]["status"]) == (
        "response.failed",
        "r",
        "failed",
    )


async def test_half_a_whole_answer_stays_half() -> None:
    """Nothing says that it is the whole, so the server closes the connection."""
    messages: list[Message] = []
    lifecycle = Lifecycle()
    app = Drain(Stuck(start("application/json"), piece(b'{"half": ')), lifecycle)
    asking = asyncio.create_task(call(app, {}, messages=messages))
    await asyncio.sleep(0.01)
    lifecycle.stop()
    await lifecycle.drained()
    await asyncio.wait([asking], timeout=5)
    assert messages == [start("application/json"), piece(b'{"half": ')]
    with pytest.raises(AssertionError):  # no whole answer
        asking.result()


async def test_an_error_that_was_raised_becomes_the_answer() -> None:
    async def raising(scope: Scope, receive: Receive, send: Send) -> None:
        raise ShuttingDown("no more", retry_after_s=2)

    reply = await call(Drain(raising, Lifecycle()), {})
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")


async def test_whoever_cancels_a_request_of_a_living_server_is_obeyed() -> None:
    asking = asyncio.create_task(call(Drain(Stuck(), Lifecycle()), {}))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
async def test_who_does_not_read_keeps_no_server_from_its_end(content_type: str) -> None:
    """Its buffers are full: whatever is sent waits, the error too."""
    lifecycle, full = Lifecycle(), asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            full.set()
            await asyncio.Event().wait()

    app = Drain(Stuck(start(content_type), piece(b"data: {}\n\n")), lifecycle)
    asking = asyncio.create_task(call(app, {}, send=send))
    await full.wait()
    lifecycle.stop()
    began_s = time.monotonic()
    await lifecycle.drained()
    assert time.monotonic() - began_s < 0.6  # 0.3, and not the 0.7 after which it is left alone
    await asyncio.wait([asking], timeout=0.1)
    assert asking.done()
