from pathlib import Path

import pytest

from loadtests.bench.overload import counters, differences, read_run, run_locust
from measuring.client import connect
from tests.server import API_KEY, Server


@pytest.mark.engine
async def test_four_times_too_much_is_answered_or_refused_and_all_of_it_counted(server: Server, tmp_path: Path) -> None:
    """The server has 256 places, room for four requests of 64 candidates, and a queue of 8; 30 users want it."""
    workload = tmp_path / "full.yaml"
    workload.write_text("best_of: {64: 1}\nmax_tokens: {uniform: {low: 8, high: 24}}")
    server.wait_idle()
    limits = ("--slo-error-rate", "0", "--api-key", API_KEY, "--best-of-field", "n")  # which no latency target lowers
    async with connect(server.url, api_key=API_KEY, clients=1) as client:
        before = await counters(client)
        run = await run_locust(server.url, 30, 12, *limits, workload=workload)
        after = await counters(client)
    assert run.status == 0, "a request was neither answered nor refused"
    assert run.post.failures == 0
    assert run.post.requests > 0
    assert run.refused.requests == run.retry_after.requests > 0
    assert min(run.retry_after.values) >= 1000
    assert max(run.retry_after.values) <= 60_000
    assert differences(before, after, run) == []
    server.wait_idle()


def test_rates_and_quantiles_are_of_what_locust_wrote() -> None:
    entry = {
        "num_requests": 4,
        "num_failures": 1,
        "total_response_time": 1300.0,
        "response_times": {"100": 3, "1000": 1},
        "start_time": 100.0,
        "last_request_timestamp": 160.0,
    }
    answered = {"method": "ms", "num_requests": 3, "num_failures": 0, "response_times": {"1000": 3}}
    run = read_run(
        0,
        [
            entry | {"method": "POST", "name": "chat best_of=1"},
            entry | {"method": "POST", "name": "chat best_of=8 stream", "last_request_timestamp": 164.0},
            entry | answered | {"name": "chat best_of=1 answered"},
            entry | answered | {"name": "chat best_of=8 stream answered", "start_time": 99.0},
            entry | answered | {"name": "chat best_of=8 stream first byte", "start_time": 1.0},
        ],
    )
    assert (run.post.requests, run.post.failures, run.post.total) == (8, 2, 2600)
    assert [run.post.quantile(share) for share in (0.5, 0.75, 0.76, 1.0)] == [100, 100, 1000, 1000]
    assert run.answered.quantile(0.01) == 1000, "failures are in no latency"
    assert run.counted["answered"] == 6
    assert run.refused.requests == 0
    assert run.lasted_s == 65


def test_a_run_without_an_answer_lasted_no_time() -> None:
    assert read_run(0, []).lasted_s == 0
