"""Keeps requests out of a server that is stopping, and answers those that nothing else has answered by then."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.body import path_of
from service.http.dialects import Dialect, dialect_of
from service.http.dialects.dialect import payloads
from service.http.error_answers import send_error
from service.http.vllm_front.stream_headers import is_event_stream
from service.load.lifecycle import Lifecycle
from service.rerank.errors import ServiceError, ShuttingDown, error_body

_LAST_WORD_S = 0.1


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
        answer = _Answer(send, dialect_of(path_of(scope)))
        try:
            with self._lifecycle.answering():
                await self._app(scope, receive, answer.send)
        except ShuttingDown as error:
            await answer.end(error)
        except asyncio.CancelledError:
            if (refusal := self._lifecycle.refusal) is None:
                raise
            with suppress(TimeoutError):  # of a client that does not read
                async with asyncio.timeout(_LAST_WORD_S):
                    await answer.end(refusal)


class _Answer:
    """How far an answer has come, and what is left of it to say."""

    def __init__(self, send: Send, dialect: Dialect) -> None:
        self._send = send
        self._dialect = dialect
        self._start: Message | None = None
        self._passed_on: list[bytes] = []  # the first and the last of its body
        self._complete = False

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self._start = message
        else:
            if body := message.get("body"):
                self._passed_on = [*self._passed_on[:1], body]
            self._complete = not message.get("more_body", False)

    async def end(self, error: ServiceError) -> None:
        """The error as a whole answer, or as the end of a stream.

        Any other answer that is half sent stays so: the server then closes the connection, and its client does not take
        half for the whole.
        """
        if self._start is None:
            await send_error(self._send, error)
        elif not self._complete and is_event_stream(self._start):
            seen = [payload for part in self._passed_on for payload in payloads(part)]
            events = self._dialect.error_events(error_body(error)["error"], error.status, seen)
            body = b"".join(event.encode() for event in events) + self._dialect.done
            await self._send({"type": "http.response.body", "body": body})
