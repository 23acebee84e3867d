"""A request's life: admitted or counted as turned away, ended and recorded once, however it ends."""

import asyncio
from contextlib import nullcontext

import pytest

from service.http.books import Books
from service.load.admission import Admission
from service.load.lifecycle import Lifecycle
from service.rerank.errors import NothingGenerated, Overloaded, ShuttingDown
from service.rerank.request import plain_ask
from tests.service.fakes import answers, cancelled, make_ask, settle
from tests.service.http.served import Served

ASK = plain_ask("other")


def opened(admission: Admission | None = None, lifecycle: Lifecycle | None = None) -> tuple[Books, Served]:
    served = Served(answers(200, {}), admission=admission, lifecycle=lifecycle)
    return Books(served.parts), served


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (NothingGenerated("none"), "generation_failed"),
        (KeyError("bug"), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
    ],
)
async def test_a_request_is_recorded_by_what_ended_it(error: BaseException | None, outcome: str) -> None:
    books, served = opened()
    with nullcontext() if error is None else pytest.raises(type(error)):
        async with await books.admit(ASK):
            assert served.admission.in_flight == 1
            if error is not None:
                raise error
    assert (served.counted(outcome, "other"), served.requests, served.admission.in_flight) == (1, 1, 0)


async def test_whoever_serves_it_may_know_better() -> None:
    books, served = opened()
    life = await books.admit(ASK)
    async with life:
        life.outcome = "client_error"
    assert served.counted("client_error", "other") == served.requests == 1


async def test_cancelling_again_and_again_does_not_keep_it_from_its_record() -> None:
    books, served = opened()
    closing = asyncio.Event()

    async def serve() -> None:
        async with await books.admit(ASK) as context:
            context.close = closing.wait  # type: ignore[assignment, method-assign]
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await settle()
    for _ in range(3):
        serving.cancel()
        await settle()
    assert served.requests == 0
    closing.set()
    await settle()
    assert served.counted("cancelled", "other") == served.requests == 1


async def test_who_is_cancelled_while_it_waits_is_counted() -> None:
    books, served = opened(Admission(1))
    served.admission.ticket()
    waiting = asyncio.create_task(books.admit(ASK))
    await settle()
    await cancelled(waiting)
    assert served.counted("cancelled", "other", "none") == served.requests == 1
    assert served.admission.queued == 0


async def test_a_server_that_stops_turns_away_who_waits_and_who_comes() -> None:
    lifecycle = Lifecycle()
    books, served = opened(Admission(1), lifecycle)
    served.admission.ticket()
    waiting = asyncio.create_task(books.admit(ASK))
    await settle()
    lifecycle.stop()
    with pytest.raises(ShuttingDown):
        await books.admit(ASK)
    await lifecycle.drained()
    with pytest.raises(ShuttingDown):
        await waiting
    assert served.counted("shutting_down", "other", "none") == served.requests == 2


async def test_a_server_that_stops_waits_for_the_record_too() -> None:
    """A request that nobody answers by HTTP, such as one in the background."""
    lifecycle = Lifecycle(drain_s=10)
    books, served = opened(lifecycle=lifecycle)
    done = asyncio.Event()

    async def serve() -> None:
        async with await books.admit(ASK):
            await done.wait()

    serving = asyncio.create_task(serve())
    await settle()
    lifecycle.stop()
    draining = asyncio.create_task(lifecycle.drained())
    await settle()
    assert not draining.done()
    done.set()
    await draining
    assert served.counted("ok", "other") == 1
    await serving


async def test_who_finds_no_place_is_turned_away() -> None:
    books, served = opened(Admission(1, max_queued=0))
    served.admission.ticket()
    with pytest.raises(Overloaded):
        await books.admit(make_ask())
    assert served.counted("overloaded", strategy="none") == served.requests == 1
