"""The way of a request through HTTP: read what is asked, admit, let vLLM's application answer, record.

Pure ASGI, in front of vLLM's application. Leaving cancels: when the answer is over, for whatever reason, everything
the request started is ended and accounted for before it is recorded.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.answer_sender import AnswerSender, send_error
from service.http.dependencies import Dependencies
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import ServiceError
from service.rerank.request import BATCH_PATH, BEST_OF_HEADER, ENDPOINTS, Ask, Endpoint, read_ask, refuse_reranking


class Gateway:
    """ASGI middleware for the four completion endpoints; every other request passes untouched.

    A request comes up again below vLLM's application, in `vllm.client.RerankingEngine.generate`, where
    `context.current_request` has carried it.
    """

    def __init__(self, app: ASGIApp, dependencies: Dependencies) -> None:
        self._app = app
        self._parts = dependencies
        self._ending: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path(scope) if scope["type"] == "http" and scope["method"] == "POST" else ""
        if path not in ENDPOINTS and path != BATCH_PATH:
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            return
        if path == BATCH_PATH:
            await self._pass_batch(body, scope, receive, send)
        else:
            await self._serve(ENDPOINTS[path], body, scope, receive, send)

    async def _pass_batch(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Several conversations in one request are vLLM's alone; a client that asks to have them ranked is refused."""
        try:
            refuse_reranking(body, Headers(scope=scope).get(BEST_OF_HEADER))
        except ServiceError as error:
            await send_error(send, error)
        else:
            await self._app(scope, _replay(body, receive, lambda: None), send)

    async def _serve(self, endpoint: Endpoint, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """The way of a request: read, admit, answer, record."""
        try:
            ask = read_ask(endpoint, body, Headers(scope=scope).get(BEST_OF_HEADER), self._parts.limits)
            context = self._admit(ask, scope)
        except ServiceError as error:
            self._parts.metrics.refused(endpoint, error)
            await send_error(send, error)
        else:
            await self._answer(context, scope, receive, send)

    def _admit(self, ask: Ask, scope: Scope) -> RequestContext:
        """The request with the N that the load leaves it, its places held. Raises Overloaded."""
        admission, slo, places = self._parts.admission, self._parts.slo, ExitStack()
        if slo is not None:
            room = admission.limit - admission.in_flight
            ask = slo.fit(ask, in_flight=admission.in_flight, room=room, now_s=time.monotonic())
        places.enter_context(admission.hold(ask.candidates))
        if slo is not None:
            places.enter_context(slo.hold(ask))
        request_id = Headers(scope=scope).get("x-request-id", "")
        return RequestContext(ask, request_id, places, admission.in_flight, self._parts.prices)

    async def _answer(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        body = context.ask.body
        answer = AnswerSender(context, send)
        token = current_request.set(context)
        try:
            await self._app(_with_length(scope, body), _replay(body, receive, answer.left), answer.send)
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
        await answer.close()
        await context.close()
        self._record(context, answer.outcome)

    def _record(self, context: RequestContext, outcome: str) -> None:
        self._parts.metrics.record(context, outcome)
        if self._parts.slo is not None and outcome == "ok" and context.as_admitted:
            # not until it was read: a client that reads slowly is not the server's load
            now_s = max(ledger.end_s for ledger in context.ledgers)
            self._parts.slo.answered(context.ask, context.in_flight, admitted_s=context.started_s, now_s=now_s)
        if self._parts.candidate_log is not None:
            self._parts.candidate_log.record(context, outcome)


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _read_body(receive: Receive) -> bytes | None:
    """The whole request body; None when the client left before it was complete."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive, left: Callable[[], None]) -> Receive:
    """The body that was read already, then whatever comes; `left` is called when the client leaves."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        message = await receive()
        if message["type"] == "http.disconnect":
            left()
        return message

    return replayed


def _with_length(scope: Scope, body: bytes) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    headers["content-length"] = str(len(body))
    return {**scope, "headers": headers.raw}
