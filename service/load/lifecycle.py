"""Whether the server takes requests, and which of them are not answered yet: what a signal to stop has to know."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.rerank.context import RequestContext
from service.rerank.errors import ShuttingDown

_RETRY_AFTER_S = 1.0
_LAST_ANSWERS_S = 0.4


class Lifecycle:
    """One server's. draining: since a signal to stop, nothing new is begun."""

    def __init__(self) -> None:
        self.draining = False
        self.ended = asyncio.Event()  # whatever is not answered now will be refused
        self._open: dict[int, RequestContext] = {}
        self._nothing_open = asyncio.Event()
        self._nothing_open.set()

    def check(self) -> None:
        """Raises ShuttingDown where nothing new may be begun."""
        if self.draining:
            raise self._refusal()

    @contextmanager
    def holds(self, context: RequestContext) -> Iterator[None]:
        """A request that is being answered."""
        self._open[id(context)] = context
        self._nothing_open.clear()
        try:
            yield
        finally:
            del self._open[id(context)]
            if not self._open:
                self._nothing_open.set()

    async def drain(self, timeout_s: float) -> None:
        """Refuse what comes, let what is open finish within the time, and then refuse that too."""
        self.draining = True
        await self._until_nothing_is_open(timeout_s)
        self.ended.set()
        for context in list(self._open.values()):
            context.stop(self._refusal())
        await self._until_nothing_is_open(_LAST_ANSWERS_S)

    async def until_ended(self) -> None:
        """Wait for the end of the drain. Raises ShuttingDown."""
        await self.ended.wait()
        raise self._refusal()

    async def _until_nothing_is_open(self, timeout_s: float) -> None:
        waiting = asyncio.ensure_future(self._nothing_open.wait())
        await asyncio.wait([waiting], timeout=timeout_s)
        waiting.cancel()

    def _refusal(self) -> ShuttingDown:
        return ShuttingDown("the server is shutting down", retry_after_s=_RETRY_AFTER_S)
