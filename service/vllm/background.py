"""Responses that are generated in the background: /v1/responses with `background: true`.

vLLM answers such a request at once, keeps what becomes of it, and generates in a task of its own. Here that task is a
request of its own too, from its admission to its record, and whatever ends it reaches those who ask for the response:
it is then `failed`, and its stream ends.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from pydantic import BaseModel, ConfigDict

from service.http.books import Books
from service.http.dialects import dialect_of_endpoint
from service.rerank.context import current_request
from service.rerank.errors import ServiceError, error_body, internal_error
from service.rerank.request import plain_ask

_OPEN = ("queued", "in_progress")
_OUTCOMES = {"failed": "error", "cancelled": "cancelled"}  # for the metrics, of a response by its status
_logger = logging.getLogger(__name__)


class _Event(BaseModel):
    """An event of ours among vLLM's."""

    model_config = ConfigDict(extra="allow")

    type: str = ""


_END = _Event()  # of a stream; nobody is sent it


class BackgroundResponses:
    """Takes the place of vLLM's way to generate in the background. serving: vLLM's `OpenAIServingResponses`."""

    def __init__(self, serving: Any, books: Books) -> None:
        self._serving = serving
        self._books = books
        self._generate = serving._run_background_request
        self._read_unknown = serving.responses_background_stream_generator
        serving._run_background_request = self.generate
        serving._run_background_request_stream = self.stream
        serving.responses_background_stream_generator = self.read

    async def generate(self, request: Any, *args: Any, **options: Any) -> None:
        """Generate a response that is asked for by its id."""
        await self._live(request, self._generate(request, *args, **options))

    def stream(self, request: Any, *args: Any, **options: Any) -> Coroutine[Any, Any, None]:
        """Generate a response that can be followed, from now on: it may have to wait for its place."""
        events: deque[Any] = deque()
        grown = asyncio.Event()
        self._serving.event_store[request.request_id] = events, grown

        async def generate() -> None:
            async for event in self._serving.responses_stream_generator(request, *args, **options):
                events.append(event)
                grown.set()

        async def followed() -> None:
            try:
                await self._live(request, generate())
            finally:
                events.append(_END)
                grown.set()

        return followed()

    async def read(self, response_id: str, starting_after: int | None = None) -> AsyncIterator[Any]:
        """The events of a response behind one of them, until the last."""
        if response_id not in self._serving.event_store:
            async for event in self._read_unknown(response_id, starting_after):
                yield event
            return
        events, grown = self._serving.event_store[response_id]
        at = 0 if starting_after is None else starting_after + 1
        while True:
            grown.clear()
            while at < len(events) and events[at] is not _END:
                yield events[at]
                at += 1
            if events and events[-1] is _END:
                return
            await grown.wait()

    async def _live(self, request: Any, work: Coroutine[Any, Any, None]) -> None:
        """The request from its admission to its record; an error becomes its response's."""
        error: ServiceError | None = None
        try:
            life = await self._books.admit(plain_ask("responses"), request.request_id)
            async with life as context:
                current_request.set(context)  # in a task that does nothing else
                await work
                life.outcome = self._outcome(request.request_id)
        except ServiceError as ours:
            error = ours
        except Exception as other:
            _logger.exception("a response in the background has failed")
            error = internal_error(other)
        finally:
            work.close()
        if error is not None:
            await self._fail(request.request_id, error)

    def _outcome(self, response_id: str) -> str | None:
        """vLLM raises nothing for what was cancelled, and for some errors."""
        status = self._status(response_id)
        if status in _OPEN:  # an error in its stream, after which nothing comes
            self._serving.response_store[response_id].status = status = "failed"
        return _OUTCOMES.get(status)

    def _status(self, response_id: str) -> str:
        stored = self._serving.response_store.get(response_id)
        return "" if stored is None else stored.status

    async def _fail(self, response_id: str, error: ServiceError) -> None:
        """Unless it was cancelled, or is complete already."""
        told = error_body(error)["error"]
        async with self._serving.response_store_lock:
            if self._status(response_id) not in _OPEN:
                return
            stored = self._serving.response_store[response_id]
            stored.status, stored.error = "failed", {"code": told["code"], "message": told["message"]}
        events, _ = self._serving.event_store.get(response_id, (deque(), None))
        seen = [event.model_dump(mode="json", by_alias=True) for event in [*events][:1] + [*events][-1:]]
        for event in dialect_of_endpoint("responses").error_events(told, error.status, seen):
            events.append(_Event.model_validate(event.payload))
