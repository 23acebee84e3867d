import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reward.model import RewardConfig, combine, load
from tests.reward.conftest import tiny_reward_model
from training.labs.tokenizer import byte_tokenizer


def config(num_labels: int = 1, **values: Any) -> LlamaConfig:
    return LlamaConfig(**{"num_labels": num_labels, **values})


def test_absent_means_one_plain_head() -> None:
    assert RewardConfig.of(config()) == RewardConfig((), 0.0, 1.0)
    assert combine([2.5], RewardConfig()) == (2.5, {})


def test_heads_are_averaged_and_normalised() -> None:
    read = RewardConfig.of(config(2, bestofn={"heads": ["helpful", "short"], "mean": 1.0, "std": 2.0}))
    assert combine([4.0, 2.0], read) == (1.0, {"helpful": 4.0, "short": 2.0})
    with pytest.raises(ValueError, match="1 outputs for 2 heads"):
        combine([4.0], read)


@pytest.mark.parametrize(
    ("num_labels", "bestofn", "message"),
    [
        (2, None, "num_labels=2 but config.bestofn names 0 heads"),
        (1, {"heads": ["a", "b"]}, "names 2 heads"),
        (2, {"heads": ["a", "a"]}, "not all different"),
        (1, {"std": 0.0}, "std 0.0"),
        (1, {"mean": float("nan")}, "must be finite"),
        (1, {"scale": 2}, "expected a dict with keys"),
    ],
)
def test_contradictions_are_errors(num_labels: int, bestofn: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardConfig.of(config(num_labels, bestofn=bestofn))


def test_nan_stays_nan() -> None:
    reward, _ = combine([float("nan")], RewardConfig())
    assert math.isnan(reward)


def test_a_language_model_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    small = LlamaConfig(
        vocab_size=262, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1
    )
    LlamaForCausalLM(small).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"not a reward model.*score\.weight"):
        load(tmp_path)


def test_a_pad_token_that_ends_answers_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="also ends every conversation"):
        load(tiny_reward_model(tmp_path, tokenizer, pad_token_id=tokenizer.eos_token_id))


def test_a_pad_token_is_taken_from_the_tokenizer_or_missed(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    model, _ = load(tiny_reward_model(tmp_path / "with", tokenizer, pad_token_id=None))
    assert model.config.pad_token_id == tokenizer.pad_token_id
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no pad token"):
        load(tiny_reward_model(tmp_path / "without", tokenizer, pad_token_id=None))


def test_a_larger_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    path = tiny_reward_model(tmp_path, tokenizer)
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(path)
    with pytest.raises(ValueError, match="263 tokens"):
        load(path)


def test_loads_in_the_asked_dtype(checkpoint: Path) -> None:
    model, _ = load(checkpoint, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert not model.training
