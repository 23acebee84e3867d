"""The ASGI application: our middleware and routes in front of vLLM's."""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.gateway import Gateway
from service.load.admission import Admission
from service.load.latency_controller import SloController
from service.observe.metrics import Metrics
from service.page.routes import page_routes
from service.records.candidate_log import CandidateLog
from service.records.choices import preference_routes
from service.rerank.errors import EngineDown, InvalidRequest, ServiceError, error_body
from service.rerank.prices import Prices
from service.rerank.request import Limits

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(
    inner: ASGIApp,
    *,
    limits: Limits,
    admission: Admission,
    metrics: Metrics,
    prices: Prices | None = None,
    candidate_log: CandidateLog | None = None,
    slo: SloController | None = None,
    guards: list[Middleware],
    check_ready: Callable[[], Awaitable[str | None]],
    engine_version: str,
    root_path: str = "",
    lifespan: Lifespan | None = None,
) -> Starlette:
    """inner: vLLM's application. guards: what a request passes before anything is done for it, outermost first.

    check_ready: why the server cannot answer now, or None when it can.
    """

    async def ready(_: Request) -> Response:
        problem = await check_ready()
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse(error_body(EngineDown(problem)), status_code=503)

    async def versions(_: Request) -> Response:
        return JSONResponse({"version": engine_version, "bestofn": version("bestofn-server")})

    return Starlette(
        routes=[
            Route("/ready", ready),
            Route("/version", versions),
            *preference_routes(candidate_log),
            *page_routes(),
            Mount("/", inner),
        ],
        middleware=[
            Middleware(RootPath, root_path=root_path),
            Middleware(RequestId),
            Middleware(OpenAIErrors),
            *guards,
            Middleware(
                Gateway,
                limits=limits,
                admission=admission,
                metrics=metrics,
                prices=prices,
                candidate_log=candidate_log,
                slo=slo,
            ),
        ],
        exception_handlers={Exception: _unexpected},
        lifespan=lifespan,
    )


async def _unexpected(_: Request, error: Exception) -> Response:
    return JSONResponse(error_body(ServiceError(f"internal error: {type(error).__name__}")), status_code=500)


class RootPath:
    """Tells every layer below the prefix under which a proxy shows the server (`--root-path`)."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": self._root_path or scope.get("root_path", "")}, receive, send)


class RequestId:
    """Echoes `x-request-id`, or makes one, and adds `openai-processing-ms`: time until the answer began."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        request_id = Headers(scope=scope).get("x-request-id") or uuid.uuid4().hex
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers["x-request-id"] = request_id

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(raw=list(message.get("headers", [])))
                answer["x-request-id"] = request_id
                answer["openai-processing-ms"] = str(round((time.monotonic() - started_s) * 1000))
                message = {**message, "headers": answer.raw}
            await send(message)

        await self._app({**scope, "headers": headers.raw}, receive, stamped)


class OpenAIErrors:
    """Gives every error answer OpenAI's shape, whichever layer made it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        body = bytearray()

        async def shaped(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
            elif start is None:
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await _send_shaped(send, start, bytes(body))

        await self._app(scope, receive, shaped)


async def _send_shaped(send: Send, start: Message, body: bytes) -> None:
    status = 400 if start["status"] == 422 else start["status"]
    shaped = json.dumps(openai_error(body, status)).encode()
    headers = MutableHeaders(raw=list(start.get("headers", [])))
    headers["content-type"] = "application/json"
    headers["content-length"] = str(len(shaped))
    await send({**start, "status": status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": shaped})


_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def openai_error(body: bytes, status: int) -> dict[str, Any]:
    """An error body in OpenAI's shape; one that has it already stays as it is."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = body.decode(errors="replace")
    detail = answer.get("error", answer.get("detail")) if isinstance(answer, dict) else answer
    if isinstance(answer, dict) and isinstance(detail, dict) and "message" in detail:
        return {**answer, "error": {"type": None, "param": None, "code": None} | detail}
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        error = field_error(detail[0])
        return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}
    message = detail if isinstance(detail, str) and detail else f"HTTP {status}"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def field_error(problem: Mapping[str, Any]) -> InvalidRequest:
    """One of FastAPI's validation problems, as a sentence that names the field."""
    field = ".".join(str(part) for part in problem.get("loc", ()) if part != "body" and "[" not in str(part))
    text = str(problem.get("msg", "is not valid"))
    return InvalidRequest(f"{field}: {text}" if field else text, param=field or None)
