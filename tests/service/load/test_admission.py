"""How many candidates the engines work on at once, and who is next."""

import asyncio
import random
from collections.abc import Awaitable

import pytest

from service.load.admission import Admission, Ticket
from service.rerank.errors import Overloaded
from service.rerank.protocols import Place
from tests.service.fakes import PATIENCE_S, cancelled, settle

WAIT_S = 60.0


class HandClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def admission_of(
    limit: int, max_queued: int = 100, max_queue_s: float = WAIT_S, clock: HandClock | None = None
) -> Admission:
    return Admission(limit, max_queued, max_queue_s, clock or HandClock(), jitter=lambda: 0.0)


def asks(admission: Admission, places: int) -> tuple[Ticket, list[Place]]:
    ticket = admission.ticket()
    return ticket, [ticket.ask() for _ in range(places)]


def granted(places: list[Place]) -> int:
    return sum(place.granted.done() and place.granted.result() for place in places)


async def refusal(waiting: Awaitable[None]) -> Overloaded:
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Overloaded) as caught:
            await waiting
    return caught.value


# -- places


async def test_places_are_granted_up_to_the_limit_and_come_back() -> None:
    admission = admission_of(3)
    ticket, places = asks(admission, 5)
    assert (granted(places), admission.in_flight) == (3, 3)
    for place in places:
        ticket.leave(place)
    assert admission.in_flight == 0


async def test_a_place_that_comes_back_is_given_to_who_waits() -> None:
    admission = admission_of(1)
    first, (taken,) = asks(admission, 1)
    second = admission.ticket()
    before = second.admitted
    first.leave(taken)
    assert (before, second.admitted) == (False, True)
    await second.wait()
    assert admission.in_flight == 1


async def test_who_stops_waiting_gets_nothing_and_keeps_nobody_waiting() -> None:
    admission = admission_of(1)
    first, (taken,) = asks(admission, 1)
    second, third = admission.ticket(), admission.ticket()
    second.close()
    first.leave(taken)
    assert third.admitted
    third.close()
    assert admission.in_flight == 0


async def test_a_request_that_generates_nothing_gives_its_first_place_back_once() -> None:
    admission = admission_of(2)
    ticket = admission.ticket()
    for _ in range(2):
        ticket.close()
    assert admission.in_flight == 0


async def test_a_first_place_that_was_used_is_not_given_back_twice() -> None:
    admission = admission_of(2)
    ticket, (place,) = asks(admission, 1)
    ticket.leave(place)
    ticket.close()
    assert admission.in_flight == 0


# -- turns


def answer_one(admission: Admission, held: list[tuple[Ticket, list[Place]]]) -> None:
    """The place that was granted first comes back."""
    for ticket, places in held:
        for place in places:
            if place.granted.done():
                places.remove(place)
                ticket.leave(place)
                return


async def test_a_large_request_is_not_overtaken_by_small_ones_that_come_later() -> None:
    admission = admission_of(8)
    before, large = asks(admission, 8), asks(admission, 8)
    later = [asks(admission, 1) for _ in range(5)]
    for _ in range(8):
        answer_one(admission, [before])
    assert granted(large[1]) == 8
    assert not any(granted(places) for _, places in later)


async def test_a_large_request_begins_with_the_first_place_there_is() -> None:
    admission = admission_of(8)
    asks(admission, 7)
    _, places = asks(admission, 8)
    assert granted(places) == 1


async def test_a_request_that_has_had_every_place_lets_the_others_go_first() -> None:
    admission = admission_of(4)
    huge = asks(admission, 1000)
    small = asks(admission, 2)
    for _ in range(4):
        answer_one(admission, [huge])
    assert (granted(huge[1]), granted(small[1])) == (2, 2)
    for _ in range(2):
        answer_one(admission, [small])
    assert granted(huge[1]) == 4


async def test_a_request_that_comes_back_for_more_has_kept_its_turn() -> None:
    """A strategy that samples in waves is not behind those who came while it looked at the last one."""
    admission = admission_of(2)
    early, (first,) = asks(admission, 1)
    held = asks(admission, 1)
    later = admission.ticket()
    more = early.ask()
    answer_one(admission, [held])
    assert more.granted.done()
    before = later.admitted
    early.leave(first)
    assert (before, later.admitted) == (False, True)


@pytest.mark.parametrize("seed", range(20))
async def test_everybody_is_served_whatever_comes_and_goes(seed: int) -> None:
    """Never more than the limit at work, never a free place while one is wanted, nothing left at the end."""
    draw, admission = random.Random(seed), admission_of(7, max_queued=1000)
    held: list[tuple[Ticket, list[Place]]] = []
    for _ in range(300):
        if draw.random() < 0.3 or not held:
            held.append(asks(admission, draw.choice([1, 1, 4, 30])))
        ticket, places = draw.choice(held)
        if places and draw.random() < 0.9:
            ticket.leave(places.pop(draw.randrange(len(places))))
        if places and draw.random() < 0.2:
            places.append(ticket.ask())
        wanted = sum(not place.granted.done() for _, places in held for place in places)
        assert admission.in_flight == min(7, sum(len(places) for _, places in held))
        assert wanted == sum(len(places) for _, places in held) - admission.in_flight
    for ticket, places in held:
        for place in places:
            ticket.leave(place)
        ticket.close()
    assert admission.in_flight == 0


# -- the queue


async def test_one_too_many_in_the_queue_is_refused_at_once() -> None:
    admission = admission_of(1, max_queued=1)
    asks(admission, 1)
    second, third = admission.ticket(), admission.ticket()
    waiting = asyncio.create_task(second.wait())
    await settle()
    assert admission.queued == 1
    error = await refusal(third.wait())
    assert all(word in str(error) for word in ("1 requests are waiting", "--max-queued-requests", "--max-candidates"))
    await cancelled(waiting)
    assert admission.queued == 0


async def test_a_wait_ends_after_its_time() -> None:
    admission = admission_of(1, max_queue_s=0.01)
    asks(admission, 1)
    second = admission.ticket()
    assert "--max-queue-s" in str(await refusal(second.wait()))
    second.close()
    assert (admission.queued, admission.in_flight) == (0, 1)


async def test_without_a_queue_who_finds_no_place_is_refused() -> None:
    admission = admission_of(1, max_queued=0)
    first, (taken,) = asks(admission, 1)
    second = admission.ticket()
    await refusal(second.wait())
    second.close()
    first.leave(taken)
    await admission.ticket().wait()


async def held_for(admission: Admission, clock: HandClock, seconds: float, times: int) -> None:
    for _ in range(times):
        ticket, (place,) = asks(admission, 1)
        clock.now_s += seconds
        ticket.leave(place)


@pytest.mark.parametrize(
    ("held_s", "wanted", "expected_s"), [(20.0, 4, 20.0), (20.0, 2, 10.0), (0.001, 1, 0.1), (10_000.0, 4, 60.0)]
)
async def test_the_time_to_come_back_follows_how_long_places_are_held(
    held_s: float, wanted: int, expected_s: float
) -> None:
    clock = HandClock()
    admission = admission_of(4, max_queued=0, clock=clock)
    await held_for(admission, clock, held_s, times=200)
    asks(admission, 4)
    *_, last = [admission.ticket() for _ in range(wanted)]
    error = await refusal(last.wait())
    assert error.retry_after_s == pytest.approx(expected_s, rel=0.05)


async def test_those_who_are_refused_together_do_not_come_back_together() -> None:
    admission = Admission(1, max_queued=0)
    asks(admission, 1)
    times = {(await refusal(admission.ticket().wait())).headers["retry-after-ms"] for _ in range(20)}
    assert len(times) > 10
