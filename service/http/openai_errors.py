"""OpenAI's shape for every error answer."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.rerank.errors import InvalidRequest


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
