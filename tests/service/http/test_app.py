"""The application: our routes and middleware in front of vLLM's."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.app import create_app
from service.http.dependencies import Dependencies
from service.http.openai_errors import openai_error
from service.load.admission import Admission
from service.observe.metrics import Metrics
from tests.service.fakes import LIMITS, FakeSampler, FakeScorer, FakeVllm, answers, call, is_openai_error, says


class NeedsKey:
    """Stands for vLLM's own authentication."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = scope["type"] != "http" or (b"authorization", b"Bearer key") in scope["headers"]
        app = self._app if allowed else answers(401, {"error": "Unauthorized"})
        await app(scope, receive, send)


def app_over(
    inner: ASGIApp, *, admission: Admission | None = None, problem: str | None = None, **options: Any
) -> Starlette:
    async def check_ready() -> str | None:
        return problem

    return create_app(
        inner,
        Dependencies(LIMITS, admission or Admission(512), Metrics(CollectorRegistry(), "0")),
        guards=options.pop("guards", []),
        check_ready=check_ready,
        engine_version="0.0.test",
        **options,
    )


def two() -> FakeVllm:
    return FakeVllm(lambda: FakeSampler(says("a"), says("bb")), FakeScorer({"a": 1.0}))


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
    reply = await call(app_over(two()), {"best_of": 2})
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


async def test_a_request_id_is_echoed() -> None:
    reply = await call(app_over(two()), {"best_of": 2}, headers={"X-Request-Id": "mine"})
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


async def test_a_refusal_for_load_keeps_its_headers() -> None:
    admission = Admission(1)
    with admission.hold(1):
        reply = await call(app_over(answers(200, {}), admission=admission), {})
    assert (reply.status, reply.headers["x-should-retry"]) == (429, "true")
    assert int(reply.headers["retry-after"]) >= 1
    assert is_openai_error(reply.json)


# -- authentication


async def test_who_may_not_ask_takes_up_no_place_and_is_told_in_openais_shape() -> None:
    inner, admission = two(), Admission(2)
    app = app_over(inner, admission=admission, guards=[Middleware(NeedsKey)])
    with admission.hold(2):
        refused = await call(app, {"best_of": 2})
    assert (refused.status, refused.json["error"]["type"]) == (401, "authentication_error")
    assert is_openai_error(refused.json)
    assert inner.requests == []
    allowed = await call(app, {"best_of": 2}, headers={"Authorization": "Bearer key"})
    assert allowed.status == 200


# -- the shape of errors


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


async def test_fastapis_422_is_a_400_that_names_the_field() -> None:
    detail = [{"type": "missing", "loc": ["body", "input"], "msg": "Field required"}]
    reply = await call(app_over(answers(422, {"detail": detail})), path="/tokenize")
    assert reply.status == 400
    assert "input" in reply.json["error"]["message"]


async def test_an_application_may_answer_without_headers() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"fine"})

    assert (await call(app_over(inner), path="/other", method="GET")).body == b"fine"


async def test_below_a_root_path_the_gateway_still_sees_its_endpoints() -> None:
    app = app_over(answers(200, {"choices": []}), root_path="/api")
    reply = await call(app, {"best_of": "four"}, path="/api/v1/chat/completions")
    assert (reply.status, reply.json["error"]["param"]) == (400, "best_of")
