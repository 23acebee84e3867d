"""How many candidates may be in flight. Past the limit a request is refused at once, with a time to come back."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.rerank.errors import Overloaded

_SMOOTHING = 0.1
_LONGEST_RETRY_S = 60


class Admission:
    """Counts candidates, not requests, since they are what the engine's batch is made of.

    limit: candidates in flight at most. clock: monotonic seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.in_flight = 0
        self._clock = clock
        self._seconds_held = 1.0

    @contextmanager
    def hold(self, candidates: int) -> Iterator[None]:
        """Hold places for `candidates` of one request until it has been answered.

        Raises:
            Overloaded: there is no room now.
        """
        if self.in_flight + candidates > self.limit:
            raise Overloaded(
                f"{self.in_flight} candidates are in flight and this request needs {candidates} more; "
                f"the limit is {self.limit}",
                retry_after_s=self._retry_after_s(candidates),
            )
        self.in_flight += candidates
        started_s = self._clock()
        try:
            yield
        finally:
            self.in_flight -= candidates
            self._seconds_held += _SMOOTHING * (self._clock() - started_s - self._seconds_held)

    def _retry_after_s(self, candidates: int) -> int:
        """Until enough places are free: at `in_flight / seconds_held` places a second (Little's law)."""
        missing = self.in_flight + candidates - self.limit
        wait_s = missing * self._seconds_held / max(self.in_flight, 1)
        return min(max(1, math.ceil(wait_s)), _LONGEST_RETRY_S)
