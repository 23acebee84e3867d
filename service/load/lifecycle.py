"""The life of one server, from its start to its end, and what becomes of the requests in flight when it ends.

A server that is told to stop takes in nothing more that generates. What is in flight has a while to finish; then all of
it is ended at once, each request with the same error: through its runs, so that the answer has the shape of its
endpoint, and where that does not help by cancelling whoever answers it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from service.rerank.errors import ServiceError, ShuttingDown

_RETRY_AFTER_S = 1.0  # whoever stands in for this server can answer now
_ANSWER_S = 0.2  # for answers to leave by the way of their endpoint
_END_S = 0.5  # for who was cancelled to end


class Failable(Protocol):
    """A request that can be made to fail, whatever it is at."""

    def fail(self, error: ServiceError) -> None: ...


class Lifecycle:
    """drain_s: how long requests in flight may take to finish once the server is told to stop."""

    def __init__(self, drain_s: float = 0.0) -> None:
        self.drain_s = drain_s
        self._told = asyncio.Event()
        self._hurried = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._answering: set[asyncio.Task[Any]] = set()
        self._tracked: dict[int, Failable] = {}

    # -- requests

    @property
    def refusal(self) -> ShuttingDown | None:
        """Why nothing may come in any more; None while it may."""
        return self._error("the server is shutting down") if self.told_to_stop else None

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count the current task as the answer to a request. Raises ShuttingDown.

        It is cancelled where nothing else ends it in time, and should then answer with `refusal`.
        """
        if (refusal := self.refusal) is not None:
            raise refusal
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._answering.discard(task)
            self._settle()

    def track(self, request: Failable) -> None:
        """Make the request fail when the server ends, until it is forgotten."""
        self._tracked[id(request)] = request
        self._idle.clear()

    def forget(self, request: Failable) -> None:
        self._tracked.pop(id(request), None)
        self._settle()

    def _settle(self) -> None:
        if not self._answering and not self._tracked:
            self._idle.set()

    # -- the server

    def stop(self) -> None:
        """The server is told to stop; told again, it waits for nothing any more."""
        if self._told.is_set():
            self._hurried.set()
        self._told.set()

    @property
    def told_to_stop(self) -> bool:
        return self._told.is_set()

    async def drained(self) -> None:
        """Wait until the server is told to stop, and then until no request is in flight any more."""
        await self._told.wait()
        waiting = [asyncio.create_task(event.wait()) for event in (self._idle, self._hurried)]
        await asyncio.wait(waiting, timeout=self.drain_s, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        for request in list(self._tracked.values()):
            request.fail(self._error("the server was shut down before the request was done"))
        await self._until_idle(_ANSWER_S)
        for task in list(self._answering):
            task.cancel()
        await self._until_idle(_END_S)

    async def _until_idle(self, within_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()

    def _error(self, why: str) -> ShuttingDown:
        return ShuttingDown(f"{why}; ask again, another may answer", retry_after_s=_RETRY_AFTER_S)
