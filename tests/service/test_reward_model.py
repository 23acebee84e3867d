"""The reward model as the server shares it."""

import asyncio

import pytest

from reward.scorer import RewardUnavailable
from service.reward_model import RewardModel
from tests.service.fakes import QUESTION, FakeScorer, cancelled, settle


async def test_every_subscriber_is_told_when_the_scorer_dies() -> None:
    scorer = FakeScorer()
    reward = RewardModel(scorer)
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
    reward = RewardModel(scorer)
    scorer.die("gone")
    await reward.watch()
    told: list[RewardUnavailable] = []
    reward.subscribe(told.append)
    assert told == [reward.failure]


async def test_unsubscribing_a_stranger_does_nothing() -> None:
    RewardModel(FakeScorer()).unsubscribe(lambda error: None)


async def test_a_dead_scorer_is_not_asked() -> None:
    scorer = FakeScorer()
    reward = RewardModel(scorer)
    scorer.die()
    await reward.watch()
    prompt = reward.prompt(QUESTION)
    with pytest.raises(RewardUnavailable):
        await reward.score(prompt, "answer")
    with pytest.raises(RewardUnavailable):
        await reward.prefill(prompt)
    assert (scorer.asked, scorer.prefills) == ([], 0)


async def test_what_the_scorer_works_on_is_counted_however_it_ends() -> None:
    scorer = FakeScorer({"bad": ValueError("too long")})
    scorer.open.clear()
    reward = RewardModel(scorer)
    prompt = reward.prompt(QUESTION)
    tasks = [asyncio.create_task(reward.score(prompt, text)) for text in ("good", "bad", "left")]
    await settle()
    assert reward.in_flight == 3
    await cancelled(tasks[2])
    assert reward.in_flight == 2
    scorer.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert reward.in_flight == 0
