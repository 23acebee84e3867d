import math
from pathlib import Path

import pytest
from jinja2 import Environment

from loadtests.bench.peers import measure as bench_peers
from loadtests.bench.peers.report import OURS, PLAIN, Measured, Setup, Span, summarise, verdict
from measuring.client import Answer, Load
from training.data.records import user
from training.labs import checkpoint, lab

ARITHMETIC = lab("arithmetic")
TEMPLATE = Path(bench_peers.__file__).parent / "optillm_chat_template.jinja"


def _render(path: Path, messages: list[dict[str, str]]) -> str:
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(path.read_text(encoding="utf-8"))
    return template.render(messages=messages, add_generation_prompt=True)


def test_a_question_through_optillm_looks_like_a_question_without_it() -> None:
    own = checkpoint("arithmetic-sft") / "chat_template.jinja"
    question = {"role": "user", "content": "What is 35+21+81?"}
    wrapped = [{"role": "system", "content": ""}, question | {"content": "User: What is 35+21+81?"}]
    assert _render(TEMPLATE, wrapped) == _render(TEMPLATE, [question]) == _render(own, [question])


def test_a_rating_starts_with_the_rated_answer() -> None:
    rated = {"role": "assistant", "content": "35+21=56\nAnswer: 56"}
    asked = {"role": "user", "content": "Rate the above response:"}
    text = _render(TEMPLATE, [rated, asked])
    assert text.endswith("<|user|>Rate the above response:<|end|><|assistant|>35+21=56\nAnswer: 56")


def _answer(index: int, latency_s: float, text: str, status: int = 200) -> Answer:
    body = {"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": 10}}
    ok = status == 200
    return Answer(index, status, 0.0, latency_s, body=body if ok else None, error="" if ok else f"HTTP {status}")


def test_a_load_is_measured_against_its_own_prompts() -> None:
    prompts = [user("What is 10+10+10?"), user("What is 20+20+20?"), user("What is 30+30+30?")]
    answers = (_answer(0, 1.0, "Answer: 30"), _answer(1, 3.0, "Answer: 61"), _answer(2, 9.0, "", status=500))
    measured = Measured.of(Load(2, answers, wall_s=4.0), prompts, ARITHMETIC)
    assert (measured.requests, measured.failed, measured.right, measured.tokens) == (3, 1, 1, 20)
    assert (measured.requests_per_second, measured.p50_s) == (0.5, 2.0)
    assert measured.p95_s == pytest.approx(2.9)


def test_a_load_without_answers_has_no_latency() -> None:
    measured = Measured.of(Load(1, (_answer(0, 1.0, "", status=500),), wall_s=1.0), [user("?")], ARITHMETIC)
    assert measured.failed == 1
    assert measured.requests_per_second == 0
    assert math.isnan(measured.p95_s)


def _measured(rate: float, p95_s: float) -> Measured:
    return Measured(10, 0, right=5, tokens=100, requests_per_second=rate, p50_s=1.0, p95_s=p95_s)


ROUNDS = [
    {OURS: [_measured(8, 1), _measured(12, 3)], PLAIN: [_measured(20, 1)], "slow": [_measured(5, 8)]},
    {OURS: [_measured(20, 1), _measured(20, 1)], PLAIN: [_measured(25, 1)], "slow": [_measured(4, 8)]},
]


def test_a_setup_is_compared_with_the_mean_of_bestofn_in_the_same_round() -> None:
    summary = summarise(Setup("slow", "", {}), ROUNDS)
    assert summary.throughput == Span(3.5, 2.0, 5.0)
    assert summary.p95 == Span(0.1875, 0.125, 0.25)
    assert summary.gold is not None
    assert (summary.requests, summary.failed, summary.tokens, summary.gold.value) == (20, 0, 10, 0.5)


def test_bestofn_is_summarised_over_both_ends_of_each_round() -> None:
    assert summarise(Setup(OURS, "", {}), ROUNDS).requests_per_second == Span(16.0, 8.0, 20.0)


def test_the_verdict_names_the_best_server_that_ranks() -> None:
    names = {OURS: True, PLAIN: False, "slow": True}
    said = verdict([summarise(Setup(name, "", {}, ranks), ROUNDS) for name, ranks in names.items()])
    assert "keeps 0.65 (0.5 - 0.8) of the throughput" in said
    assert "3.5 (2 - 5) times as many requests as slow" in said


def test_a_server_that_answered_nothing_is_no_rival() -> None:
    gone = Measured(10, 10, right=0, tokens=0, requests_per_second=0, p50_s=math.nan, p95_s=math.nan)
    rounds = [one | {"gone": [gone]} for one in ROUNDS]
    summaries = [
        summarise(Setup(name, "", {}, ranks), rounds)
        for name, ranks in ((OURS, True), (PLAIN, False), ("gone", True), ("slow", True))
    ]
    assert "gone" not in verdict(summaries)
    assert "p95 of slow" in verdict(summaries)
    assert "half the cores" in verdict(summaries)
    assert "goal" not in verdict(summaries[:3])


@pytest.mark.parametrize(
    ("arguments", "option"), [(["--rounds", "0"], "--rounds"), (["--its-hub", "/no/python"], "--its-hub")]
)
def test_a_wrong_option_is_named(arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_peers._options(arguments)
    assert f"error: {option}: " in capsys.readouterr().err
