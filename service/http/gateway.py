"""The way of a request through HTTP: read what is asked, admit, let vLLM's application answer, record.

Pure ASGI, in front of vLLM's application. Leaving cancels: when the answer is over, for whatever reason, everything
the request started is ended and accounted for before it is recorded.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.answer_sender import AnswerSender, send_error
from service.http.body import joined, path_of, read_messages, replay, with_body
from service.http.dependencies import Dependencies
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import ClientLeft, DeadlineExceeded, ServiceError
from service.rerank.request import BEST_OF_HEADER, GENERATING, Ask, Endpoint, endpoint_of, read_ask


class Gateway:
    """ASGI middleware for whatever generates; every other request passes untouched.

    A request comes up again below vLLM's application, in `vllm.client.RerankingEngine.generate`, where
    `context.current_request` has carried it.
    """

    def __init__(self, app: ASGIApp, dependencies: Dependencies) -> None:
        self._app = app
        self._parts = dependencies
        self._ending: set[asyncio.Task[None]] = set()

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
        try:
            ask = read_ask(endpoint, body, Headers(scope=scope).get(BEST_OF_HEADER), self._parts.limits)
            context = await self._admit(ask, scope, receive)
        except ServiceError as error:
            self._parts.recorder.metrics.turned_away(endpoint, error.code)
            await send_error(send, error)
        else:
            await self._answer(context, scope, receive, send)

    async def _admit(self, ask: Ask, scope: Scope, receive: Receive) -> RequestContext:
        """The request with the N that the load leaves it, and its first place.

        Raises Overloaded, ClientLeft, DeadlineExceeded.
        """
        admission, slo = self._parts.admission, self._parts.recorder.slo
        with ExitStack() as held:
            if slo is not None:
                ask = slo.fit(ask, room=admission.limit - slo.in_flight, now_s=time.monotonic())
                held.enter_context(slo.hold(ask))
            ticket = admission.ticket()
            held.callback(ticket.close)
            started_s = time.monotonic()
            if not ticket.admitted:
                waiting = _in_time(ticket.wait(), ask.options.deadline_ms)
                await _first_of(waiting, _until_left(receive))
            return RequestContext(
                ask,
                ticket,
                Headers(scope=scope).get("x-request-id", ""),
                held.pop_all(),
                in_flight=0 if slo is None else slo.in_flight,
                prices=self._parts.prices,
                started_s=started_s,
            )

    async def _answer(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        scope, messages = with_body(scope, context.ask.body)
        answer = AnswerSender(context, send, self._parts.keep_alive_s)
        self._parts.lifecycle.track(context)
        if context.ask.background:  # what it generates outlives it: the engine then admits and records that by itself
            context.held.close()
        token = current_request.set(None if context.ask.background else context)
        try:
            await self._app(scope, replay(messages, _noticing(receive, answer.left)), answer.send)
        except Exception as error:
            if not await answer.fail(error):
                raise
        finally:
            current_request.reset(token)
            ending = asyncio.create_task(self._end(context, answer))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    async def _end(self, context: RequestContext, answer: AnswerSender) -> None:
        """In a task of its own: whoever cancels the request again and again does not stop its accounting."""
        self._parts.lifecycle.forget(context)
        await answer.close()
        await context.close()
        self._parts.recorder.record(context, answer.outcome)


async def _first_of(*waits: Coroutine[Any, Any, None]) -> None:
    """Until the first of several ends, which raises what it raises; the others are cancelled."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _in_time(waiting: Coroutine[Any, Any, None], deadline_ms: int | None) -> None:
    """Wait no longer than the request may take. Raises DeadlineExceeded, or what `waiting` raises."""
    try:
        async with asyncio.timeout(None if deadline_ms is None else deadline_ms / 1000):
            await waiting
    except TimeoutError:
        param = "rerank.deadline_ms"
        raise DeadlineExceeded(f"{param} passed while the request waited for a place", param=param) from None


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
