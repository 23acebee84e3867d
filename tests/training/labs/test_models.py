"""The small model that the labs train."""

import torch

from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer


def test_a_fresh_policy_is_small_ends_by_itself_and_samples_plainly() -> None:
    tokenizer = byte_tokenizer()
    model = fresh_policy(tokenizer, seed=1)
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 1_500_000
    settings = model.generation_config
    assert settings is not None
    assert (settings.do_sample, settings.temperature, settings.top_k) == (True, 1.0, 0)
    assert settings.eos_token_id == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, len(tokenizer))
