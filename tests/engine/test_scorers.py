"""The two scorers and plain transformers give the same reward for the same text."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reward.torch_scorer import TorchScorer
from reward.vllm_scorer import VllmScorer
from service.settings import Settings
from service.vllm.bundled import REWARD_ENGINE_ARGS
from training.labs import checkpoint
from training.reward.heads import HeadLayout, reward_model

pytestmark = pytest.mark.engine
CONVERSATION = [
    {"role": "system", "content": "Show your steps."},
    {"role": "user", "content": "What is 35+21+81? " * 20},
]
ANSWERS = ["35+21=56\n56+81=137\nAnswer: 137", "Answer: 12", "", "café ∑ \N{SNOWMAN}", "9" * 300]


async def start(path: Path) -> VllmScorer:
    os.environ.update({"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "TORCHDYNAMO_DISABLE": "1"})
    from vllm.v1.engine.async_llm import AsyncLLM

    from service.vllm.engines import reward_engine_args, scorer_of

    settings = Settings(reward_model=str(path), reward_engine_args=dict(REWARD_ENGINE_ARGS))
    return await scorer_of(AsyncLLM.from_engine_args(reward_engine_args(settings)))


@pytest.fixture(scope="module")
async def vllm_scorer() -> AsyncIterator[VllmScorer]:
    scorer = await start(checkpoint("arithmetic-reward"))
    yield scorer
    await scorer.close()


@pytest.fixture(scope="module")
async def three_heads(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Path, VllmScorer]]:
    """An untrained ensemble on the bundled policy's trunk, and its scorer."""
    path, policy = tmp_path_factory.mktemp("ensemble"), checkpoint("arithmetic-sft")
    heads = HeadLayout(names=("member-0", "member-1", "member-2"), members=3)
    model = reward_model(str(policy), heads, extra_layers=0, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.bestofn = {"heads": list(heads.names), "mean": 0.3, "std": 0.7}
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    scorer = await start(path)
    yield path, scorer
    await scorer.close()


def plain_reward(answer: str, path: Path) -> float:
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path)
    conversation = [*CONVERSATION, {"role": "assistant", "content": answer}]
    inputs: Any = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        raw: float = model(**inputs).logits[0].mean().item()
    normalised: float = (raw - model.config.bestofn["mean"]) / model.config.bestofn["std"]
    return normalised


async def test_both_scorers_agree_with_plain_transformers(vllm_scorer: VllmScorer) -> None:
    torch_scorer = TorchScorer(checkpoint("arithmetic-reward"), device="cpu")
    for answer in ANSWERS:
        expected = plain_reward(answer, checkpoint("arithmetic-reward"))
        by_torch = await torch_scorer.score(torch_scorer.template.prompt(CONVERSATION), answer)
        by_vllm = await vllm_scorer.score(vllm_scorer.template.prompt(CONVERSATION), answer)
        assert by_torch.reward == pytest.approx(expected, abs=1e-5)
        assert by_vllm.reward == pytest.approx(expected, abs=1e-4)
        assert by_torch.tokens == by_vllm.tokens
    await torch_scorer.close()


async def test_both_scorers_agree_on_several_heads(three_heads: tuple[Path, VllmScorer]) -> None:
    path, by_vllm = three_heads
    by_torch = TorchScorer(path, device="cpu")
    for answer in ANSWERS[:3]:
        first = await by_torch.score(by_torch.template.prompt(CONVERSATION), answer)
        second = await by_vllm.score(by_vllm.template.prompt(CONVERSATION), answer)
        assert first.reward == pytest.approx(plain_reward(answer, path), abs=1e-5)
        assert second.reward == pytest.approx(first.reward, abs=1e-4)
        assert second.rewards == pytest.approx(first.rewards, abs=1e-4)
        assert list(first.rewards) == ["member-0", "member-1", "member-2"]
    await by_torch.close()


async def test_one_tenants_prompt_is_not_to_be_guessed_from_anothers_counts(vllm_scorer: VllmScorer) -> None:
    """Victim, right guess, wrong guess: who has another salt, or none, finds nothing of it in the cache."""

    async def cached(question: str, salt: str | None) -> int:
        asked = [{"role": "user", "content": question * 20}]
        return (await vllm_scorer.score(vllm_scorer.template.prompt(asked, cache_salt=salt), "2")).cached_tokens

    secret, wrong = "The code is 4711. ", "The code is 0815. "
    assert await cached(secret, "victim") == 0
    assert [await cached(secret, salt) for salt in ("attacker", None)] == [0, 0]
    assert await cached(wrong, "attacker") == 0
    assert await cached(secret, "victim") > 0


async def test_a_prefix_scored_before_costs_only_its_new_tokens(vllm_scorer: VllmScorer) -> None:
    prompt = vllm_scorer.template.prompt([{"role": "user", "content": "Count. " * 100}])
    await vllm_scorer.prefill(prompt)
    first = await vllm_scorer.score(prompt, "1 2 3 " * 20, finished=False)
    second = await vllm_scorer.score(prompt, "1 2 3 " * 40)
    assert first.cached_tokens > 0.9 * len(vllm_scorer.template.prompt_tokens(prompt))
    assert second.cached_tokens > first.cached_tokens + 60


async def test_a_text_longer_than_the_model_reads_is_refused(vllm_scorer: VllmScorer) -> None:
    prompt = vllm_scorer.template.prompt([{"role": "user", "content": "x"}])
    with pytest.raises(ValueError, match="more than the reward model reads"):
        await vllm_scorer.score(prompt, "y" * 3000)
