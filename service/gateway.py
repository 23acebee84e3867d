"""The way of a request through HTTP: read what is asked, admit, let vLLM's application answer, complete the answer.

Pure ASGI, in front of vLLM's application. Leaving cancels: when the answer is over, for whatever reason, everything
the request started is ended and accounted for before it is recorded.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.admission import Admission
from service.api import BATCH_PATH, BEST_OF_HEADER, ENDPOINTS, Ask, Limits, read_ask, refuse_reranking
from service.candidate_log import CandidateLog
from service.context import RequestContext, current_request
from service.errors import Overloaded, ServiceError, error_body
from service.metrics import Metrics
from service.prices import Prices
from service.progress import Progress
from service.slo import SloController
from service.wire import StreamPatcher, patch_answer

_KEEP_ALIVE_S = 1.0
_PROGRESS_S = 0.1


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
        reply = _Reply(context, places, send)
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

    async def _end(self, context: RequestContext, reply: "_Reply", places: ExitStack) -> None:
        """In a task of its own: whoever cancels the request again and again does not stop its accounting."""
        with places:
            await reply.close()
            await context.close()
        self._metrics.record(context, reply.outcome)
        if self._slo is not None and reply.outcome == "ok" and context.as_admitted:
            now_s = max(
                ledger.end_s for ledger in context.ledgers
            )  # a client that reads slowly is not the server's load
            self._slo.answered(context.ask, context.in_flight, admitted_s=context.started_s, now_s=now_s)
        if self._candidate_log is not None:
            self._candidate_log.record(context, reply.outcome)


class _Reply:
    """The `send` of one request: passes on, patches or replaces what vLLM's application answers.

    places: given back before the last byte is sent, so that who asks again at once finds them free.
    """

    def __init__(self, context: RequestContext, places: ExitStack, send: Send) -> None:
        self.status = 500
        self.raised = False
        self._complete = False
        self._left = False
        self._context = context
        self._places = places
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self._stream: StreamPatcher | None = None
        self._comments: list[asyncio.Task[None]] = []
        self._sent_s = 0.0
        self._handle: Callable[[Message], Awaitable[None]] = self._pass_on

    @property
    def outcome(self) -> str:
        """How the request ended, for the metrics: ok, cancelled, or what went wrong."""
        if self._left:
            return "cancelled"
        if self._context.error is not None:
            return self._context.error.code
        if self.raised:
            return "error"
        return _blame(self.status) if self._complete else "cancelled"

    def left(self) -> None:
        """The client has gone; it did not wait for its answer, unless the answer was complete."""
        self._left = not self._complete

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            self.status = message["status"]
            self._handle = await self._start_answer()
            return
        last = not message.get("more_body", False)
        if last:
            await self._context.close()
            self._places.close()
        await self._handle(message)
        self._complete = self._complete or last

    async def _pass_on(self, message: Message) -> None:
        await self._send(message)

    async def _start_answer(self) -> Callable[[Message], Awaitable[None]]:
        """Send the start, unless the body decides its length; the handler of the body comes back."""
        assert self._start is not None
        headers = Headers(raw=self._start.get("headers", []))
        if headers.get("content-type", "").startswith("text/event-stream"):
            await self._send(self._start)
            if not self._reports():
                return self._pass_on
            self._stream = StreamPatcher(self._context)
            self._comments.append(asyncio.create_task(self._keep_alive()))
            if self._context.ask.options.progress:
                self._comments.append(asyncio.create_task(self._tell_progress()))
            return self._patch_stream
        if self.status < 400 and self._reports():
            return self._collect
        await self._send(self._start)
        return self._pass_on

    def _reports(self) -> bool:
        """Whether the answer gets a `rerank` object: the client asked, or the server's default N is above n."""
        ask = self._context.ask
        return ask.explicit or ask.asked_best_of > ask.n

    async def _collect(self, message: Message) -> None:
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        assert self._start is not None
        body = patch_answer(bytes(self._body), self._context)
        headers = MutableHeaders(raw=list(self._start.get("headers", [])))
        headers["content-length"] = str(len(body))
        await self._send({**self._start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})

    async def _patch_stream(self, message: Message) -> None:
        assert self._stream is not None
        last = not message.get("more_body", False)
        if last:
            await self.close()
        body = self._stream.feed(message.get("body", b"")) + (self._stream.flush() if last else b"")
        if body or last:
            self._sent_s = time.monotonic()
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    async def _keep_alive(self) -> None:
        """While there is nothing to send, tell proxies and people that work goes on (an SSE comment)."""
        while True:
            await asyncio.sleep(_KEEP_ALIVE_S)
            if time.monotonic() - self._sent_s < _KEEP_ALIVE_S:
                continue
            views = [view for ledger in self._context.ledgers for view in ledger.candidates]
            finished = sum(view.state == "finished" for view in views)
            await self._comment(f"{finished} of {len(views)} candidates finished")

    async def _tell_progress(self) -> None:
        """What the candidates have become, as often as they change."""
        progress = Progress(self._context)
        while True:
            await asyncio.sleep(_PROGRESS_S)
            if changes := progress.changes():
                self._sent_s = time.monotonic()
                await self._comment(json.dumps({"candidates": changes}, separators=(",", ":")))

    async def _comment(self, text: str) -> None:
        """text: one line in ASCII, since clients disagree on which other characters end a line."""
        note = f": {text}\n\n".encode("ascii")
        await self._send({"type": "http.response.body", "body": note, "more_body": True})

    async def close(self) -> None:
        """End the comments."""
        for task in self._comments:
            task.cancel()
        if self._comments:
            await asyncio.wait(self._comments)


def _blame(status: int) -> str:
    """The outcome that an answer of vLLM's counts as: its own refusals are no fault of the server."""
    if status == Overloaded.status:
        return Overloaded.code
    return "ok" if status < 400 else "client_error" if status < 500 else "error"


async def send_error(send: Send, error: ServiceError) -> None:
    """An error as a whole HTTP answer."""
    body = json.dumps(error_body(error)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


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
