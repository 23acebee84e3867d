"""Log-probabilities of answers: right whatever the padding and precision, and only as many logits as are needed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, OPTConfig, OPTForCausalLM

from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.policy.logprobs import (
    Answered,
    answer_certainties,
    answer_logprobs,
    load_without_dropout,
    padded,
    token_logprobs,
)

SEQUENCES = [Answered([5, 6, 7, 8, 9], 2), Answered([9, 8, 7], 2), Answered([4, 4, 4, 4, 4, 4, 4], 5)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_token_logprobs_are_log_softmax_with_its_gradient(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 4, 11, dtype=dtype, requires_grad=True)
    tokens = torch.randint(0, 11, (3, 4))
    found = token_logprobs(logits, tokens)
    expected = logits.float().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)
    (ours,), (theirs,) = (torch.autograd.grad(values.sum(), logits) for values in (found, expected))
    assert torch.allclose(ours, theirs, atol=1e-5 if dtype == torch.float32 else 1e-2)


def test_padded_marks_what_is_there_and_what_is_the_answer() -> None:
    batch = padded(SEQUENCES, pad_token_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 0, 0], [9, 8, 7, 0, 0, 0, 0], [4, 4, 4, 4, 4, 4, 4]]
    assert batch["attention_mask"].sum(1).tolist() == [5, 3, 7]
    assert batch["answer"].int().tolist() == [[0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1]]


def test_answer_logprobs_do_not_depend_on_what_else_is_in_the_batch() -> None:
    model = fresh_policy(byte_tokenizer(), seed=0).eval()
    together = answer_logprobs(model, padded(SEQUENCES, pad_token_id=0))
    for row, sequence in zip(together, SEQUENCES, strict=True):
        tokens = torch.tensor([list(sequence.tokens)])
        logits = model(input_ids=tokens).logits[0, :-1].log_softmax(-1)
        expected = logits.gather(1, tokens[0, 1:, None]).squeeze(1)[sequence.start - 1 :]
        assert torch.allclose(row[sequence.start : len(sequence.tokens)], expected, atol=1e-5)
        assert row.count_nonzero() == len(sequence.tokens) - sequence.start


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_certainties_are_float32_and_zero_where_no_answer_is(dtype: torch.dtype) -> None:
    model = fresh_policy(byte_tokenizer(), seed=0).eval().to(dtype)
    batch = padded(SEQUENCES, pad_token_id=0)
    logprobs, certainties = answer_certainties(model, batch)
    assert torch.allclose(logprobs, answer_logprobs(model, batch), atol=1e-5)
    assert certainties.dtype == torch.float32
    assert ((certainties > 0) == batch["answer"]).all()


def test_logits_are_computed_from_the_first_answer_on() -> None:
    model = fresh_policy(byte_tokenizer(), seed=0).eval()
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda _, __, logits: seen.append(logits.shape[1]))
    answer_logprobs(model, padded([Answered(list(range(50)), 40), Answered(list(range(45)), 41)], pad_token_id=0))
    assert seen == [11]


def test_a_model_without_dropout_says_the_same_while_it_trains(tmp_path: Path) -> None:
    """OPT applies dropout from numbers that its layers keep, not from modules."""
    sizes: dict[str, Any] = {
        "vocab_size": 20,
        "hidden_size": 16,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    rates: dict[str, Any] = {"dropout": 0.5, "attention_dropout": 0.5, "activation_dropout": 0.5, "layerdrop": 0.5}
    OPTForCausalLM(OPTConfig(**sizes, **rates, word_embed_proj_dim=16)).save_pretrained(tmp_path)
    tokens = torch.arange(10)[None]
    model: Any = load_without_dropout(str(tmp_path), torch.float32)
    model.train()
    assert torch.equal(model(tokens).logits, model(tokens).logits)
    half: Any = load_without_dropout(str(tmp_path), torch.bfloat16, AutoModelForSequenceClassification)
    assert (half.dtype, half.config.dropout, half.score.out_features) == (torch.bfloat16, 0.0, 2)
