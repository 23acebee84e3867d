"""How many candidates may be in flight."""

from contextlib import ExitStack

import pytest

from service.load.admission import Admission
from service.rerank.errors import Overloaded


class HandClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def refused(admission: Admission, candidates: int) -> Overloaded:
    with pytest.raises(Overloaded) as caught, admission.hold(candidates):
        pass
    return caught.value


def test_places_are_held_and_given_back() -> None:
    admission = Admission(8)
    with admission.hold(3), admission.hold(5):
        assert admission.in_flight == 8
    assert admission.in_flight == 0


def test_places_are_given_back_after_an_error() -> None:
    admission = Admission(8)
    with pytest.raises(RuntimeError), admission.hold(8):
        raise RuntimeError
    assert admission.in_flight == 0


def test_one_too_many_is_refused_and_takes_no_place() -> None:
    admission = Admission(8)
    with admission.hold(8):
        refused(admission, 1)
        assert admission.in_flight == 8


def test_the_refusal_says_what_is_wrong() -> None:
    admission = Admission(8)
    with admission.hold(5):
        message = str(refused(admission, 4))
    assert all(number in message for number in ("5", "4", "8"))


def test_what_still_fits_is_admitted_after_a_refusal() -> None:
    admission = Admission(8)
    with admission.hold(5):
        refused(admission, 4)
        with admission.hold(3):
            assert admission.in_flight == 8


def held_for(admission: Admission, clock: HandClock, seconds: float, times: int) -> None:
    for _ in range(times):
        with admission.hold(1):
            clock.now_s += seconds


def test_retry_after_follows_how_long_places_are_held() -> None:
    clock = HandClock()
    admission = Admission(4, clock)
    held_for(admission, clock, seconds=20.0, times=100)
    with admission.hold(4):
        assert refused(admission, 4).retry_after_s == pytest.approx(20, abs=1)
        assert refused(admission, 2).retry_after_s == pytest.approx(10, abs=1)


def test_retry_after_is_a_whole_second_at_least_and_a_minute_at_most() -> None:
    clock = HandClock()
    admission = Admission(4, clock)
    held_for(admission, clock, seconds=0.001, times=100)
    with admission.hold(4):
        assert refused(admission, 1).retry_after_s == 1
    held_for(admission, clock, seconds=10_000.0, times=3)
    with admission.hold(4):
        assert refused(admission, 4).retry_after_s == 60


def test_retry_after_is_the_longer_the_more_places_are_missing() -> None:
    clock = HandClock()
    admission = Admission(64, clock)
    held_for(admission, clock, seconds=30.0, times=50)
    with ExitStack() as held:
        held.enter_context(admission.hold(64))
        waits = [refused(admission, candidates).retry_after_s for candidates in (1, 8, 32, 64)]
    assert waits == sorted(set(waits))
