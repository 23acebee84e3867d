"""Every error has OpenAI's shape, whichever layer made it."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from service.http.dialects import dialect_of
from service.http.openai_errors import openai_error
from tests.service.fakes import answers, call
from tests.service.http.served import app_over

_NAMES = ["error", "detail", "message", "type", "param", "code"]


@pytest.mark.parametrize(
    ("status", "body", "message", "kind"),
    [
        (404, {"detail": "Not Found"}, "Not Found", "not_found_error"),
        (405, b"Method Not Allowed", "Method Not Allowed", "invalid_request_error"),
        (500, b"Internal Server Error", "Internal Server Error", "server_error"),
        (503, b"", "HTTP 503", "server_error"),
        (500, {"error": {"message": " ", "type": "InternalServerError"}}, "HTTP 500", "server_error"),
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
    assert shaped == {"message": "m", "type": None, "param": None, "code": None}


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
    ("status", "kind"), [(400, "invalid_request_error"), (404, "not_found_error"), (401, "authentication_error")]
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/api/v1/messages"])
async def test_an_error_of_messages_has_anthropics_shape(path: str, status: int, kind: str) -> None:
    error = {"message": "m", "type": "BadRequestError", "param": "p", "code": "c"}
    app = app_over(answers(status, {"error": error}), root_path="/api" if path.startswith("/api") else "")
    reply = await call(app, b"", path=path, method="GET")
    assert (reply.status, reply.json) == (status, {"type": "error", "error": error | {"type": kind}})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(_NAMES), inner),
    max_leaves=12,
)
_problems = st.lists(
    st.fixed_dictionaries(
        {}, optional={"loc": st.lists(st.text() | st.integers()) | _json, "msg": _json, "type": _json, "ctx": _json}
    )
    | _json
)
_bodies = st.binary() | st.one_of(
    _json, st.fixed_dictionaries({"error": _json}), st.fixed_dictionaries({"detail": _problems})
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=400, deadline=None)
@given(_bodies, st.sampled_from([400, 401, 404, 415, 422, 424, 429, 500, 503, 504]))
def test_whatever_an_inner_error_holds_it_gets_the_shape(body: bytes, status: int) -> None:
    for path in ("/v1/chat/completions", "/v1/messages"):
        shaped = dialect_of(path).error_body(openai_error(body, status), status)
        error = json.loads(json.dumps(shaped), parse_constant=pytest.fail)["error"]
        assert {"message", "type", "param", "code"} <= error.keys()
        assert isinstance(error["message"], str)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_an_error_body_too_deep_to_be_written_again_is_its_text(depth: int) -> None:
    body = b'{"error": {"message": "m", "more": ' + b"[" * depth + b"]" * depth + b"}}"
    json.dumps(openai_error(body, 500))
