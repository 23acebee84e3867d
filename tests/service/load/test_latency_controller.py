"""The controller of N under load: its bounds, and how it behaves over a server that is a queueing model."""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.load.latency_controller import (
    AIM,
    Arrivals,
    Correction,
    Knowledge,
    Latency,
    Occupancy,
    Recent,
    RequestClass,
    SloController,
    adjustable,
    lowered_best_of,
)
from service.rerank.request import Ask
from tests.service.fakes import make_ask

TARGET_S = 1.0


def ask_for(best_of: int, n: int = 1, **fields: object) -> Ask:
    return make_ask({"best_of": best_of, "n": n, **fields})


# -- decisions

loads = st.builds(
    Occupancy,
    in_flight=st.integers(0, 10_000),
    asked=st.integers(0, 10_000),
    fixed=st.integers(0, 10_000),
)
rooms = st.integers(0, 10_000)
answers = st.lists(st.tuples(st.integers(1, 5000), st.floats(1e-6, 1e4)), max_size=30)


def taught(seen: Sequence[tuple[int, float]]) -> Knowledge:
    """seen: candidates in flight and seconds, one answer a second."""
    known = Knowledge()
    for second, (load, took_s) in enumerate(seen):
        known = known.learn(load, admitted_s=second - took_s, now_s=float(second), target_s=TARGET_S)
    return known


def best_of(ask: Ask, known: Knowledge, load: Occupancy, room: int = 10**6) -> int:
    return lowered_best_of(ask, known.share(ask.asked_best_of * ask.prompts, load, TARGET_S), room)


@settings(max_examples=200, deadline=None)
@given(answers, loads, rooms, st.integers(1, 64), st.integers(1, 64))
def test_n_is_never_below_what_is_returned_nor_above_what_was_asked(
    seen: list[tuple[int, float]], load: Occupancy, room: int, n: int, more: int
) -> None:
    ask = ask_for(min(n + more, 64), n)
    assert ask.n <= best_of(ask, taught(seen), load, room) <= ask.asked_best_of


@settings(max_examples=200, deadline=None)
@given(answers, loads, loads, st.integers(2, 64))
def test_n_does_not_grow_with_any_part_of_the_load(
    seen: list[tuple[int, float]], load: Occupancy, more: Occupancy, asked: int
) -> None:
    known, ask = taught(seen), ask_for(asked)
    heavier = Occupancy(load.in_flight + more.in_flight, load.asked + more.asked, load.fixed + more.fixed)
    assert best_of(ask, known, heavier) <= best_of(ask, known, load)


@settings(max_examples=100, deadline=None)
@given(loads, st.integers(2, 64))
def test_without_an_answer_n_is_what_was_asked(load: Occupancy, asked: int) -> None:
    assert best_of(ask_for(asked), Knowledge(), load) == asked


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(2, 16), st.integers(0, 40))
def test_a_request_that_has_room_when_lowered_is_not_refused(prompts: int, asked: int, room: int) -> None:
    ask = make_ask({"best_of": asked, "prompt": ["a"] * prompts}, endpoint="completions")
    used = best_of(ask, Knowledge(), Occupancy(0, 0, 0), room)
    assert used * prompts <= room or used == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), min_size=1, max_size=20))
def test_the_recent_share_lies_between_those_that_it_is_the_mean_of(seen: list[tuple[float, float]]) -> None:
    recent, now_s = Recent(), 0.0
    for share, gap_s in seen:
        now_s += gap_s
        recent = recent.follow(share, now_s)
    shares = [share for share, _ in seen]
    assert min(shares) - 1e-9 <= recent.share <= max(shares) + 1e-9


def test_a_share_falls_at_once_and_rises_over_seconds() -> None:
    busy = Recent().follow(0.25, 0.0)
    assert busy.share == 0.25, "nothing is known from before"
    risen = [busy.follow(1.0, seconds).share for seconds in (0.1, 3, 30)]
    assert risen == pytest.approx([0.27, 0.72, 1.0], abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.floats(0.001, 0.1), st.integers(0, 1000))
def test_the_line_is_found(fixed_s: float, each_s: float, seed: int) -> None:
    line, generator = Latency(), random.Random(seed)
    for _ in range(400):
        load = generator.randint(1, 200)
        line = line.learn(load, fixed_s + each_s * load)
    assert line.expected_s(150) == pytest.approx(fixed_s + each_s * 150, rel=0.1)
    assert line.deviation < 0.3


def test_answers_at_one_load_are_taken_to_be_in_proportion_to_it() -> None:
    line = Latency().learn(16, 0.4).learn(16, 0.4)
    assert line.slope_s == pytest.approx(0.4 / 16)
    assert line.expected_s(32) == pytest.approx(0.8)


def test_requests_share_what_fits_in_proportion_to_what_they_ask_for() -> None:
    known = taught([(load, 0.02 * load) for load in (10, 20, 30, 40) * 100])
    fits = known.latency.load_for(AIM * TARGET_S)
    assert 20 < fits < 45
    load = Occupancy(in_flight=int(fits) // 2, asked=2 * int(fits), fixed=0)
    shares = [best_of(ask_for(asked), known, load) / asked for asked in (16, 32)]
    assert shares == pytest.approx([0.4, 0.33], abs=0.07)


def test_what_cannot_be_lowered_is_taken_off_first() -> None:
    known = taught([(load, 0.02 * load) for load in (10, 20, 30, 40) * 100])
    free, taken = Occupancy(0, 20, 0), Occupancy(0, 20, 20)
    assert best_of(ask_for(16), known, taken) < best_of(ask_for(16), known, free)


@pytest.mark.parametrize(
    ("body", "lowered"),
    [
        ({"best_of": 4}, True),
        ({"best_of": 4, "n": 3}, True),
        ({"best_of": 4, "n": 4}, False),
        ({"best_of": 1}, False),
        ({"best_of": 4, "temperature": 0}, False),
        ({"best_of": 4, "rerank": {"fixed_best_of": True}}, False),
        ({"best_of": 4, "rerank": {"fixed_best_of": False}}, True),
    ],
)
def test_what_is_lowered(body: dict[str, object], lowered: bool) -> None:
    assert adjustable(make_ask(body)) == lowered


@pytest.mark.parametrize(
    ("body", "length"),
    [({"max_tokens": 64}, 0), ({"max_completion_tokens": 65}, 1), ({"max_output_tokens": 5000}, 4), ({}, 4)],
)
def test_requests_are_classed_by_their_length(body: dict[str, object], length: int) -> None:
    assert RequestClass.of(make_ask(body)) == RequestClass("chat", length)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**9))
def test_there_are_few_classes(tokens: int) -> None:
    assert 0 <= RequestClass.of(make_ask({"max_tokens": tokens})).length <= 4


# -- the correction


def after(late: Sequence[bool], *, delay_s: float = 0.1) -> Correction:
    correction = Correction()
    for number, missed in enumerate(late):
        now_s = number / 10
        correction = correction.learn(missed, admitted_s=now_s - delay_s, now_s=now_s)
    return correction


def test_the_misses_that_are_allowed_change_nothing() -> None:
    assert after(([False] * 199 + [True]) * 20).share == 1


def test_late_answers_lower_the_share_once_for_each_time_that_it_takes_to_be_felt() -> None:
    assert after([True] * 10).share < 1
    assert after([True] * 50, delay_s=5).share == pytest.approx(0.8)


def test_the_share_comes_back_with_good_answers() -> None:
    """Ten answers a second: half a minute until the late ones are forgotten, then a sixtieth each second."""
    assert after([True] * 30).share < 0.5
    assert after([True] * 30 + [False] * 200).share < 0.5
    assert after([True] * 30 + [False] * 900).share == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=300))
def test_the_share_stays_within_its_bounds(late: list[bool]) -> None:
    assert 0.1 <= after(late).share <= 1


# -- what is in flight


def test_what_requests_hold_is_given_back() -> None:
    controller = SloController(TARGET_S)
    ask = ask_for(16)
    for second in range(200):
        controller.answered(ask, 16, admitted_s=second - 0.5, now_s=float(second))
    alone = controller.fit(ask, room=512, now_s=200.0).best_of
    with controller.hold(ask), controller.hold(ask_for(16, temperature=0)):
        assert controller.fit(ask, room=512, now_s=200.0).best_of < alone
    assert controller.fit(ask, room=512, now_s=300.0).best_of == alone


def test_a_request_that_insists_gets_its_n_from_a_busy_server() -> None:
    controller = SloController(TARGET_S)
    for second in range(200):
        controller.answered(ask_for(16), 16, admitted_s=second - 2.0, now_s=float(second))
    insists = ask_for(16, rerank={"fixed_best_of": True})
    with controller.hold(ask_for(64)), controller.hold(ask_for(64)), controller.hold(ask_for(64)):
        assert controller.fit(ask_for(16), room=312, now_s=200.0).best_of == 1
        assert controller.fit(insists, room=312, now_s=200.0) == insists


# -- over time: a server that is a queueing model


@dataclass
class Answered:
    """One request of a simulation. best_of: that was used."""

    arrived_s: float
    took_s: float
    best_of: int


@dataclass
class Server:
    """Processor sharing: each candidate is `work_s` alone, and `capacity` of them run at full speed.

    Past that they all slow down alike, so what has been done for any of them is one number, `done_s`.
    """

    capacity: float = 16
    work_s: float = 0.2
    spread: float = 0.1
    controller: SloController | None = None
    now_s: float = 0.0
    done_s: float = 0.0
    in_flight: int = 0
    running: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)

    @property
    def speed(self) -> float:
        return min(1.0, self.capacity / max(self.in_flight, 1))

    def until(self, now_s: float) -> None:
        while self.running and self.now_s + (self.running[0][0] - self.done_s) / self.speed <= now_s:
            ends_at, _, end = heapq.heappop(self.running)
            self.now_s += max(ends_at - self.done_s, 0.0) / self.speed
            self.done_s = max(ends_at, self.done_s)
            end()
        self.done_s += (now_s - self.now_s) * self.speed
        self.now_s = now_s

    def arrive(self, ask: Ask, generator: random.Random) -> None:
        if self.controller is not None:
            ask = self.controller.fit(ask, room=10**6, now_s=self.now_s)
        held = self.controller.hold(ask) if self.controller is not None else None
        if held is not None:
            held.__enter__()
        self.in_flight += ask.candidates
        load, arrived_s = self.in_flight, self.now_s

        def end() -> None:
            self.in_flight -= ask.candidates
            self.answers.append(Answered(arrived_s, self.now_s - arrived_s, ask.best_of))
            if held is not None and self.controller is not None:
                held.__exit__(None, None, None)
                self.controller.answered(ask, load, admitted_s=arrived_s, now_s=self.now_s)

        work_s = self.work_s * generator.lognormvariate(0, self.spread)
        heapq.heappush(self.running, (self.done_s + work_s, len(self.answers) + len(self.running), end))


def simulate(steps: Sequence[tuple[float, float]], *, controlled: bool = True, seed: int = 0) -> list[Answered]:
    """steps: seconds and requests a second, one after the other; each request asks for 16 candidates."""
    generator = random.Random(seed)
    server = Server(controller=SloController(TARGET_S) if controlled else None)
    ends_s = 0.0
    for seconds, rate in steps:
        ends_s += seconds
        while (arrives_s := server.now_s + generator.expovariate(rate)) < ends_s:
            server.until(arrives_s)
            server.arrive(ask_for(16), generator)
        server.until(ends_s)
    server.until(ends_s + 1000)
    return sorted(server.answers, key=lambda answer: answer.arrived_s)


def between(answers: Sequence[Answered], begins_s: float, ends_s: float) -> list[Answered]:
    return [answer for answer in answers if begins_s <= answer.arrived_s < ends_s]


def mean_n(answers: Sequence[Answered]) -> float:
    return sum(answer.best_of for answer in answers) / len(answers)


def late(answers: Sequence[Answered]) -> float:
    return sum(answer.took_s > TARGET_S for answer in answers) / len(answers)


LIGHT, FULL, TWICE = 1.0, 3.5, 7.0  # the server does 80 candidates a second: 5 requests with N = 16


@pytest.mark.parametrize("seed", range(3))
def test_a_doubling_of_the_load_is_answered_in_time_from_its_first_seconds(seed: int) -> None:
    answers = simulate([(60, FULL), (120, TWICE)], seed=seed)
    assert late(between(answers, 0, 60)) <= 0.01
    assert late(between(answers, 60, 70)) <= 0.05
    assert late(between(answers, 70, 180)) <= 0.01
    assert mean_n(between(answers, 0, 60)) > 12
    assert 7 < mean_n(between(answers, 70, 180)) < 12, "the server can do 80 / 7 = 11.4 for each request"
    assert late(between(simulate([(60, FULL), (120, TWICE)], controlled=False, seed=seed), 70, 180)) > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_after_the_load_has_fallen_n_is_what_was_asked_within_seconds(seed: int) -> None:
    answers = simulate([(60, TWICE), (60, LIGHT)], seed=seed)
    assert mean_n(between(answers, 65, 120)) > 15.5


@pytest.mark.parametrize("seed", range(3))
def test_under_a_steady_load_n_does_not_swing(seed: int) -> None:
    answers = between(simulate([(230, TWICE)], seed=seed), 30, 230)
    means = [mean_n(between(answers, begins_s, begins_s + 20)) for begins_s in range(30, 230, 20)]
    middle = sum(means) / len(means)
    assert math.sqrt(sum((mean - middle) ** 2 for mean in means) / len(means)) < 0.2 * middle


def test_a_server_that_starts_under_twice_its_load_finds_its_n() -> None:
    assert late(simulate([(120, TWICE)])) <= 0.02


def test_light_load_is_left_alone() -> None:
    assert mean_n(simulate([(200, LIGHT)])) > 15.5


def test_arrivals_are_counted_by_the_second() -> None:
    """16 candidates every 0.1 s are 160 a second; 10 s later e^-2 of them count."""
    seen = Arrivals()
    for number in range(1000):
        seen = seen.follow(16, number / 10)
    assert seen.asked_per_s == pytest.approx(160, rel=0.02)
    assert seen.follow(0, 99.9 + 10).asked_per_s == pytest.approx(160 * math.exp(-2), rel=0.02)


@pytest.mark.parametrize("loads", [range(10, 100), range(60, 150)], ids=["calm moments too", "always busy"])
def test_a_lull_in_a_lasting_load_does_not_raise_n(loads: range) -> None:
    """Nothing is in flight, but as much arrives in a second as would be twice of what fits."""
    known = Knowledge(taught([(load, 0.01 * load) for load in loads] * 5).latency)
    fits = known.latency.load_for(AIM * TARGET_S)
    lasting = Occupancy(0, 0, 0, 2 * fits / known.latency.expected_s(fits))
    assert known.share(16, lasting, TARGET_S) == pytest.approx(0.5, abs=0.01)
    assert known.share(16, Occupancy(0, 0, 0), TARGET_S) == 1


def test_a_target_far_away_leaves_n_alone_however_little_is_known() -> None:
    """One answer of an idle server says nothing about what hundreds of candidates would take."""
    known = taught([(1, 1.0)])
    assert known.share(16, Occupancy(0, 0, 0, asked_per_s=32), 600) == 1
