import math
from typing import Any

import pytest

from loadtests.bench.strategies.summary import (
    FULL,
    TOO_LATE,
    gain_kept,
    latency_ratio,
    read_shot,
    recalibrated,
    samples_saved,
    size_for,
    tokens_share,
)
from measuring.answers import Answer
from tests.loadtests.bench.strategies.shots import arm, shot
from training.labs import lab

LAB = lab("arithmetic")
QUESTION = ({"role": "user", "content": "What is 35+21+81?"},)


def candidate(text: str, reward: float | None, tokens: int, finish_reason: str) -> dict[str, Any]:
    return {"text": text, "reward": reward, "completion_tokens": tokens, "finish_reason": finish_reason}


def test_what_is_kept_is_a_share_of_the_gain_not_of_the_gold() -> None:
    full = arm(FULL, [shot(1.0, tokens=200, latency_s=2.0)] * 20)
    half = arm("half", [shot(1.0), shot(0.5)] * 10)
    kept = gain_kept(half, full)
    assert kept.value == pytest.approx(0.5), "gold .75, where one sample has .5 and the best of all has 1"
    assert 0 < kept.low < kept.value < kept.high < 1
    assert gain_kept(full, full).text() == "1.000 [1.000, 1.000]", "paired: what all arms share cancels"
    assert tokens_share(half, full).value == 0.5
    assert latency_ratio(half, full, 0.99).value == 0.5


def test_without_a_gain_there_is_no_share_of_it() -> None:
    full = arm(FULL, [shot(0.5)] * 4)
    assert math.isnan(gain_kept(full, full).value)


@pytest.mark.parametrize(("gold", "size"), [(0.4, 1), (0.5, 1), (0.7, math.sqrt(2)), (0.9, 2), (0.95, 8), (1.0, 8)])
def test_the_fixed_n_of_equal_gold_lies_on_a_line_over_log_n(gold: float, size: float) -> None:
    assert size_for(gold, [1, 2, 4, 8], [0.5, 0.9, 0.8, 0.95]) == pytest.approx(size)


def test_samples_are_saved_beside_the_n_of_equal_gold() -> None:
    fixed = {1: arm("1", [shot(0.0)] * 8), 4: arm("4", [shot(1.0)] * 8)}
    assert samples_saved(arm("adaptive", [shot(1.0, sampled=3)] * 8), fixed).value == pytest.approx(0.25)
    assert samples_saved(arm("adaptive", [shot(1.0, sampled=5)] * 8), fixed).value == pytest.approx(-0.25)


def answer(selected: int, reward: float | None, candidates: list[dict[str, Any]]) -> Answer:
    rerank = {
        "candidates": candidates,
        "selected": [selected],
        "reward": reward,
        "sampled": 3,
        "stop_reason": "deadline",
    }
    message = {"message": {"content": candidates[selected]["text"]}}
    return Answer(0, 200, 0.0, 0.25, body={"choices": [message], "usage": {"completion_tokens": 33}, "rerank": rerank})


def test_an_answer_is_read_with_what_its_candidates_say_of_one_sample() -> None:
    right, wrong = candidate("Answer: 137", 1.0, 10, "stop"), candidate("Answer: 138", None, 20, "stop")
    aborted = candidate("35+", None, 3, "abort")
    seen = read_shot(answer(0, 1.0, [right, wrong, aborted]), QUESTION, LAB)
    assert (seen.latency_s, seen.gold, seen.tokens, seen.sampled, seen.length) == (0.25, 1.0, 33, 3, 10)
    assert seen.single == 0.5, "of the finished ones: what was aborted is nobody's answer"
    unscored = read_shot(answer(1, None, [aborted, wrong, wrong]), QUESTION, LAB)
    assert (unscored.gold, unscored.calibrated_length) == (0.0, 20), "there was no time to score any"


def test_a_missed_deadline_is_an_answer_without_gold_and_another_failure_none_at_all() -> None:
    late = Answer(0, 504, 0.0, 0.25, error="HTTP 504: rerank.deadline_ms passed")
    seen = read_shot(late, QUESTION, LAB)
    assert (seen.gold, seen.stop_reason) == (0.0, TOO_LATE)
    with pytest.raises(RuntimeError, match="a request failed: HTTP 500"):
        read_shot(Answer(0, 500, 0.0, 0.25, error="HTTP 500: no"), QUESTION, LAB)


def test_what_length_alone_explains_is_taken_back() -> None:
    """Reward rises with length; the one that is best for its length is chosen, never one that was aborted."""
    rewards = {10: 1.0, 20: 2.6, 30: 3.0, 40: 4.0}
    candidates = [candidate("", reward, tokens, "stop") for tokens, reward in rewards.items()]
    assert recalibrated([*candidates, candidate("", None, 1, "abort")]) == 1
