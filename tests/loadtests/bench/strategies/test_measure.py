"""The load test of the strategies: its figures, and a short run of it against the real server."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from loadtests.bench.strategies.measure import LAB, Rounds, take_turns, until_idle
from loadtests.bench.strategies.report import load_figures, show, write
from loadtests.bench.strategies.summary import (
    FULL,
    OPEN,
    TOO_LATE,
    Afterwards,
    Arm,
    Load,
    Measured,
    Shot,
    gain_kept,
    latency_ratio,
    read_shot,
    recalibrated,
    samples_saved,
    size_for,
    tokens_share,
)
from measuring.client import Answer, connect
from tests.server import API_KEY, Server

QUESTION = ({"role": "user", "content": "What is 35+21+81?"},)


def shot(gold: float, *, tokens: int = 100, latency_s: float = 1.0, sampled: int = 4) -> Shot:
    return Shot(latency_s, gold, 0.5, tokens, sampled, 25, "complete", gold, 25)


def arm(name: str, shots: list[Shot]) -> Arm:
    tokens = sum(one.tokens for one in shots)
    return Arm(name).grown(shots, tokens, tokens)


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
    seen = read_shot(answer(0, 1.0, [right, wrong, aborted]), QUESTION, LAB, latency_s=0.5)
    assert (seen.latency_s, seen.gold, seen.tokens, seen.sampled, seen.length) == (0.5, 1.0, 33, 3, 10)
    assert seen.single == 0.5, "of the finished ones: what was aborted is nobody's answer"
    unscored = read_shot(answer(1, None, [aborted, wrong, wrong]), QUESTION, LAB, latency_s=0.5)
    assert (unscored.gold, unscored.calibrated_length) == (0.0, 20), "there was no time to score any"


def test_a_missed_deadline_is_an_answer_without_gold_and_another_failure_none_at_all() -> None:
    late = Answer(0, 504, 0.0, 0.25, error="HTTP 504: rerank.deadline_ms passed")
    seen = read_shot(late, QUESTION, LAB, latency_s=0.5)
    assert (seen.gold, seen.stop_reason) == (0.0, TOO_LATE)
    with pytest.raises(RuntimeError, match="a request failed: HTTP 500"):
        read_shot(Answer(0, 500, 0.0, 0.25, error="HTTP 500: no"), QUESTION, LAB, latency_s=0.5)


def test_what_length_alone_explains_is_taken_back() -> None:
    """Reward rises with length; the one that is best for its length is chosen, never one that was aborted."""
    rewards = {10: 1.0, 20: 2.6, 30: 3.0, 40: 4.0}
    candidates = [candidate("", reward, tokens, "stop") for tokens, reward in rewards.items()]
    assert recalibrated([*candidates, candidate("", None, 1, "abort")]) == 1


@pytest.mark.parametrize(("counted", "status"), [(0, 0), (1, 1)])
def test_counters_that_are_not_what_was_billed_fail_the_run(tmp_path: Path, counted: int, status: int) -> None:
    full, less = arm(FULL, [shot(1.0)] * 4), arm("prune", [shot(1.0, tokens=50)] * 4)
    late = arm("deadline", [shot(1.0)] * 3 + [Shot(0.3, 0.0)])
    measured = Measured(
        cut={FULL: full, "prune": less.grown([], counted, counted)},
        waves={"adaptive": arm("adaptive", [shot(1.0, sampled=3)] * 4)},
        fixed={1: arm("1", [shot(0.5, sampled=1)] * 4), 4: arm("4", [shot(1.0)] * 4)},
        loaded={OPEN: arm(OPEN, [shot(1.0)] * 4), "deadline": late},
        load=Load(5.0, 3.0, 0.5, 1.0),
        left={OPEN: Afterwards(0, 0, 0.01), "deadline": Afterwards(0, 0, 0.01)},
    )
    assert show(measured) == status
    assert load_figures(measured)["deadline"]["no answer in time"] == 1
    write(tmp_path, measured)
    record = json.loads((tmp_path / "strategies.json").read_text(), parse_constant=pytest.fail)
    assert record["prune"]["prune"]["tokens_share"]["value"] == 0.5
    assert (tmp_path / "strategies.png").stat().st_size > 10_000


@pytest.mark.engine
async def test_the_real_servers_counters_are_what_was_billed(server: Server) -> None:
    pruned = {"best_of": 8, "rerank": {"strategy": "prune", "keep": 0.5, "checkpoint_tokens": 8}}
    rounds = Rounds({"prune": pruned, "best of 2": {"best_of": 2}}, rounds=2, prompts=2, clients=1, seed=5)
    async with connect(server.url, api_key=API_KEY, clients=2) as client:
        found = await take_turns(client, rounds)
        left = await until_idle(client)
    assert (left.in_flight, left.running) == (0, 0)
    for name, sampled in (("prune", 8), ("best of 2", 2)):
        assert found[name].exact
        assert found[name].tokens > 0
        assert [shot.sampled for shot in found[name].shots] == [sampled] * 4
