"""A tiny reward model with the labs' tokenizer, untrained: enough for everything but good taste."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from reward.template import ConversationTemplate
from training.labs.tokenizer import byte_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def template(tokenizer: PreTrainedTokenizerFast) -> ConversationTemplate:
    return ConversationTemplate(tokenizer)


def tiny_reward_model(path: Path, tokenizer: PreTrainedTokenizerFast, *, num_labels: int = 1, **config: Any) -> Path:
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=256,
            initializer_range=0.3,
            **{
                "num_labels": num_labels,
                "pad_token_id": tokenizer.pad_token_id,
                "bos_token_id": None,
                "eos_token_id": None,
            }
            | config,
        )
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    return tiny_reward_model(tmp_path_factory.mktemp("reward"), tokenizer)
