"""What clients of a server that stops are answered, by the middleware that is there when nothing else is."""

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.drain import Drain
from service.load.lifecycle import Lifecycle
from service.rerank.errors import ShuttingDown
from tests.service.fakes import Reply, answers, call, is_openai_error


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


async def answered_at_the_end(app: ASGIApp) -> Reply:
    lifecycle = Lifecycle()
    asking = asyncio.create_task(call(Drain(app, lifecycle), {}))
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
    events = reply.body.decode().split("\n\n")
    assert events[0] == "data: {}"
    assert '"code": "shutting_down"' in events[1]
    assert events[2:] == ["data: [DONE]", ""]


async def test_half_a_whole_answer_gets_nothing_added() -> None:
    reply = await answered_at_the_end(Stuck(start("application/json"), piece(b'{"half": ')))
    assert reply.body == b'{"half": '


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
