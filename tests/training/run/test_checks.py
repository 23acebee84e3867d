"""What must hold before any work is done: model, tokenizer and data fit together."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.run import checks


def tokenizer_with(**changes: Any) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def test_a_model_and_its_tokenizer_fit() -> None:
    tokenizer = byte_tokenizer()
    checks.check_model(fresh_policy(tokenizer, seed=0), tokenizer, 2048, distinct_pad=True)


@pytest.mark.parametrize(
    ("changes", "max_tokens", "message"),
    [
        ({"pad_token": None}, 100, r"no pad token: name a token .*add_special_tokens.*resize_token_embeddings"),
        ({"chat_template": None}, 100, "no chat template"),
        ({}, 2049, "max_tokens: 2049 is more than the 2048 positions"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], max_tokens: int, message: str) -> None:
    model = fresh_policy(byte_tokenizer(), seed=0)
    with pytest.raises(ValueError, match=message):
        checks.check_model(model, tokenizer_with(**changes), max_tokens)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    tokenizer = byte_tokenizer()
    model = fresh_policy(tokenizer, seed=0)
    tokenizer.add_tokens(["new"])
    with pytest.raises(ValueError, match="has 263 tokens and the model embeds 262"):
        checks.check_model(model, tokenizer, 100)


def test_padding_with_the_end_of_text_is_refused_for_rewards_only() -> None:
    tokenizer = tokenizer_with(pad_token="<|end|>")
    checks.check_padding(tokenizer, distinct=False)
    with pytest.raises(ValueError, match=r"pads with the end of text, '<\|end\|>'"):
        checks.check_padding(tokenizer, distinct=True)


def test_records_over_the_limit_are_counted_and_the_longest_is_shown() -> None:
    checks.check_lengths([3, 4], 4, "data.jsonl", str)
    with pytest.raises(ValueError, match=r"data.jsonl: 2 of 3 .* max_tokens is 4; .* record 2 with 9 tokens: 'text 2'"):
        checks.check_lengths([5, 4, 9], 4, "data.jsonl", lambda index: f"text {index}")
