"""Pairs as token ids and as batches."""

from typing import Any

import torch

from reward.template import ConversationTemplate
from training.data.records import Comparison, user
from training.dpo.data import DPOCollator, DPODataset
from training.labs.tokenizer import byte_tokenizer


def test_answers_begin_where_the_policy_begins_and_end_with_their_turn() -> None:
    tokenizer = byte_tokenizer()
    records = [Comparison(user("What is 1+1?"), ("2", "three"), ranks=(0, 1))]
    batch = DPOCollator(tokenizer.pad_token_id)([DPODataset(records, ConversationTemplate(tokenizer), 100)[0]])
    learned = [row[mask] for row, mask in zip(batch["input_ids"], batch["answer"], strict=True)]
    assert [tokenizer.decode(tokens) for tokens in learned] == ["2<|end|>", "three<|end|>"]
    assert batch["attention_mask"].sum(1).tolist() == [len(dpo_row) for dpo_row in _unpadded(batch, tokenizer)]


def _unpadded(batch: dict[str, torch.Tensor], tokenizer: Any) -> list[list[int]]:
    return [[token for token in row.tolist() if token != tokenizer.pad_token_id] for row in batch["input_ids"]]


def test_every_pair_of_a_comparison_is_a_record() -> None:
    comparisons = [Comparison(user(f"{n}?"), ("a", "b", "c", "d"), ranks=(2, 0, 1, 2)) for n in range(3)]
    found = DPODataset(comparisons, ConversationTemplate(byte_tokenizer()), 100)
    assert len(found) == 15
    assert found[0]["both"][0].tokens[-2] == ord("b") - ord("!")  # byte symbols begin at "!"


def test_a_pass_holds_no_more_tokens_than_so_many_of_the_longest_pair() -> None:
    comparisons = [Comparison(user("?" * n), ("a", "b"), ranks=(0, 1)) for n in (1, 30, 2, 3)]
    found = DPODataset(comparisons, ConversationTemplate(byte_tokenizer()), 100)
    assert sorted(index for batch in found.batches(1) for index in batch) == [0, 1, 2, 3]
    assert all(
        len(batch) * max(found.lengths()[index] for index in batch) <= max(found.lengths())
        for batch in found.batches(1)
    )
