"""The reward model as the server shares it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reward.config import RewardConfig
from reward.scorer import RewardUnavailable
from reward.torch_scorer import TorchScorer
from service.rerank.errors import RewardModelDown
from service.rerank.plan import make_plan
from service.rerank.supervised_scorer import OnRewardFailure, SupervisedScorer
from tests.reward.conftest import tiny_reward_model
from tests.service.fakes import (
    CONVERSATION,
    LIMITS,
    PATIENCE_S,
    FakeSampler,
    FakeScorer,
    cancelled,
    make_ask,
    make_run,
    says,
    settle,
    supervised,
    until,
)
from training.labs.tokenizer import byte_tokenizer


async def test_every_subscriber_is_told_when_the_scorer_dies() -> None:
    scorer = FakeScorer()
    reward = supervised(scorer)
    told: list[str] = []
    stayed, left = (lambda error: told.append(f"stayed: {error}")), (lambda error: told.append("left"))
    reward.subscribe(stayed)
    reward.subscribe(left)
    reward.unsubscribe(left)
    watching = asyncio.create_task(reward.watch())
    await settle()
    assert told == []
    scorer.die("gone")
    await watching
    assert told == ["stayed: gone"]


async def test_who_subscribes_too_late_is_told_at_once() -> None:
    scorer = FakeScorer()
    reward = supervised(scorer)
    scorer.die("gone")
    await reward.watch()
    told: list[RewardUnavailable] = []
    reward.subscribe(told.append)
    assert told == [reward.failure]


async def test_unsubscribing_a_stranger_does_nothing() -> None:
    supervised(FakeScorer()).unsubscribe(lambda error: None)


async def test_a_dead_scorer_is_not_asked() -> None:
    scorer = FakeScorer()
    reward = supervised(scorer)
    scorer.die()
    await reward.watch()
    prompt = await reward.prompt(CONVERSATION)
    with pytest.raises(RewardUnavailable):
        await reward.score(prompt, "answer")
    with pytest.raises(RewardUnavailable):
        await reward.prefill(prompt)
    assert (scorer.asked, scorer.prefills) == ([], 0)


async def test_what_the_scorer_works_on_is_counted_however_it_ends() -> None:
    scorer = FakeScorer({"bad": ValueError("too long")})
    scorer.open.clear()
    reward = supervised(scorer)
    prompt = await reward.prompt(CONVERSATION)
    tasks = [asyncio.create_task(reward.score(prompt, text)) for text in ("good", "bad", "left")]
    await settle()
    assert reward.in_flight == 3
    await cancelled(tasks[2])
    assert reward.in_flight == 2
    scorer.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert reward.in_flight == 0


async def test_the_heads_of_a_real_checkpoint_are_known_and_compared(tmp_path: Path) -> None:
    """A tiny untrained ensemble: its members disagree, and the most cautious choice is made of their raw rewards."""
    names = ("member-0", "member-1", "member-2")
    bestofn = {"heads": list(names), "mean": 0.1, "std": 0.5}
    scorer = TorchScorer(tiny_reward_model(tmp_path, byte_tokenizer(), num_labels=3, bestofn=bestofn), device="cpu")
    reward = supervised(scorer)
    assert reward.config == RewardConfig(names, 0.1, 0.5)
    limits = replace(LIMITS, reward=reward.config)
    ask = make_ask({"best_of": 4, "rerank": {"selection": {"heads": "worst"}}}, limits=limits)
    plan = make_plan(ask, n=4, temperature=1.0, checkpoint_tokens=None)
    run = make_run(FakeSampler(says("1"), says("22"), says("3 3"), says("four")), reward, plan=plan)
    selected = await run.best()
    raw = np.array([[view.rewards[name] for name in names] for view in run.ledger.candidates])
    worst = ((raw - raw.mean(axis=0)) / 0.5).min(axis=1)
    assert list(selected) == np.argsort(-worst).tolist()
    assert np.ptp(worst) > 0.01
    await scorer.close()


# -- one that hangs


@asynccontextmanager
async def watched(scorer: FakeScorer, on_failure: OnRewardFailure = "error") -> AsyncIterator[SupervisedScorer]:
    reward = supervised(scorer, on_failure, timeout_s=PATIENCE_S, hang_s=0.05)
    watching = asyncio.create_task(reward.watch())
    yield reward
    await cancelled(watching)


async def test_a_scorer_that_hangs_is_down_until_it_answers_and_is_not_dead(caplog: pytest.LogCaptureFixture) -> None:
    scorer = FakeScorer()
    scorer.open.clear()
    async with watched(scorer) as reward:
        told: list[str] = []
        reward.subscribe(lambda error: told.append(str(error)))
        await until(lambda: reward.failure is not None)
        assert "has given no score for" in told[0]
        assert not reward.fatal
        with pytest.raises(RewardUnavailable):
            reward.check_ready()
        asked = len(scorer.asked)
        with pytest.raises(RewardUnavailable):
            await reward.score(await reward.prompt(CONVERSATION), "answer")
        await asyncio.sleep(0.1)
        assert (len(scorer.asked), len(told)) == (asked, 1)
        scorer.open.set()
        await until(lambda: reward.failure is None)
        reward.check_ready()
        assert (await reward.score(await reward.prompt(CONVERSATION), "answer")).reward == 0.0
    down, up = [record.message for record in caplog.records]
    assert down == f"the reward model is down: {told[0]}"
    assert up == "the reward model answers again"


async def test_requests_in_flight_do_not_wait_for_one_that_hangs() -> None:
    scorer = FakeScorer()
    scorer.open.clear()
    async with watched(scorer) as reward:
        run = make_run(FakeSampler(says("a"), says("b")), reward)
        with pytest.raises(RewardModelDown, match="has given no score"):
            await run.best()


async def test_a_scorer_that_computes_one_long_text_does_not_hang() -> None:
    """Its steps are its life; once they end it hangs after all."""
    scorer, stepping = FakeScorer(), True
    scorer.open.clear()
    last_s = time.monotonic()

    def stepped_s() -> float:
        nonlocal last_s
        last_s = time.monotonic() if stepping else last_s
        return last_s

    reward = supervised(scorer, "error", timeout_s=PATIENCE_S, hang_s=0.05, stepped_s=stepped_s)
    watching = asyncio.create_task(reward.watch())
    await until(lambda: scorer.pending == 1)
    await asyncio.sleep(0.2)
    assert reward.failure is None
    stepping = False
    await until(lambda: reward.failure is not None)
    await cancelled(watching)


async def test_a_slow_scorer_that_gives_scores_does_not_hang() -> None:
    scorer = FakeScorer(turns=3)
    async with watched(scorer) as reward:
        prompt = await reward.prompt(CONVERSATION)
        for _ in range(20):
            await reward.score(prompt, "answer")
            await asyncio.sleep(0.01)
        assert reward.failure is None


async def test_a_template_that_takes_no_question_is_not_probed() -> None:
    async with watched(FakeScorer(template_error=ValueError("no"))) as reward:
        await asyncio.sleep(0.1)
        assert reward.failure is None


async def test_a_dead_scorer_does_not_come_back() -> None:
    scorer = FakeScorer()
    async with watched(scorer) as reward:
        scorer.die()
        await until(lambda: reward.failure is not None)
        assert reward.fatal
        await asyncio.sleep(0.1)
        assert reward.failure is not None


@pytest.mark.parametrize("on_failure", ["error", "unranked"])
async def test_the_server_is_ready_without_a_scorer_where_it_can_do_without(on_failure: OnRewardFailure) -> None:
    scorer = FakeScorer()
    reward = supervised(scorer, on_failure)
    reward.check_ready()
    scorer.die()
    await reward.watch()
    if on_failure == "unranked":
        reward.check_ready()
    else:
        with pytest.raises(RewardUnavailable):
            reward.check_ready()


def test_a_warning_says_that_the_generator_writes_more_than_can_be_scored() -> None:
    scorer = FakeScorer()
    reward = supervised(scorer)
    assert reward.reads_less_than(4096) is None
    scorer.max_tokens = 2048
    assert reward.reads_less_than(2048) is None
    warning = reward.reads_less_than(2049)
    assert warning is not None
    assert "reads 2048 tokens and the generator up to 2049" in warning
