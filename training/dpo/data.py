"""Pairs of answers as token ids, and as padded batches of all chosen, then all rejected."""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch.utils.data import Dataset

from reward.batching import batches
from reward.template import ConversationTemplate
from training.data.read import DataError
from training.data.records import Comparison
from training.policy.logprobs import Answered, answered, generation_start, padded
from training.run.checks import check_lengths


class DPODataset(Dataset[dict[str, Any]]):
    """Every pair of the comparisons, in token ids: the conversation with the better answer, and with the worse one.

    All are made at once, so that nothing can fail later. source: where they come from, for errors. Raises DataError
    where there is no pair, ValueError where one is longer than `max_tokens`.
    """

    def __init__(
        self, records: Sequence[Comparison], template: ConversationTemplate, max_tokens: int, source: str = "data"
    ) -> None:
        pairs = [record.only(pair) for record in records for pair in record.pairs()]
        if not pairs:
            raise DataError(f"{source}: no response is better than another one; DPO learns from ranked responses")
        self._weights = [pair.weight for pair in pairs]
        self._both = [_both(pair, template) for pair in pairs]
        self.reference: torch.Tensor | None = None  # its log-probabilities of both, [pairs, 2], where they are known
        check_lengths(self.lengths(), max_tokens, source, lambda index: str(pairs[index].messages[-1]["content"]))

    def __len__(self) -> int:
        return len(self._both)

    def __getitem__(self, index: int) -> dict[str, Any]:
        reference = {} if self.reference is None else {"reference": self.reference[index]}
        return {"both": self._both[index], "weight": self._weights[index], **reference}

    def lengths(self) -> list[int]:
        """Tokens of the longer conversation of each pair."""
        return [max(len(chosen.tokens), len(rejected.tokens)) for chosen, rejected in self._both]

    def batches(self, pairs: int) -> list[list[int]]:
        """Indices of pairs of similar length; in a batch are no more tokens than in so many of the longest."""
        lengths = self.lengths()
        return [list(batch) for batch in batches(lengths, pairs * max(lengths))]

    def digest(self) -> str:
        """The same for the same tokens in the same order."""
        digest = hashlib.sha256()
        for sequence in chain.from_iterable(self._both):
            digest.update(f"{sequence.start},{len(sequence.tokens)}:".encode() + array("i", sequence.tokens).tobytes())
        return digest.hexdigest()


class DPOCollator:
    """Pads pairs into one batch, all chosen, then all rejected: `padded`'s tensors [2 * pairs, longest].

    With `weight` [pairs] and, where known, `reference` [2 * pairs].
    """

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        sequences = [row["both"][side] for side in (0, 1) for row in rows]
        batch = padded(sequences, self._pad_token_id)
        batch["weight"] = torch.tensor([row["weight"] for row in rows])
        if "reference" in rows[0]:
            batch["reference"] = torch.stack([row["reference"] for row in rows], dim=1).flatten()
        return batch


def _both(pair: Comparison, template: ConversationTemplate) -> tuple[Answered, Answered]:
    prompt = template.prompt(pair.messages)
    start = generation_start(template, prompt)
    chosen, rejected = (answered(template, prompt, start, text) for text in pair.responses)
    return chosen, rejected
