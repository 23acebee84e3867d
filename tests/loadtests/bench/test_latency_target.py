"""The load test of the latency target: its figures, and a short run of it against the real server."""

import math
from pathlib import Path

import pytest

from loadtests.bench.latency_target import Goal, load, read
from loadtests.bench.latency_target_summary import Seen, over_time, quantile, summarize
from loadtests.bench.open_loop import Timed
from measuring.client import Answer, connect
from measuring.plots import save
from tests.server import API_KEY, Server

QUESTION = ({"role": "user", "content": "What is 35+21+81?"},)


def test_figures_are_of_what_was_offered_not_of_what_was_answered() -> None:
    answered = [Seen(0, second, 200, 0.5 + second / 10, 8, 1.0, correct=True) for second in range(10)]
    refused = [Seen(1, float(second), 429) for second in range(10)]
    summary = summarize([*answered, *refused], target_s=1.0, seconds=10)
    assert (summary.requests, summary.failed) == (20, 0)
    assert summary.in_time.value == pytest.approx(6 / 20)
    assert summary.goodput.value == pytest.approx(6 / 20), "six answers in 20 seconds"
    assert summary.refused.value == 0.5
    assert summary.p50_s.value == pytest.approx(0.9)
    assert summary.p99_s.value == pytest.approx(1.4)
    assert (summary.best_of.value, summary.reward.value, summary.correct.value) == (8, 1, 1)
    assert summary.in_time.low < summary.in_time.value < summary.in_time.high


def test_a_server_that_answers_nothing_has_no_latency() -> None:
    summary = summarize([Seen(0, 0.0, 429), Seen(0, 1.0, 500)], target_s=1.0, seconds=2)
    assert (summary.failed, summary.goodput.value, summary.refused.value) == (1, 0, 0.5)
    assert math.isnan(summary.p99_s.value)
    with pytest.raises(ValueError, match="no request"):
        summarize([], target_s=1.0, seconds=2)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert quantile([4, 2, 3, 1], share) == value


def test_only_as_many_candidates_as_a_full_server_answers_in_time_are_let_in() -> None:
    assert Goal(0.2, target_s=1.0, rate=3, full_rate=6.5, steps=[]).max_candidates == 6 * 16
    assert Goal(0.2, target_s=0.1, rate=3, full_rate=2, steps=[]).max_candidates == 16


@pytest.mark.parametrize(("text", "correct"), [("Answer: 137", True), ("Answer: 138", False)])
def test_an_answer_is_judged_by_the_lab(text: str, correct: bool) -> None:
    body = {"choices": [{"message": {"content": text}}], "rerank": {"best_of": 3, "reward": 0.5}}
    seen = read(Timed(1.0, Answer(0, 200, 1.0, 0.25, body=body)), QUESTION, 2)
    assert seen == Seen(2, 1.0, 200, 0.25, 3, 0.5, correct)
    assert not read(Timed(1.0, Answer(0, 429, 1.0, 0.01, error="HTTP 429")), QUESTION, 2).answered


def test_the_picture_has_a_column_for_each_server(tmp_path: Path) -> None:
    seen = [Seen(0, 1.0, 200, 0.5, 8, 1.0, correct=True), Seen(0, 2.0, 429)]
    figure = over_time({"one": seen, "other": seen[1:]}, 1.0)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["one", "other"]
    assert save(figure, tmp_path / "slo.png").stat().st_size > 10_000


@pytest.mark.engine
async def test_a_load_is_answered_by_the_real_server(server: Server) -> None:
    """Its target is too far away to be missed, so each answer has the N that was asked for."""
    met = server.metric("bestofn_slo_met_total", best_of="16")
    async with connect(server.url, api_key=API_KEY, clients=10) as client:
        seen = await load(client, rate=2.0, seconds=3.0, seed=0)
    assert seen
    assert all(one.answered and one.best_of == 16 and one.reward is not None for one in seen)
    assert any(one.correct for one in seen)
    server.wait_idle()
    assert server.metric("bestofn_slo_met_total", best_of="16") - met == len(seen)
