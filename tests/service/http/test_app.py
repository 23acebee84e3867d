"""The application: our routes and middleware in front of vLLM's."""

import json
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.load.admission import Admission
from tests.service.fakes import answers, call, is_openai_error
from tests.service.http.served import app_over, vllm_of_two


class NeedsKey:
    """Stands for vLLM's own authentication."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = scope["type"] != "http" or (b"authorization", b"Bearer key") in scope["headers"]
        app = self._app if allowed else answers(401, {"error": "Unauthorized"})
        await app(scope, receive, send)


# -- routes


async def test_ready_says_ready() -> None:
    reply = await call(app_over(answers(404, {})), path="/ready", method="GET")
    assert (reply.status, reply.json) == (200, {"status": "ready"})


async def test_not_ready_is_a_503() -> None:
    reply = await call(app_over(answers(404, {}), problem="down"), path="/ready", method="GET")
    assert reply.status == 503


async def test_both_versions_are_told() -> None:
    reply = await call(app_over(answers(404, {})), path="/version", method="GET")
    assert reply.json["version"] == "0.0.test"
    assert reply.json["bestofn"]


async def test_everything_else_is_vllms() -> None:
    reply = await call(app_over(answers(200, b"metrics", "text/plain")), path="/metrics", method="GET")
    assert reply.body == b"metrics"


async def test_a_completion_passes_through_everything() -> None:
    reply = await call(app_over(vllm_of_two()), {"best_of": 2})
    assert (reply.json["rerank"]["selected"], reply.status) == ([0], 200)


async def test_the_lifespan_is_the_one_given() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        seen.append("up")
        yield
        seen.append("down")

    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app_over(answers(200, {}), lifespan=lifespan)({"type": "lifespan"}, receive, send)
    assert seen == ["up", "down"]
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# -- headers


async def test_a_refusal_for_load_keeps_its_headers() -> None:
    admission = Admission(1, max_queued=0)
    admission.ticket()
    reply = await call(app_over(answers(200, {}), admission=admission), {})
    assert (reply.status, reply.headers["x-should-retry"]) == (429, "true")
    assert int(reply.headers["retry-after"]) >= 1
    assert is_openai_error(reply.json)


# -- authentication


async def test_who_may_not_ask_takes_up_no_place_and_is_told_in_openais_shape() -> None:
    inner, admission = vllm_of_two(), Admission(1)
    app = app_over(inner, admission=admission, guards=[Middleware(NeedsKey)])
    taken = admission.ticket()
    refused = await call(app, {"best_of": 2})
    taken.close()
    assert (refused.status, refused.json["error"]["type"]) == (401, "authentication_error")
    assert is_openai_error(refused.json)
    assert inner.requests == []
    allowed = await call(app, {"best_of": 2}, headers={"Authorization": "Bearer key"})
    assert allowed.status == 200


# -- what once went wrong


async def test_not_ready_says_why() -> None:
    reply = await call(app_over(answers(404, {}), problem="the reward model is down"), path="/ready", method="GET")
    assert reply.status == 503
    assert "the reward model is down" in reply.body.decode()


async def test_an_unexpected_exception_is_answered_in_openais_shape() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("bug")

    messages: list[Message] = []
    with pytest.raises(KeyError):
        await call(app_over(inner), {}, messages=messages)
    body = json.loads(messages[-1]["body"])
    assert is_openai_error(body)
    assert "bug" not in body["error"]["message"]
