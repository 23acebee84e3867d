import math

import pytest

from loadtests.bench.latency_target.summary import Arrival, Goal, summarise


def test_figures_are_of_what_was_offered_not_of_what_was_answered() -> None:
    answered = [Arrival(0, second, 200, 0.5 + second / 10, 8, 1.0, correct=True) for second in range(10)]
    refused = [Arrival(1, float(second), 429) for second in range(10)]
    summary = summarise([*answered, *refused], target_s=1.0, seconds=10)
    assert (summary.requests, summary.failed) == (20, 0)
    assert summary.in_time.value == pytest.approx(6 / 20)
    assert summary.goodput.value == pytest.approx(6 / 20), "six answers in 20 seconds"
    assert summary.refused.value == 0.5
    assert summary.p50_s.value == pytest.approx(0.9)
    assert summary.p99_s.value == pytest.approx(1.4)
    assert (summary.best_of.value, summary.reward.value, summary.correct.value) == (8, 1, 1)
    assert summary.in_time.low < summary.in_time.value < summary.in_time.high


def test_a_server_that_answers_nothing_has_no_latency() -> None:
    summary = summarise([Arrival(0, 0.0, 429), Arrival(0, 1.0, 500)], target_s=1.0, seconds=2)
    assert (summary.failed, summary.goodput.value, summary.refused.value) == (1, 0, 0.5)
    assert math.isnan(summary.p99_s.value)
    with pytest.raises(ValueError, match="no request"):
        summarise([], target_s=1.0, seconds=2)


def test_only_as_many_candidates_as_a_full_server_answers_in_time_are_let_in() -> None:
    assert Goal(16, 0.2, target_s=1.0, rate=3, full_rate=6.5, steps=[]).max_candidates == 6 * 16
    assert Goal(16, 0.2, target_s=0.1, rate=3, full_rate=2, steps=[]).max_candidates == 16
