"""Every answer says which request it answers, and how long that took."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tests.service.fakes import answers, call
from tests.service.http.served import app_over, vllm_of_two


async def test_a_request_id_is_echoed() -> None:
    reply = await call(app_over(vllm_of_two()), {"best_of": 2}, headers={"X-Request-Id": "mine"})
    assert reply.headers["x-request-id"] == "mine"


async def test_without_a_request_id_each_request_gets_its_own() -> None:
    app = app_over(answers(200, {}))
    replies = await asyncio.gather(*(call(app, {}) for _ in range(3)))
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3


async def test_vllm_gets_the_same_request_id() -> None:
    seen: list[bytes] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"])[b"x-request-id"])
        await answers(200, {})(scope, receive, send)

    reply = await call(app_over(inner), {})
    assert seen == [reply.headers["x-request-id"].encode()]


@pytest.mark.parametrize(("body", "status"), [({}, 200), ({"best_of": 0}, 400)])
async def test_every_answer_says_how_long_it_took_and_who_it_is_for(body: Any, status: int) -> None:
    reply = await call(app_over(answers(200, {})), body)
    assert reply.status == status
    assert int(reply.headers["openai-processing-ms"]) >= 0
    assert reply.headers["x-request-id"]


async def test_an_application_may_answer_without_headers() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"fine"})

    assert (await call(app_over(inner), path="/other", method="GET")).body == b"fine"
