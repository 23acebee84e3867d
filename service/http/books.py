"""The life of a request that generates, whoever asks for it: tracked, admitted, ended and recorded, each of them once.

Leaving cancels: when a request is over, for whatever reason, everything it started is ended and accounted for before it
is recorded.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from service.http.dependencies import Dependencies
from service.load.admission import Ticket
from service.rerank.context import RequestContext
from service.rerank.errors import DeadlineExceeded, ServiceError
from service.rerank.request import Ask

Wait = Callable[[], Coroutine[Any, Any, None]]


class Books:
    """What the requests of one server pass from their arrival to their record."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def max_candidates(self) -> int:
        """That run at once, and so the most that a prompt may have."""
        return self._parts.limits.max_candidates

    async def admit(self, ask: Ask, request_id: str = "", until_left: Wait | None = None) -> "Life":
        """A request with its first place and the N that the load leaves it. One that is not admitted is counted here.

        until_left: raises when the client has left, which ends the wait.

        Raises Overloaded, DeadlineExceeded, ShuttingDown, or what `until_left` raises.
        """
        slo = self._parts.recorder.slo
        with ExitStack() as held:
            if slo is not None:
                ask = slo.fit(ask, room=self._parts.admission.limit - slo.in_flight, now_s=time.monotonic())
                held.enter_context(slo.hold(ask))
            ticket = self._parts.admission.ticket()
            held.callback(ticket.close)
            in_flight = 0 if slo is None else slo.in_flight
            context = RequestContext(ask, ticket, request_id, in_flight=in_flight, prices=self._parts.prices)
            await self._wait(context, ticket, until_left)
            context.held = held.pop_all()
        return Life(self, context)

    async def _wait(self, context: RequestContext, ticket: Ticket, until_left: Wait | None) -> None:
        lifecycle = self._parts.lifecycle
        lifecycle.track(context)
        try:
            if (refusal := lifecycle.refusal) is not None:
                raise refusal
            if not ticket.admitted:
                waits = [_place(ticket, context.ask.options.deadline_ms), context.until_failed()]
                await _first_of(*waits, *([until_left()] if until_left is not None else []))
        except BaseException as error:
            lifecycle.forget(context)
            self._parts.recorder.metrics.turned_away(context.ask.endpoint, _outcome(error))
            raise

    async def end(self, context: RequestContext, outcome: str) -> None:
        """In a task of its own: whoever cancels the request again and again does not stop its accounting."""
        ending = asyncio.create_task(self._end(context, outcome))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def _end(self, context: RequestContext, outcome: str) -> None:
        try:
            await context.close()
            self._parts.recorder.record(context, outcome)
        finally:
            self._parts.lifecycle.forget(context)


class Life:
    """A request that was admitted: with its end it is closed and recorded.

    outcome: how it ends, for the metrics, where its maker knows better than by what is raised.
    """

    def __init__(self, books: Books, context: RequestContext) -> None:
        self.context = context
        self.outcome: str | None = None
        self._books = books

    async def __aenter__(self) -> RequestContext:
        return self.context

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._books.end(self.context, self.outcome or _outcome(error))


def _outcome(error: BaseException | None) -> str:
    """How what ends by this error is counted; a cancellation and a closed generator are no fault of anybody."""
    if isinstance(error, ServiceError):
        return error.code
    return "ok" if error is None else "error" if isinstance(error, Exception) else "cancelled"


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


async def _place(ticket: Ticket, deadline_ms: int | None) -> None:
    """Wait for the first place no longer than the request may take. Raises Overloaded, DeadlineExceeded."""
    try:
        async with asyncio.timeout(None if deadline_ms is None else deadline_ms / 1000):
            await ticket.wait()
    except TimeoutError:
        param = "rerank.deadline_ms"
        raise DeadlineExceeded(f"{param} passed while the request waited for a place", param=param) from None
