import math
from dataclasses import replace

import pytest

from loadtests.sweep.summary import summarise
from tests.loadtests.sweep.records import record


def test_numbers_are_of_the_requests_that_succeeded() -> None:
    rows = summarise(record(status=429, retry_after_s=1.0, generated_tokens=0))
    assert [(row.best_of, row.clients) for row in rows] == [(1, 1), (1, 4), (8, 1), (8, 4)]
    row = rows[-1]
    assert (row.requests, row.succeeded, row.refused, row.failed) == (6, 4, 2, 0)
    assert row.p50_s.value == pytest.approx(12)
    assert 8 <= row.p50_s.low <= row.p50_s.value <= row.p50_s.high <= 16
    assert row.requests_per_second.value == pytest.approx((2 / 2 + 2 / 3) / 2)
    assert 0 <= row.requests_per_second.low < row.requests_per_second.value < row.requests_per_second.high
    assert (row.generated, row.returned, row.dollars) == (80, 10, None)
    assert row.reward is not None
    assert row.reward.value == 0.5


def test_a_cell_without_an_answer_has_no_number() -> None:
    kept = record(status=0, error="ConnectError: gone")
    nothing = replace(kept, cells=tuple(replace(c, requests=c.requests[-1:]) for c in kept.cells))
    assert all(math.isnan(row.p95_s.value) and row.failed == row.requests for row in summarise(nothing))
