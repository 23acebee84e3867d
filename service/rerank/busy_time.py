"""Divides the machine's time among the sequences at work on it, so that what requests cost adds up to what it costs."""

import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Literal

Work = Literal["generate", "score"]
WORK: tuple[Work, ...] = ("generate", "score")


class BusyMeter:
    """A clock whose every second is charged to somebody, or to nobody: `idle_s`.

    While one engine is at work, the second is divided equally among its sequences; while both are, each engine's
    sequences share one half (processor sharing). The shares of all sequences and `idle_s` sum to the time that has
    passed. clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now_s = clock()
        self._idle_s = 0.0
        self._at_work: dict[Work, int] = dict.fromkeys(WORK, 0)
        self._each_s: dict[Work, float] = dict.fromkeys(WORK, 0.0)  # what a sequence there all along would be charged

    @property
    def idle_s(self) -> float:
        """Seconds in which nothing was at work, up to now."""
        self._advance()
        return self._idle_s

    @contextmanager
    def working(self, work: Work, charged_s: MutableMapping[Work, float]) -> Iterator[None]:
        """One sequence is at work; afterwards its share, in seconds, is added to `charged_s[work]`."""
        self._advance()
        self._at_work[work] += 1
        before_s = self._each_s[work]
        try:
            yield
        finally:
            self._advance()
            self._at_work[work] -= 1
            charged_s[work] += self._each_s[work] - before_s

    def _advance(self) -> None:
        """Charge the time since the last change to those who were at work during it."""
        now_s = self._clock()
        passed_s, self._now_s = now_s - self._now_s, now_s
        busy = [work for work in WORK if self._at_work[work]]
        if not busy:
            self._idle_s += passed_s
        for work in busy:
            self._each_s[work] += passed_s / len(busy) / self._at_work[work]
