"""Adapters train alone, and one plain checkpoint comes out."""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForSequenceClassification

from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.run import checkpoints


def reward_model() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    config = copy.deepcopy(fresh_policy(byte_tokenizer(), seed=0).config)
    config.num_labels = 1
    return LlamaForSequenceClassification(config)


def test_heads_and_fresh_layers_train_with_all_their_weights(tmp_path: Path) -> None:
    fresh = ["score", "model.layers.3"]
    model = checkpoints.adapted(reward_model(), lora_rank=2, lora_alpha=16, seed=0, fully_trained=fresh)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    adapters = {name for name in trained if ".lora_" in name}
    whole = {name.replace(".modules_to_save.default", "") for name in trained - adapters}
    assert len(adapters) == 3 * 7 * 2  # layers, projections, A and B
    names = [name for name, _ in reward_model().named_parameters()]
    assert whole == {f"base_model.model.{name}" for name in names if ".3." in name or "score" in name}
    for name, weight in model.named_parameters():
        if name in trained:
            torch.nn.init.normal_(weight, std=0.02)
    tokens = torch.randint(0, 256, (2, 9))
    checkpoints.save(model, byte_tokenizer(), tmp_path, dtype="float32", lora_scaling=8)
    loaded: Any = LlamaForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    plain, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.allclose(plain(tokens).logits, model(tokens).logits, atol=1e-5)


def test_without_a_rank_the_model_stays_as_it_is() -> None:
    model = reward_model()
    assert checkpoints.adapted(model, lora_rank=0, lora_alpha=16, seed=0) is model
