"""A server's life: what may come in, what is waited for, and how what is left is ended."""

import asyncio
import time

import pytest

from service.load.lifecycle import Lifecycle
from service.rerank.errors import ServiceError, ShuttingDown


class Request:
    """Answers when it is made to fail, unless it is deaf; then it waits until it is cancelled."""

    def __init__(self, lifecycle: Lifecycle, *, deaf: bool = False, done_after_s: float = 60) -> None:
        self.failed_with: ServiceError | None = None
        self._deaf = deaf
        self._over = asyncio.Event()
        self._lifecycle = lifecycle
        self.task = asyncio.create_task(self._answer(done_after_s))

    def fail(self, error: ServiceError) -> None:
        self.failed_with = error
        if not self._deaf:
            self._over.set()

    async def _answer(self, done_after_s: float) -> str:
        with self._lifecycle.answering():
            self._lifecycle.track(self)
            try:
                async with asyncio.timeout(done_after_s):
                    await self._over.wait()
            except TimeoutError:
                return "done"
            finally:
                self._lifecycle.forget(self)
        return "failed"


async def drained(lifecycle: Lifecycle) -> float:
    began_s = time.monotonic()
    async with asyncio.timeout(10):
        await lifecycle.drained()
    return time.monotonic() - began_s


async def test_it_takes_nothing_in_once_it_is_told_to_stop() -> None:
    lifecycle = Lifecycle()
    assert (lifecycle.refusal, lifecycle.told_to_stop) == (None, False)
    lifecycle.stop()
    assert lifecycle.told_to_stop
    assert isinstance(lifecycle.refusal, ShuttingDown)
    with pytest.raises(ShuttingDown, match="shutting down"), lifecycle.answering():
        pytest.fail("it came in")
    await drained(lifecycle)
    lifecycle.stop()
    assert lifecycle.refusal is not None


async def test_with_no_time_to_drain_all_fail_at_once() -> None:
    lifecycle = Lifecycle()
    requests = [Request(lifecycle) for _ in range(3)]
    await asyncio.sleep(0)
    lifecycle.stop()
    await drained(lifecycle)
    assert [await request.task for request in requests] == ["failed"] * 3
    assert all(isinstance(request.failed_with, ShuttingDown) for request in requests)


async def test_what_finishes_in_time_is_left_alone_and_nothing_is_waited_for_longer() -> None:
    lifecycle = Lifecycle(drain_s=60)
    request = Request(lifecycle, done_after_s=0.05)
    await asyncio.sleep(0)
    lifecycle.stop()
    assert await drained(lifecycle) < 5
    assert (await request.task, request.failed_with) == ("done", None)


async def test_what_outlives_the_time_to_drain_fails() -> None:
    lifecycle = Lifecycle(drain_s=0.05)
    request = Request(lifecycle)
    await asyncio.sleep(0)
    lifecycle.stop()
    assert 0.05 <= await drained(lifecycle) < 5
    assert await request.task == "failed"


async def test_told_again_it_waits_for_nothing() -> None:
    lifecycle = Lifecycle(drain_s=60)
    request = Request(lifecycle)
    await asyncio.sleep(0)
    lifecycle.stop()
    lifecycle.stop()
    assert await drained(lifecycle) < 5
    assert await request.task == "failed"


async def test_who_does_not_answer_when_made_to_fail_is_cancelled() -> None:
    lifecycle = Lifecycle()
    request = Request(lifecycle, deaf=True)
    await asyncio.sleep(0)
    lifecycle.stop()
    await drained(lifecycle)
    with pytest.raises(asyncio.CancelledError):
        await request.task
