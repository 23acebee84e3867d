"""Demonstrations as token ids with labels, and as padded batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reward.template import ConversationTemplate
from training.data.records import Demonstration
from training.policy.logprobs import answered, answered_text, generation_start
from training.run.checks import check_lengths

IGNORED = -100  # the label that torch's cross-entropy leaves out


class SFTDataset(Dataset[dict[str, list[int]]]):
    """Token ids and labels of each demonstration, all made at once, so that nothing can fail later.

    source: where they come from, for errors. Raises ValueError where a record is longer than `max_tokens` or the chat
    template refuses it.
    """

    def __init__(
        self, records: Sequence[Demonstration], template: ConversationTemplate, max_tokens: int, source: str = "data"
    ) -> None:
        self._template = template
        self._rows = [self._encode(record) for record in records]
        check_lengths(self.lengths(), max_tokens, source, lambda index: _beginning(records[index]))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        encoded, unlearned = self._rows[index]
        tokens = encoded.tolist()
        return {"input_ids": tokens, "labels": [IGNORED] * unlearned + tokens[unlearned:]}

    def lengths(self) -> list[int]:
        """Tokens of each record."""
        return [len(tokens) for tokens, _ in self._rows]

    def _encode(self, record: Demonstration) -> tuple[np.ndarray[Any, np.dtype[np.int32]], int]:
        """The tokens, and how many of them come before the answer."""
        if not record.messages:
            return np.array(answered_text(self._template.tokenizer, record.completion).tokens, np.int32), 0
        prompt = self._template.prompt(record.messages)
        row = answered(self._template, prompt, generation_start(self._template, prompt), record.completion)
        return np.array(row.tokens, np.int32), row.start


class SFTCollator:
    """Pads a batch on the right: `input_ids`, `attention_mask`, `labels`, each [batch, longest]."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(values: list[list[int]], fill: int) -> torch.Tensor:
            return torch.tensor([row + [fill] * (longest - len(row)) for row in values])

        tokens = [row["input_ids"] for row in rows]
        return {
            "input_ids": padded(tokens, self._pad_token_id),
            "attention_mask": padded([[1] * len(row) for row in tokens], 0),
            "labels": padded([row["labels"] for row in rows], IGNORED),
        }


def _beginning(record: Demonstration) -> str:
    return str(record.messages[-1]["content"]) if record.messages else record.completion
