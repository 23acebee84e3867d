import pytest

from loadtests.locust.objectives import LatencyLimit, Objectives, Seen, missed

SEEN = Seen(answered=90, failed=2, refused=8, p95_ms={None: 900.0, 8: 1200.0})


@pytest.mark.parametrize(("text", "limit"), [("800", LatencyLimit(None, 800)), ("8:800.5", LatencyLimit(8, 800.5))])
def test_a_limit_is_of_all_requests_or_of_one_n(text: str, limit: LatencyLimit) -> None:
    assert LatencyLimit.parse(text) == limit


@pytest.mark.parametrize("text", ["", "fast", "0", "-3", "0:800", "8:", "8:800:3", "8:inf"])
def test_any_other_text_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="expected milliseconds"):
        LatencyLimit.parse(text)


@pytest.mark.parametrize(
    ("objectives", "lines"),
    [
        (Objectives(), []),
        (Objectives([LatencyLimit(None, 900), LatencyLimit(8, 1200)], 0.02, 0.08), []),
        (Objectives([LatencyLimit(8, 1199)]), ["p95 of best_of=8: 1200 ms, the limit is 1199 ms"]),
        (Objectives([LatencyLimit(None, 899)]), ["p95 of all requests: 900 ms, the limit is 899 ms"]),
        (Objectives([LatencyLimit(4, 9000)]), ["p95 of best_of=4: there was no answer to measure"]),
        (Objectives(error_rate=0.019), ["errors: 2 of 100 requests, the limit is 1.90%"]),
        (Objectives(refusal_rate=0.0), ["refusals (429): 8 of 100 requests, the limit is 0.00%"]),
    ],
)
def test_each_limit_that_was_missed_has_a_line(objectives: Objectives, lines: list[str]) -> None:
    assert missed(objectives, SEEN) == lines


def test_nothing_measured_is_nothing_kept() -> None:
    nothing = Seen(0, 0, 0, {})
    assert len(missed(Objectives([LatencyLimit(None, 1)], 1.0, 1.0), nothing)) == 3


def test_without_limits_there_are_no_objectives() -> None:
    assert not Objectives()
    assert Objectives(error_rate=0.0)
