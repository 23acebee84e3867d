"""Keeps requests out of a server that is stopping, and answers those that nothing else has answered by then."""

import asyncio
import json

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.answer_sender import send_error
from service.load.lifecycle import Lifecycle
from service.rerank.errors import ServiceError, ShuttingDown, error_body


class Drain:
    """ASGI middleware in front of whatever generates, which is always asked for by POST.

    Every other request passes, so that probes and metrics can be read to the end.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            with self._lifecycle.answering():
                await self._app(scope, receive, answer.send)
        except ShuttingDown as error:
            await answer.end(error)
        except asyncio.CancelledError:
            if (refusal := self._lifecycle.refusal) is None:
                raise
            await answer.end(refusal)


class _Answer:
    """How far an answer has come, and what is left of it to say."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._complete = False

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._complete = not message.get("more_body", False)

    async def end(self, error: ServiceError) -> None:
        """The error as a whole answer, or as the end of a stream; an answer that is half sent is cut."""
        if self._start is None:
            await send_error(self._send, error)
        elif not self._complete:
            headers = Headers(raw=self._start.get("headers", []))
            stream = headers.get("content-type", "").startswith("text/event-stream")
            body = f"data: {json.dumps(error_body(error))}\n\ndata: [DONE]\n\n".encode() if stream else b""
            await self._send({"type": "http.response.body", "body": body})
