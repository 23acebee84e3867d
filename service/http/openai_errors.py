"""The shape of every error answer: OpenAI's, or that of the endpoint's own dialect."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.body import path_of
from service.http.dialects import dialect_of
from service.http.rerank_object import Json
from service.http.validation import field_error
from service.rerank.errors import error_body

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class OpenAIErrors:
    """Gives every error answer the shape of its endpoint, whichever layer made it."""

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
                    await _send_shaped(send, start, bytes(body), path_of(scope))

        await self._app(scope, receive, shaped)


async def _send_shaped(send: Send, start: Message, body: bytes, path: str) -> None:
    status = 400 if start["status"] == 422 else start["status"]
    error = openai_error(body, status)
    shaped = json.dumps(dialect_of(path).error_body(error, status)).encode()
    headers = MutableHeaders(raw=list(start.get("headers", [])))
    headers["content-type"] = "application/json"
    headers["content-length"] = str(len(shaped))
    await send({**start, "status": status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": shaped})


def openai_error(body: bytes, status: int) -> Json:
    """OpenAI's error object for any error body; one that has it already stays as it is."""
    answer = _read(body)
    detail = answer.get("error", answer.get("detail")) if isinstance(answer, dict) else answer
    if isinstance(detail, dict) and isinstance(detail.get("message"), str) and detail["message"].strip():
        return {"type": None, "param": None, "code": None} | detail
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    if isinstance(detail, list) and any(isinstance(problem, Mapping | str) for problem in detail):
        return {**error_body(field_error(detail))["error"], "type": kind}
    message = detail if isinstance(detail, str) and detail else f"HTTP {status}"
    return {"message": message, "type": kind, "param": None, "code": None}


def _read(body: bytes) -> Any:
    """The JSON of a body, or its text where it is none or cannot be written again: NaN, or too deep."""
    try:
        answer = json.loads(body, parse_constant=_refuse)
        json.dumps([[[[answer]]]])
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    return answer


def _refuse(constant: str) -> None:
    raise ValueError(constant)
