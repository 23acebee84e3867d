import math

import pytest

from loadtests.bench.peers.summary import OURS, Setup, SetupRound, Span, summarise
from measuring.answers import Answer
from measuring.loops import Load
from tests.loadtests.bench.peers.rounds import ROUNDS
from training.data.records import user
from training.labs import lab

ARITHMETIC = lab("arithmetic")


def _answer(index: int, latency_s: float, text: str, status: int = 200) -> Answer:
    body = {"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": 10}}
    ok = status == 200
    return Answer(index, status, 0.0, latency_s, body=body if ok else None, error="" if ok else f"HTTP {status}")


def test_a_load_is_measured_against_its_own_prompts() -> None:
    prompts = [user("What is 10+10+10?"), user("What is 20+20+20?"), user("What is 30+30+30?")]
    answers = (_answer(0, 1.0, "Answer: 30"), _answer(1, 3.0, "Answer: 61"), _answer(2, 4.0, "", status=500))
    measured = SetupRound.of(Load(answers), prompts, ARITHMETIC)
    assert (measured.requests, measured.failed, measured.right, measured.tokens) == (3, 1, 1, 20)
    assert (measured.requests_per_second, measured.p50_s) == (0.5, 2.0)
    assert measured.p95_s == pytest.approx(2.9)


def test_a_load_without_answers_has_no_latency() -> None:
    measured = SetupRound.of(Load((_answer(0, 1.0, "", status=500),)), [user("?")], ARITHMETIC)
    assert measured.failed == 1
    assert measured.requests_per_second == 0
    assert math.isnan(measured.p95_s)


def test_a_setup_is_compared_with_the_mean_of_bestofn_in_the_same_round() -> None:
    summary = summarise(Setup("slow", "", {}), ROUNDS)
    assert summary.throughput == Span(3.5, 2.0, 5.0)
    assert summary.p95 == Span(0.1875, 0.125, 0.25)
    assert summary.gold is not None
    assert (summary.requests, summary.failed, summary.tokens, summary.gold.value) == (20, 0, 10, 0.5)


def test_bestofn_is_summarised_over_both_ends_of_each_round() -> None:
    assert summarise(Setup(OURS, "", {}), ROUNDS).requests_per_second == Span(16.0, 8.0, 20.0)
