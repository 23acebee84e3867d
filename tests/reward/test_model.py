from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reward.model import load
from tests.reward.conftest import tiny_reward_model
from training.labs.tokenizer import byte_tokenizer


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
