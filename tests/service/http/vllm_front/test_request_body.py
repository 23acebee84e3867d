"""A body that vLLM can read: names of models in place of aliases, and only characters."""

import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http.vllm_front.request_body import RequestBody
from tests.service.fakes import Reply, call, is_openai_error

JSON = {"content-type": "application/json; charset=utf-8"}


async def sent(body: Any, headers: dict[str, str] | None = None, **options: Any) -> tuple[Reply, bytes | None]:
    """The answer, and what came through; None where nothing did."""
    through: list[bytes] = []

    async def vllm(scope: Scope, receive: Receive, send: Send) -> None:
        whole, more = b"", True
        while more:
            message = await receive()
            whole, more = whole + message["body"], message["more_body"]
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        assert lengths in ([], [str(len(whole)).encode()])
        through.append(whole)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    reply = await call(RequestBody(vllm, 16), body, path="/tokenize", headers=headers or JSON, **options)
    return reply, through[0] if through else None


@pytest.mark.parametrize(
    ("model", "behind"),
    [("a:best-of-12", "a"), ("org/lora:best-of-4", "org/lora"), ("a", "a"), ("a:best-of-x", "a:best-of-x"), (3, 3)],
)
async def test_an_alias_is_the_model_behind_it(model: Any, behind: Any) -> None:
    _, through = await sent({"model": model, "prompt": "say :best-of-3"})
    assert through is not None
    assert json.loads(through) == {"model": behind, "prompt": "say :best-of-3"}


@pytest.mark.parametrize("best_of", ["0", "17", "9" * 5000])
async def test_an_alias_out_of_bounds_is_refused_by_name(best_of: str) -> None:
    reply, through = await sent({"model": f"a:best-of-{best_of}"})
    assert (reply.status, reply.json["error"]["param"], through) == (400, "model", None)
    assert is_openai_error(reply.json)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"stop": ["a", "\\ud800"]}', "stop.1"),
        (b'{"a": "\\ud83d\\ude00", "bad_words": ["\\uDE00x"]}', "bad_words.0"),
        (b'{"messages": [{"content": "\xed\xa0\x80"}]}', "messages.0.content"),
        (b'{"tools": [{"\\udfff": 1}]}', "tools.0"),
        (b'{"\\ud800": 1}', "body"),
        (b'["\\ud800"]', "0"),
        (b'"\\ud800"', "body"),
        ('{"a": "\\ud800"}'.encode("utf-16"), "a"),
        (b'{"a": ' + b"[" * 800 + b'"\\ud800"' + b"]" * 800 + b"}", "a" + ".0" * 800),
    ],
)
async def test_half_of_a_surrogate_pair_is_refused_by_the_field_that_holds_it(body: bytes, field: str) -> None:
    reply, through = await sent(body)
    assert (reply.status, reply.json["error"]["param"], through) == (400, field, None)
    assert is_openai_error(reply.json)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\\ud83d\\ude00 \\u0041"}',
        '{"a": "\ud55c\uad6d\uc5b4 \U0001f600"}'.encode(),
        b'{"a": "\\ud800',
        b'{"x": ":best-of-4"}',
        b"\x00\xff",
        b"[" * 100_000 + b'"\\ud800"',
        b"",
    ],
)
async def test_everything_else_passes_byte_for_byte(body: bytes) -> None:
    reply, through = await sent(body)
    assert (reply.status, through) == (200, body)


@pytest.mark.parametrize(
    "options", [{"headers": {"content-type": "multipart/form-data"}}, {"method": "PUT"}, {"headers": {"x": "y"}}]
)
async def test_only_json_is_looked_into(options: dict[str, Any]) -> None:
    body = b'{"model": "a:best-of-4", "stop": "\\ud800"}'
    assert (await sent(body, **options))[1] == body


async def test_who_leaves_before_the_body_is_whole_is_told_of_as_gone() -> None:
    incoming: list[Message] = [
        {"type": "http.request", "body": b'{"model": "a:best-', "more_body": True},
        {"type": "http.disconnect"},
    ]
    seen: list[Message] = []

    async def vllm(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([await receive(), await receive()])

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    raw = [(b"content-type", b"application/json")]
    await RequestBody(vllm, 16)({"type": "http", "method": "POST", "headers": raw}, receive, send)
    assert seen[-1] == {"type": "http.disconnect"}
