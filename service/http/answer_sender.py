"""The answer's way out: vLLM's answer passed on, patched or replaced, with comments in a stream until it is there."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Send

from service.http.answer_patch import StreamPatcher, patch_answer
from service.http.progress_comments import CandidateProgress
from service.rerank.context import RequestContext
from service.rerank.errors import Overloaded, ServiceError, error_body

_KEEP_ALIVE_S = 1.0
_PROGRESS_S = 0.1


class AnswerSender:
    """The `send` of one request: passes on, patches or replaces what vLLM's application answers.

    Closes the request before its last byte is sent, so that who asks again at once finds its places free.
    """

    def __init__(self, context: RequestContext, send: Send, keep_alive_s: float | None = None) -> None:
        self.status = 500
        self.raised = False
        self._complete = False
        self._left = False
        self._context = context
        self._send = send
        self._keep_alive_s = _KEEP_ALIVE_S if keep_alive_s is None else keep_alive_s
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
            if self._keep_alive_s:
                self._comments.append(asyncio.create_task(self._keep_alive()))
            if self._context.ask.options.progress:
                self._comments.append(asyncio.create_task(self._send_progress()))
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
        """Send an SSE comment while there is nothing else to send, so that proxies keep the connection."""
        while True:
            await asyncio.sleep(self._keep_alive_s)
            if time.monotonic() - self._sent_s < self._keep_alive_s:
                continue
            views = [view for ledger in self._context.ledgers for view in ledger.candidates]
            finished = sum(view.state == "finished" for view in views)
            await self._comment(f"{finished} of {len(views)} candidates finished")

    async def _send_progress(self) -> None:
        """What the candidates have become, as often as they change."""
        progress = CandidateProgress(self._context)
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
