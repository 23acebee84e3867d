"""The answer's way out: vLLM's answer passed on, patched or replaced, with comments in a stream until it is there."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from service.http.answer_patch import StreamPatcher, patch_answer
from service.http.error_answers import send_error
from service.http.progress_comments import CandidateProgress
from service.http.rerank_object import rerank_headers
from service.http.vllm_front.stream_headers import is_event_stream
from service.rerank.context import RequestContext
from service.rerank.errors import Overloaded, internal_error

_PROGRESS_S = 0.1


class AnswerSender:
    """The `send` of one request: passes on, patches or replaces what vLLM's application answers.

    A stream begins with its first event or comment: until then its headers can still say what was chosen, and its
    status what went wrong. Closes the request before its last byte is sent, so that who asks again at once finds its
    places free.
    """

    def __init__(self, context: RequestContext, send: Send, stream_comments_s: float) -> None:
        self.status = 500
        self.raised = False
        self._complete = False
        self._left = False
        self._context = context
        self._send = send
        self._stream_comments_s = stream_comments_s
        self._start: Message | None = None
        self._begun = False
        self._beginning = asyncio.Lock()
        self._body = bytearray()
        self._stream: StreamPatcher | None = None
        self._passed_on: list[bytes] = []  # of a stream that is not patched: the first and the last of what went out
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
        if self._complete:
            return outcome_of(self.status)
        return "cancelled" if self._context.failure is None else self._context.failure.code

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

    async def fail(self, error: Exception) -> bool:
        """End an answer that the application left half done.

        Returns whether the client was answered with an error of ours, and nobody else has to hear of `error`.
        """
        ours = self._context.error
        self.raised = True
        if self._left or self._complete or (ours is None and not self._begun):
            return False
        await self.close()
        await self._context.close()
        told = ours or internal_error(error)
        if not self._begun:
            await send_error(self._send, told)
        elif self._stream is not None:
            for passed_on in self._passed_on:
                self._stream.note(passed_on)
            await self._send({"type": "http.response.body", "body": self._stream.fail(told)})
        else:
            return False
        self._complete = True
        return ours is not None

    async def _start_answer(self) -> Callable[[Message], Awaitable[None]]:
        """How the body is handled that is to come."""
        assert self._start is not None
        if is_event_stream(self._start):
            return await self._start_stream()
        if self.status < 400 and self._reports():
            return self._collect
        if self.status >= 400 and self._context.error is not None:
            return self._replace
        await self._begin()
        return self._pass_on

    async def _start_stream(self) -> Callable[[Message], Awaitable[None]]:
        self._stream = StreamPatcher(self._context)
        if not self._reports():
            await self._begin()
            return self._watch_stream
        if self._stream_comments_s:
            self._comments.append(asyncio.create_task(self._keep_alive()))
        if self._context.ask.options.progress:
            self._comments.append(asyncio.create_task(self._send_progress()))
        return self._patch_stream

    def _reports(self) -> bool:
        """Whether the answer gets a `rerank` object: the client asked, or the server's default N is above n."""
        ask = self._context.ask
        return ask.explicit or ask.asked_best_of > ask.n

    async def _begin(self) -> None:
        """Send the start, once; two may want to at the same time."""
        assert self._start is not None
        async with self._beginning:
            if not self._begun:
                headers = MutableHeaders(raw=list(self._start.get("headers", [])))
                if self._reports() and self.status < 400:
                    headers.update(rerank_headers(self._context))
                await self._send({**self._start, "headers": headers.raw})
                self._begun = True

    async def _pass_on(self, message: Message) -> None:
        await self._send(message)

    async def _collect(self, message: Message) -> None:
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        assert self._start is not None
        body = patch_answer(bytes(self._body), self._context)
        headers = MutableHeaders(raw=list(self._start.get("headers", [])))
        headers["content-length"] = str(len(body))
        self._start = {**self._start, "headers": headers.raw}
        await self._begin()
        await self._send({"type": "http.response.body", "body": body})

    async def _replace(self, message: Message) -> None:
        """Whatever vLLM made of an error of ours, the client gets ours."""
        if not message.get("more_body", False) and not self._complete:
            await self._answer_error()

    async def _answer_error(self) -> None:
        assert self._context.error is not None
        self.status = self._context.error.status
        self._begun = self._complete = True
        await send_error(self._send, self._context.error)

    async def _watch_stream(self, message: Message) -> None:
        """Pass a stream on as it is, unless it fails by an error of ours."""
        if self._context.error is not None:
            await self._patch_stream(message)
            return
        if body := message.get("body"):
            self._passed_on = [*self._passed_on[:1], body]
        await self._send(message)

    async def _patch_stream(self, message: Message) -> None:
        assert self._stream is not None
        last = not message.get("more_body", False)
        if self._context.error is not None and not self._begun:
            await self.close()
            await self._context.close()
            await self._answer_error()
            self._handle = self._replace
            return
        body = self._stream.feed(message.get("body", b"")) + (self._stream.flush() if last else b"")
        if last or self._stream.ended:  # no comment comes behind the end
            await self.close()
        if body or last:
            self._sent_s = time.monotonic()
            await self._begin()
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    async def _keep_alive(self) -> None:
        """Send an SSE comment while there is nothing else to send, so that proxies keep the connection."""
        while True:
            await asyncio.sleep(self._stream_comments_s)
            if time.monotonic() - self._sent_s < self._stream_comments_s:
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
        """text: one line in ASCII, since clients disagree on which other characters end a line.

        No empty line behind it: that would end an event, and some clients take it for one without data.
        """
        await self._begin()
        note = f": {text}\n".encode("ascii")
        await self._send({"type": "http.response.body", "body": note, "more_body": True})

    async def close(self) -> None:
        """End the comments."""
        for task in self._comments:
            task.cancel()
        if self._comments:
            await asyncio.wait(self._comments)


def outcome_of(status: int) -> str:
    """The outcome that an answer of vLLM's counts as: its own refusals are no fault of the server."""
    if status == Overloaded.status:
        return Overloaded.code
    return "ok" if status < 400 else "client_error" if status < 500 else "error"
