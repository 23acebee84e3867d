"""The way of a request through HTTP: read what is asked, admit, let vLLM's application answer, complete the answer.

Pure ASGI, in front of vLLM's application. Leaving cancels: when the answer is over, for whatever reason, everything
the request started is ended and accounted for before it is recorded.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.reply import Reply, send_error
from service.load.admission import Admission
from service.load.latency_controller import SloController
from service.observe.metrics import Metrics
from service.records.candidate_log import CandidateLog
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import ServiceError
from service.rerank.prices import Prices
from service.rerank.request import BATCH_PATH, BEST_OF_HEADER, ENDPOINTS, Ask, Limits, read_ask, refuse_reranking


class Gateway:
    """ASGI middleware for the four completion endpoints; every other request passes untouched.

    A request comes up again below vLLM's application, in `vllm_app.client.RerankingEngine.generate`, where
    `context.current_request` has carried its `Ask`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        admission: Admission,
        metrics: Metrics,
        prices: Prices | None = None,
        candidate_log: CandidateLog | None = None,
        slo: SloController | None = None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._admission = admission
        self._metrics = metrics
        self._prices = prices
        self._candidate_log = candidate_log
        self._slo = slo
        self._ending: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path(scope) if scope["type"] == "http" and scope["method"] == "POST" else ""
        endpoint = ENDPOINTS.get(path)
        if path == BATCH_PATH:
            await self._pass_batch(scope, receive, send)
            return
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            return
        places = ExitStack()
        try:
            ask = read_ask(endpoint, body, Headers(scope=scope).get(BEST_OF_HEADER), self._limits)
            ask = self._admit(ask, places)
        except ServiceError as error:
            self._metrics.refused(endpoint, error)
            await send_error(send, error)
            return
        await self._answer(ask, places, scope, receive, send)

    def _admit(self, ask: Ask, places: ExitStack) -> Ask:
        """The request with the N that the load leaves it, its places held. Raises Overloaded."""
        admission = self._admission
        if self._slo is not None:
            room = admission.limit - admission.in_flight
            ask = self._slo.fit(ask, in_flight=admission.in_flight, room=room, now_s=time.monotonic())
        places.enter_context(admission.hold(ask.candidates))
        if self._slo is not None:
            places.enter_context(self._slo.hold(ask))
        return ask

    async def _pass_batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Several conversations in one request are vLLM's alone; who asks to have them ranked is told so."""
        body = await _read_body(receive)
        if body is None:
            return
        try:
            refuse_reranking(body, Headers(scope=scope).get(BEST_OF_HEADER))
        except ServiceError as error:
            await send_error(send, error)
            return
        await self._app(scope, _replay(body, receive, lambda: None), send)

    async def _answer(self, ask: Ask, places: ExitStack, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = Headers(scope=scope).get("x-request-id", "")
        context = RequestContext(ask, request_id, self._admission.in_flight, self._prices)
        reply = Reply(context, places, send)
        token = current_request.set(context)
        try:
            await self._app(_with_length(scope, ask.body), _replay(ask.body, receive, reply.left), reply.send)
        except Exception:
            reply.raised = True
            raise
        finally:
            current_request.reset(token)
            ending = asyncio.create_task(self._end(context, reply, places))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    async def _end(self, context: RequestContext, reply: Reply, places: ExitStack) -> None:
        """In a task of its own: whoever cancels the request again and again does not stop its accounting."""
        with places:
            await reply.close()
            await context.close()
        self._metrics.record(context, reply.outcome)
        if self._slo is not None and reply.outcome == "ok" and context.as_admitted:
            # not until it was read: a client that reads slowly is not the server's load
            now_s = max(ledger.end_s for ledger in context.ledgers)
            self._slo.answered(context.ask, context.in_flight, admitted_s=context.started_s, now_s=now_s)
        if self._candidate_log is not None:
            self._candidate_log.record(context, reply.outcome)


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
