"""The way of a request through HTTP: read what is asked, admit, let vLLM's application answer, record.

Pure ASGI, in front of vLLM's application.
"""

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.answer_sender import AnswerSender, outcome_of
from service.http.body import joined, path_of, read_messages, replay, with_body
from service.http.books import Books, Life
from service.http.dependencies import Dependencies
from service.http.error_answers import send_error
from service.rerank.context import current_request
from service.rerank.errors import ClientLeft, ServiceError
from service.rerank.request import BEST_OF_HEADER, GENERATING, Ask, Endpoint, endpoint_of, read_ask


class Gateway:
    """ASGI middleware for whatever generates; every other request passes untouched.

    A request comes up again below vLLM's application, in `vllm.client.RerankingEngine.generate`, where
    `context.current_request` has carried it.
    """

    def __init__(self, app: ASGIApp, dependencies: Dependencies) -> None:
        self._app = app
        self._parts = dependencies
        self._books = Books(dependencies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] == "http" and scope["method"] == "POST" else ""
        if path not in GENERATING:
            await self._app(scope, receive, send)
            return
        messages = await read_messages(receive)
        if messages[-1]["type"] != "http.disconnect":
            body = joined(messages)
            await self._serve(endpoint_of(path, body), body, scope, receive, send)

    async def _serve(self, endpoint: Endpoint, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """The way of a request: read, admit, answer, record."""
        headers = Headers(scope=scope)
        try:
            ask = read_ask(endpoint, body, headers.get(BEST_OF_HEADER), self._parts.limits)
        except ServiceError as error:
            self._parts.recorder.metrics.turned_away(endpoint, error.code)
            await send_error(send, error)
            return
        if ask.background:
            await self._hand_over(ask, scope, receive, send)
            return
        try:
            life = await self._books.admit(ask, headers.get("x-request-id", ""), lambda: _until_left(receive))
        except ServiceError as error:
            await send_error(send, error)
            return
        async with life:
            await self._answer(life, scope, receive, send)

    async def _answer(self, life: Life, scope: Scope, receive: Receive, send: Send) -> None:
        context = life.context
        scope, messages = with_body(scope, context.ask.body)
        answer = AnswerSender(context, send, self._parts.stream_comments_s)
        token = current_request.set(context)
        try:
            await self._app(scope, replay(messages, _noticing(receive, answer.left)), answer.send)
        except Exception as error:
            if not await answer.fail(error):
                raise
        finally:
            current_request.reset(token)
            life.outcome = answer.outcome
            await answer.close()

    async def _hand_over(self, ask: Ask, scope: Scope, receive: Receive, send: Send) -> None:
        """What is generated in the background outlives its answer and has a life of its own, see `vllm.background`.

        So nothing but a refusal is counted here.
        """
        outcome = "error"

        async def noted(message: Message) -> None:
            nonlocal outcome
            if message["type"] == "http.response.start":
                outcome = outcome_of(message["status"])
            await send(message)

        scope, messages = with_body(scope, ask.body)
        try:
            await self._app(scope, replay(messages, receive), noted)
        except asyncio.CancelledError:
            refusal = self._parts.lifecycle.refusal
            outcome = "cancelled" if refusal is None else refusal.code
            raise
        finally:
            if outcome != "ok":
                self._parts.recorder.metrics.turned_away(ask.endpoint, outcome)


async def _until_left(receive: Receive) -> None:
    """Raises ClientLeft when the client does."""
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientLeft("the client left the queue")


def _noticing(receive: Receive, left: Callable[[], None]) -> Receive:
    """`left` is called when the client leaves."""

    async def noticed() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            left()
        return message

    return noticed
