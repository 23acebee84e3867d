import asyncio
import math
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from reward.batching import batches, score_batch
from reward.conversation import Conversation
from reward.scorer import RewardUnavailable, Scorer
from reward.torch_scorer import TorchScorer
from tests.reward.conftest import tiny_reward_model

MESSAGES = [{"role": "user", "content": "What is 1+1?"}]


@pytest.fixture
async def scorer(checkpoint: Path) -> AsyncIterator[TorchScorer]:
    scorer = TorchScorer(checkpoint)
    yield scorer
    await scorer.close()


def answers(count: int) -> list[str]:
    generator = random.Random(0)
    return ["".join(generator.choices("0123456789+= é\n", k=generator.randrange(90))) for _ in range(count)]


@torch.inference_mode()
def plain_rewards(checkpoint: Path, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[float]:
    """What a user gets from transformers alone, one answer at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    conversations = [[*MESSAGES, {"role": "assistant", "content": text}] for text in texts]
    inputs: list[Any] = [tokenizer.apply_chat_template(c, return_tensors="pt") for c in conversations]
    return [model(**tokens).logits.item() for tokens in inputs]


@pytest.mark.parametrize("max_batch_tokens", [1, 300, 16384])
async def test_agrees_with_plain_transformers_in_any_batch(
    checkpoint: Path, tokenizer: PreTrainedTokenizerFast, max_batch_tokens: int
) -> None:
    scorer: Scorer = TorchScorer(checkpoint, max_batch_tokens=max_batch_tokens)
    texts = answers(24)
    prompt = scorer.template.prompt(MESSAGES)
    await scorer.prefill(prompt)
    scores = await asyncio.gather(*(scorer.score(prompt, text) for text in texts))
    assert [score.reward for score in scores] == pytest.approx(plain_rewards(checkpoint, tokenizer, texts), abs=1e-5)
    assert all(score.rewards == {} and score.cached_tokens == 0 for score in scores)
    assert scores[0].tokens == len(scorer.template.tokens(prompt, texts[0]))
    await scorer.close()


@given(lengths=st.lists(st.integers(1, 100), max_size=40), budget=st.integers(1, 400))
def test_batches_hold_everything_once_within_the_budget(lengths: list[int], budget: int) -> None:
    cut = list(batches(lengths, budget))
    assert sorted(index for batch in cut for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in cut)
    assert [lengths[i] for batch in cut for i in batch] == sorted(lengths)


async def test_requests_that_arrive_together_are_one_batch(
    scorer: TorchScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counting(model: Any, rows: list[list[int]]) -> list[list[float]]:
        sizes.append(len(rows))
        return score_batch(model, rows)

    monkeypatch.setattr("reward.torch_scorer.score_batch", counting)
    prompt = scorer.template.prompt(MESSAGES)
    await asyncio.gather(*(scorer.score(prompt, text) for text in answers(10)))
    assert sizes == [10]


async def test_an_unfinished_answer_is_scored_without_its_end(scorer: TorchScorer) -> None:
    prompt = scorer.template.prompt(MESSAGES)
    finished, unfinished = await asyncio.gather(
        scorer.score(prompt, "1+1"), scorer.score(prompt, "1+1", finished=False)
    )
    assert unfinished.tokens == finished.tokens - 1
    assert unfinished.reward != finished.reward


async def test_heads_and_normalisation(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    bestofn = {"heads": ["right", "short"], "mean": 0.5, "std": 2.0}
    scorer = TorchScorer(tiny_reward_model(tmp_path, tokenizer, num_labels=2, bestofn=bestofn))
    score = await scorer.score(scorer.template.prompt(MESSAGES), "2")
    assert set(score.rewards) == {"right", "short"}
    assert score.reward == pytest.approx((sum(score.rewards.values()) / 2 - 0.5) / 2)
    await scorer.close()


async def test_too_long_says_by_how_much_and_harms_nobody_else(scorer: TorchScorer) -> None:
    prompt = scorer.template.prompt(MESSAGES)
    over = len(scorer.template.tokens(prompt, "")) + 300 - 256
    results = await asyncio.gather(scorer.score(prompt, "x" * 300), scorer.score(prompt, "2"), return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert f"{over} more than the 256" in str(results[0])
    assert math.isfinite(results[1].reward)  # type: ignore[union-attr]


async def test_long_texts_are_rendered_and_tokenised_in_one_other_thread(
    scorer: TorchScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    render = scorer.template._render

    def noted(*asked: Any) -> str:
        seen.append(threading.get_ident())
        return render(*asked)

    monkeypatch.setattr(scorer.template, "_render", noted)
    prompt = await scorer.prompt(Conversation(({"role": "user", "content": "x" * 20_000},)))
    with pytest.raises(ValueError, match="more than the 256"):
        await scorer.score(prompt, "2")
    assert len(set(seen)) == 1
    assert threading.get_ident() not in seen
    seen.clear()
    await scorer.score(await scorer.prompt(Conversation((*MESSAGES,))), "2")
    assert set(seen) == {threading.get_ident()}


async def test_a_cancelled_request_is_not_computed(scorer: TorchScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, release = threading.Event(), threading.Event()
    computed: list[int] = []

    def blocking(model: object, rows: list[list[int]]) -> list[list[float]]:
        computed.append(len(rows))
        entered.set()
        release.wait(10)
        return [[0.0] for _ in rows]

    monkeypatch.setattr("reward.torch_scorer.score_batch", blocking)
    prompt = scorer.template.prompt(MESSAGES)
    first = asyncio.create_task(scorer.score(prompt, "a"))
    await asyncio.to_thread(entered.wait, 10)
    waiting = [asyncio.create_task(scorer.score(prompt, "b")) for _ in range(5)]
    await asyncio.sleep(0.01)
    for task in waiting[:3]:
        task.cancel()
    release.set()
    results = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Score"] + ["CancelledError"] * 3 + ["Score"] * 2
    assert computed == [1, 2]


async def test_a_crash_fails_everything_at_once(scorer: TorchScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: object, rows: object) -> None:
        raise RuntimeError("CUDA error")

    watcher = asyncio.create_task(scorer.wait_failed())
    await scorer.check_health()
    await asyncio.sleep(0.01)
    assert not watcher.done()
    monkeypatch.setattr("reward.torch_scorer.score_batch", broken)
    prompt = scorer.template.prompt(MESSAGES)
    results = await asyncio.gather(*(scorer.score(prompt, text) for text in "abc"), return_exceptions=True)
    assert all(isinstance(result, RewardUnavailable) for result in results)
    for call in (watcher, scorer.wait_failed(), scorer.check_health(), scorer.score(prompt, "d")):
        with pytest.raises(RewardUnavailable, match="CUDA error"):
            await asyncio.wait_for(call, 5)


async def test_too_little_memory_for_one_answer_fails_that_one_only(
    scorer: TorchScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small_memory(model: Any, rows: list[list[int]]) -> list[list[float]]:
        if max(map(len, rows)) > 60:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [[float(len(row))] for row in rows]

    monkeypatch.setattr("reward.torch_scorer.score_batch", small_memory)
    prompt = scorer.template.prompt(MESSAGES)
    with pytest.raises(RewardUnavailable, match="no memory to score one conversation"):
        await scorer.score(prompt, "9" * 90)
    assert (await scorer.score(prompt, "a")).reward > 0
    await scorer.check_health()


async def test_a_nan_reward_is_passed_on(scorer: TorchScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reward.torch_scorer.score_batch", lambda model, rows: [[math.nan] for _ in rows])
    assert math.isnan((await scorer.score(scorer.template.prompt(MESSAGES), "a")).reward)


async def test_close_ends_the_thread_and_refuses_what_comes_later(checkpoint: Path) -> None:
    scorer = TorchScorer(checkpoint)
    prompt = scorer.template.prompt(MESSAGES)
    waiting = asyncio.create_task(scorer.score(prompt, "a"))
    await asyncio.sleep(0)
    await scorer.close()
    await asyncio.wait([waiting], timeout=5)
    assert waiting.done()
    assert waiting.exception() is None or isinstance(waiting.exception(), RewardUnavailable)
    assert "reward-model" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RewardUnavailable, match="closed"):
        await scorer.score(prompt, "b")


def test_an_unknown_dtype_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="dtype"):
        TorchScorer(checkpoint, dtype="float17")
