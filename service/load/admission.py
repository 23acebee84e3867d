"""How many candidates the engines work on at once, and who is next. Past a bounded queue a request is refused.

A place is a candidate's, from its first token to its last score, so what a client does with its answer holds nobody up,
and a place always comes back by itself: whoever waits for one, holding others, cannot wait for ever.

Requests take turns in the order of their arrival, and a free place is never kept for somebody: a request begins with
the first place there is and grows as more come back, so that a large one waits for no lull. Who has had as many places
as there are lets everybody else go first, so that a request of a thousand prompts shuts nobody out.
"""

import asyncio
import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from service.rerank.errors import Overloaded
from service.rerank.protocols import Place

_SMOOTHING = 0.1
_LONGEST_RETRY_S = 60.0
_SHORTEST_RETRY_S = 0.1
_JITTER = 0.5  # so that those who were refused together do not come back together


@dataclass(eq=False)
class _Place:
    granted: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    since_s: float = 0.0  # when it was granted


class Admission:
    """One server's places.

    limit: candidates at work at most. max_queued, max_queue_s: requests that wait for their first place at most, and
    how long. clock: monotonic seconds. jitter: the share of the estimated wait that is added to it, 0 to `_JITTER`.
    """

    def __init__(
        self,
        limit: int,
        max_queued: int = 128,
        max_queue_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = lambda: random.uniform(0, _JITTER),
    ) -> None:
        self.limit = limit
        self.in_flight = 0  # places that are taken
        self.queued = 0  # requests that wait for their first place
        self._max_queued = max_queued
        self._max_queue_s = max_queue_s
        self._clock = clock
        self._jitter = jitter
        self._seconds_held = 1.0
        self._turns: list[tuple[int, Ticket]] = []  # a heap of those who wait for places, by their turn
        self._wanted = 0  # places that they wait for
        self._arrivals = itertools.count()

    def ticket(self) -> "Ticket":
        """For a request that comes in: its turn begins now."""
        return Ticket(self, next(self._arrivals))

    async def wait(self, place: _Place) -> None:
        """Until a request's first place is granted. Raises Overloaded: the queue is full, or the wait was too long."""
        if self.queued >= self._max_queued:
            raise self._overloaded(f"{self.queued} requests are waiting, and no more may (--max-queued-requests)")
        self.queued += 1
        try:  # unlike wait_for, asyncio.wait leaves the future alone
            granted, _ = await asyncio.wait([place.granted], timeout=self._max_queue_s)
        finally:
            self.queued -= 1
        if not granted:
            raise self._overloaded(f"no place became free within {self._max_queue_s:g} seconds (--max-queue-s)")

    def ask(self, ticket: "Ticket") -> _Place:
        """A place for a request, when it is its turn."""
        place = _Place()
        ticket.waiting.append(place)
        self._wanted += 1
        if len(ticket.waiting) == 1:
            heapq.heappush(self._turns, (ticket.turn, ticket))
        self._grant()
        return place

    def leave(self, place: _Place) -> None:
        """Give a place back, or stop waiting for it."""
        if not place.granted.done():
            place.granted.set_result(False)
            self._wanted -= 1
        elif place.granted.result():
            self.in_flight -= 1
            self._seconds_held += _SMOOTHING * (self._clock() - place.since_s - self._seconds_held)
            self._grant()

    def _grant(self) -> None:
        while self._turns and self.in_flight < self.limit:
            _, ticket = heapq.heappop(self._turns)
            if ticket.granted == self.limit:
                ticket.granted, ticket.turn = 0, next(self._arrivals)
            elif not (place := ticket.waiting.popleft()).granted.done():
                self._wanted -= 1
                self.in_flight += 1
                place.since_s = self._clock()
                place.granted.set_result(True)
                ticket.granted += 1
            if ticket.waiting:
                heapq.heappush(self._turns, (ticket.turn, ticket))

    def _overloaded(self, why: str) -> Overloaded:
        """With a time to come back: when all that wait now have had a place (Little's law), and a bit."""
        wait_s = self._wanted * self._seconds_held / max(self.in_flight, 1) * (1 + self._jitter())
        message = f"{self.in_flight} candidates of at most {self.limit} are in flight (--max-candidates): {why}"
        return Overloaded(message, retry_after_s=min(max(wait_s, _SHORTEST_RETRY_S), _LONGEST_RETRY_S))


class Ticket:
    """The places of one request (`service.rerank.protocols.Places`), which is admitted when the first is granted.

    turn: those with a lower one go first; no two are equal.
    """

    def __init__(self, admission: Admission, turn: int) -> None:
        self.turn = turn
        self.granted = 0  # places in this turn
        self.waiting: deque[_Place] = deque()
        self._admission = admission
        self._first = admission.ask(self)
        self._unused = True

    @property
    def admitted(self) -> bool:
        return self._first.granted.done()

    async def wait(self) -> None:
        """Until the request is admitted. Raises Overloaded."""
        if not self.admitted:
            await self._admission.wait(self._first)

    def ask(self) -> Place:
        if self._unused:
            self._unused = False
            return self._first
        return self._admission.ask(self)

    def leave(self, place: Place) -> None:
        assert isinstance(place, _Place)
        self._admission.leave(place)

    def close(self) -> None:
        """Give the first place back, or stop waiting for it, where nothing was ever generated."""
        if self._unused:
            self._unused = False
            self._admission.leave(self._first)
