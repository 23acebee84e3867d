"""Every error has OpenAI's shape, whichever layer made it."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http.openai_errors import field_error, openai_error
from tests.service.fakes import answers, call
from tests.service.http.served import app_over


@pytest.mark.parametrize(
    ("status", "body", "message", "kind"),
    [
        (404, {"detail": "Not Found"}, "Not Found", "not_found_error"),
        (405, b"Method Not Allowed", "Method Not Allowed", "invalid_request_error"),
        (500, b"Internal Server Error", "Internal Server Error", "server_error"),
        (503, b"", "HTTP 503", "server_error"),
        (401, {"error": "Unauthorized"}, "Unauthorized", "authentication_error"),
        (400, b"\xff\xfe", "\ufffd\ufffd", "invalid_request_error"),
        (429, {"unknown": 1}, "HTTP 429", "rate_limit_error"),
        (400, b"[]", "HTTP 400", "invalid_request_error"),
    ],
)
async def test_any_error_comes_out_in_openais_shape(status: int, body: Any, message: str, kind: str) -> None:
    reply = await call(app_over(answers(status, body)), path="/v1/models", method="GET")
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert reply.json == {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def test_an_error_in_openais_shape_keeps_every_word() -> None:
    error = {"message": "m", "type": "t", "param": "p", "code": 400, "more": 1}
    reply = await call(app_over(answers(400, {"error": error})), path="/v1/models")
    assert reply.json == {"error": error}


def test_missing_keys_of_an_error_are_null() -> None:
    shaped = openai_error(json.dumps({"error": {"message": "m"}}).encode(), 400)
    assert shaped == {"error": {"message": "m", "type": None, "param": None, "code": None}}


async def test_an_error_in_pieces_is_put_together() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"not ", "more_body": True})
        await send({"type": "http.response.body", "body": b"here"})

    reply = await call(app_over(inner), path="/v1/models", method="GET")
    assert reply.json["error"]["message"] == "not here"


async def test_a_successful_stream_is_not_held_back() -> None:
    messages: list[Message] = []
    held = asyncio.Event()

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await held.wait()
        await send({"type": "http.response.body", "body": b"b"})

    task = asyncio.create_task(call(app_over(inner), path="/other", method="GET", messages=messages))
    await asyncio.sleep(0.01)
    assert [message.get("body") for message in messages] == [None, b"a"]
    held.set()
    assert (await task).body == b"ab"


async def test_fastapis_422_is_a_400_that_names_the_field() -> None:
    detail = [{"type": "missing", "loc": ["body", "input"], "msg": "Field required"}]
    reply = await call(app_over(answers(422, {"detail": detail})), path="/tokenize")
    assert reply.status == 400
    assert "input" in reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("problem", "message", "param"),
    [
        (
            {"loc": ["body", "messages", 0, "role"], "msg": "Field required"},
            "messages.0.role: Field required",
            "messages.0.role",
        ),
        ({"loc": ["body"], "msg": "JSON decode error"}, "JSON decode error", None),
        ({"loc": ["body", "list[str]", "stop"], "msg": "too long"}, "stop: too long", "stop"),
        ({}, "is not valid", None),
    ],
    ids=["path", "body", "union", "nothing"],
)
def test_a_validation_problem_is_one_sentence(problem: dict[str, Any], message: str, param: str | None) -> None:
    error = field_error(problem)
    assert (str(error), error.param) == (message, param)
