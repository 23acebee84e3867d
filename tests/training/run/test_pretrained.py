"""The models that a run starts from."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.run.config import ConfigError
from training.run.pretrained import pretrained, start_fresh, start_policy, start_reference


def saved(path: Path, tokenizer: PreTrainedTokenizerBase) -> str:
    fresh_policy(tokenizer, seed=1).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def test_a_model_that_does_not_exist_is_named_with_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"^reward_model: .*nowhere"):
        pretrained("reward_model", "./nowhere")


def test_a_bundled_policy_goes_by_its_name() -> None:
    model, template = start_policy("arithmetic-sft", max_tokens=2048)
    assert model.dtype == torch.float32
    assert template.tokenizer.chat_template


def test_a_fresh_policy_is_that_of_the_lab_and_reads_no_more_than_it_can() -> None:
    model, template = start_fresh("arithmetic", seed=0, max_tokens=64)
    assert len(template.tokenizer) == model.get_input_embeddings().num_embeddings
    with pytest.raises(ValueError, match="max_tokens: 4096 is more than the 2048 positions"):
        start_fresh("arithmetic", seed=0, max_tokens=4096)


def test_the_reference_is_a_copy_of_the_policy_that_nothing_trains() -> None:
    policy, template = start_fresh("arithmetic", seed=0, max_tokens=64)
    reference = start_reference("", policy, template.tokenizer, "policy")
    assert not reference.training
    assert not any(weight.requires_grad for weight in reference.parameters())
    assert all(weight.requires_grad for weight in policy.parameters())


def test_a_reference_of_another_template_is_refused(tmp_path: Path) -> None:
    policy, template = start_fresh("arithmetic", seed=0, max_tokens=64)
    start_reference(saved(tmp_path / "same", byte_tokenizer()), policy, template.tokenizer, "policy")
    other = byte_tokenizer()
    other.chat_template = f"{other.chat_template} "
    with pytest.raises(ConfigError, match="has another tokenizer or chat template than the policy 'policy'"):
        start_reference(saved(tmp_path / "other", other), policy, template.tokenizer, "policy")
