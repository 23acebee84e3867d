"""The machine's time adds up, whoever was at work."""

from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.rerank.busy_time import WORK, BusyMeter, Work


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def nothing() -> dict[Work, float]:
    return dict.fromkeys(WORK, 0.0)


def test_one_sequence_is_charged_the_whole_time() -> None:
    clock, charged_s = Clock(), nothing()
    meter = BusyMeter(clock)
    clock.now_s += 2
    with meter.working("generate", charged_s):
        clock.now_s += 3
    clock.now_s += 5
    assert charged_s == {"generate": 3.0, "score": 0.0}
    assert meter.idle_s == 7.0


def test_two_sequences_of_an_engine_share_its_time() -> None:
    clock, first, second = Clock(), nothing(), nothing()
    meter = BusyMeter(clock)
    with meter.working("generate", first):
        clock.now_s += 1
        with meter.working("generate", second):
            clock.now_s += 4
    assert (first["generate"], second["generate"]) == (3.0, 2.0)


def test_two_engines_at_work_share_the_machine() -> None:
    clock, generated, scored = Clock(), nothing(), nothing()
    meter = BusyMeter(clock)
    with ExitStack() as both:
        both.enter_context(meter.working("generate", generated))
        both.enter_context(meter.working("generate", generated))
        both.enter_context(meter.working("score", scored))
        clock.now_s += 8
    assert (generated["generate"], scored["score"]) == (4.0, 4.0)


def test_work_that_fails_is_charged_too() -> None:
    clock, charged_s = Clock(), nothing()
    meter = BusyMeter(clock)
    with suppress(RuntimeError), meter.working("score", charged_s):
        clock.now_s += 1
        raise RuntimeError
    assert charged_s["score"] == 1.0


@given(st.lists(st.tuples(st.sampled_from(WORK), st.floats(0, 10), st.floats(0, 10)), max_size=30))
def test_every_second_is_charged_to_somebody_or_is_idle(sequences: list[tuple[Work, float, float]]) -> None:
    clock, charged_s = Clock(), nothing()
    meter = BusyMeter(clock)
    begins = [(begin_s, number, True) for number, (_, begin_s, _) in enumerate(sequences)]
    ends = [(begin_s + length_s, number, False) for number, (_, begin_s, length_s) in enumerate(sequences)]
    working = [ExitStack() for _ in sequences]
    for at_s, number, begin in sorted([*begins, *ends], key=lambda event: (event[0], event[1], not event[2])):
        clock.now_s = 100 + at_s
        if begin:
            working[number].enter_context(meter.working(sequences[number][0], charged_s))
        else:
            working[number].close()
    passed_s = clock.now_s - 100
    assert sum(charged_s.values()) + meter.idle_s == pytest.approx(passed_s, abs=1e-9)
    assert min(charged_s.values()) >= 0
